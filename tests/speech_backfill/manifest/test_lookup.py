import random

import obstore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_backfill.accounts import AccountKey, StorageAccount, StorageAccounts
from speech_backfill.manifest import lookup
from speech_backfill.manifest.lines import ManifestLine, RefusedLine
from speech_backfill.manifest.lookup import look_up
from speech_backfill.manifest.neighbours import Neighbours
from speech_backfill.model import AudioFile, TranscriptionOptions

ROOT = "https://calls.blob.core.windows.net/rec"
OPTIONS = TranscriptionOptions()


def _line(number, path, **known):
    return ManifestLine(number, AudioFile(f"{ROOT}/{path}", **known), OPTIONS)


def _looked_up(lines, accounts, limit=1000):
    return list(look_up(iter(lines), accounts=accounts, max_file_bytes=limit))


def test_lines_get_the_size_etag_and_time_of_their_blob(account, accounts):
    account.upload("rec", "a b.wav", b"abc")

    (line,) = _looked_up([_line(7, "a%20b.wav", duration_ms=5, manifest_columns={"agent": "x"})], accounts)

    assert (line.number, line.file.size_bytes, line.file.duration_ms) == (7, 3, 5)
    assert line.file.etag
    assert '"' not in line.file.etag
    assert line.file.modified_at is not None
    assert line.file.manifest_columns == {"agent": "x"}


def test_files_that_are_gone_empty_or_too_large_are_refused(account, accounts):
    account.upload("rec", "empty.wav", b"")
    account.upload("rec", "large.wav", b"x" * 1001)
    account.upload("rec", "full.wav", b"x" * 1000)

    lines = _looked_up(
        [_line(n, f"{name}.wav") for n, name in enumerate(("gone", "empty", "large", "full"), 1)], accounts
    )

    assert [getattr(line, "code", "good") for line in lines] == [
        "FileNotFound",
        "EmptyFile",
        "FileTooLarge",
        "good",
    ]
    assert lines[0].text == f"{ROOT}/gone.wav"


def test_lines_that_bring_both_are_judged_by_their_size_and_never_looked_up(accounts):
    lines = _looked_up(
        [_line(n, "x.wav", etag="e", size_bytes=size) for n, size in enumerate((0, 1, 1000, 1001))], accounts
    )

    assert [getattr(line, "code", "good") for line in lines] == ["EmptyFile", "good", "good", "FileTooLarge"]


def test_refused_lines_pass_and_order_is_kept_over_many_windows(account, accounts, monkeypatch):
    monkeypatch.setattr(lookup, "_WINDOW_LINES", 7)
    for number in range(0, 50, 2):
        account.upload("rec", f"{number}.wav")
    lines = [
        RefusedLine.of(n, "x", "InvalidUri", "y") if n % 5 == 4 else _line(n, f"{n}.wav") for n in range(50)
    ]

    found = _looked_up(lines, accounts)

    assert [line.number for line in found] == list(range(50))
    assert [line.code if isinstance(line, RefusedLine) else "good" for line in found] == [
        "InvalidUri" if n % 5 == 4 else "FileNotFound" if n % 2 else "good" for n in range(50)
    ]


def test_no_more_than_a_window_is_read_ahead(accounts):
    taken = []

    def lines():
        for number in range(100_000):
            taken.append(number)
            yield _line(number, "x.wav", etag="e", size_bytes=1)

    next(look_up(lines(), accounts=accounts, max_file_bytes=10))

    assert len(taken) <= 2048


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_long_manifest_is_answered_by_listing_what_can_be(account, accounts, monkeypatch, shuffled):
    monkeypatch.setattr(lookup, "_LISTING_PAYS_FROM", 100)
    heads = []
    monkeypatch.setattr(obstore, "head", _counting(obstore.head, heads))
    for number in range(6000):
        account.upload("rec", f"2026/{number % 3}/{number:05}.wav")
    lines = [_line(n, f"2026/{n % 3}/{n:05}.wav") for n in range(6001)]
    if shuffled:
        random.Random(1).shuffle(lines)

    found = _looked_up(lines, accounts)

    assert [line.number for line in found] == [line.number for line in lines]
    assert {line.number for line in found if isinstance(line, RefusedLine)} == {6000}
    assert all(line.file.size_bytes == 5 for line in found if isinstance(line, ManifestLine))
    assert len(heads) < 50


def _counting(head, heads):
    def counted(store, path):
        heads.append(path)
        return head(store, path)

    return counted


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from([f"{folder}/{n}" for folder in ("a", "a-b", "a/c", "b") for n in range(6)] + ["x"]),
        unique=True,
    ),
    st.lists(
        st.sets(
            st.sampled_from(
                [f"{folder}/{n}" for folder in ("a", "a-b", "a/c") for n in range(8)] + ["x", "y"]
            )
        )
    ),
)
def test_a_listing_never_invents_a_blob(there, questions):
    from obstore.store import MemoryStore

    store = MemoryStore()
    for path in there:
        obstore.put(store, path, path.encode())
    neighbours = Neighbours(store)

    for paths in questions:
        found = neighbours.find(set(paths))

        assert found.keys() <= paths & set(there)
        assert all(meta["path"] == path for path, meta in found.items())


def test_a_listing_in_which_little_is_wanted_is_given_up(account):
    for number in range(30_000):
        account.upload("rec", f"{number:05}.wav", b"")
    neighbours = Neighbours(account.container("rec"))

    neighbours.find({f"{number:05}.wav" for number in range(0, 30_000, 15_000)})
    for number in range(0, 30_000, 100):
        neighbours.find({f"{number:05}.wav"})

    assert neighbours.given_up


def test_a_listing_is_not_read_on_for_a_name_that_lies_behind(account):
    for number in range(5000):
        account.upload("rec", f"{number:05}.wav", b"")
    neighbours = Neighbours(account.container("rec"))
    neighbours.find({"00500.wav"})
    listed = neighbours._listed

    assert neighbours.find({"00100.missing"}) == {}
    assert neighbours._listed == listed


def test_a_container_that_cannot_be_listed_is_asked_blob_by_blob():
    neighbours = Neighbours(
        StorageAccount("calls", "http://127.0.0.1:1/calls", AccountKey("a2V5")).container("rec")
    )

    assert neighbours.find({"a.wav"}) == {}
    assert neighbours.given_up


def test_files_of_an_account_that_is_not_ours_are_refused():
    other = StorageAccounts.of([])

    (line,) = list(look_up(iter([_line(1, "a.wav")]), accounts=other, max_file_bytes=10))

    assert line.code == "UnknownAccount"
