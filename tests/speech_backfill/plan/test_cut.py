"""Cutting is a pure function: every file in one chunk, chunks of one set of options, full from the front."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from speech_backfill.chunk_files import ChunkedFile
from speech_backfill.model import chunk_id
from speech_backfill.plan.cut import CutFile, Limits, cut, shards_of


def _file(number: int, options: str) -> CutFile:
    name = f"{options}-{number}"
    return CutFile(options, ChunkedFile(f"id-{name}", f"https://x.example/{name}", "e", 1, 1))


_FILES = st.lists(st.sampled_from(["aa", "bb", "cc"]), max_size=60).map(
    lambda kinds: [_file(number, kind) for number, kind in enumerate(sorted(kinds))]
)


@given(files=_FILES, most=st.integers(1, 10))
def test_every_file_lands_in_exactly_one_chunk(files: list[CutFile], most: int) -> None:
    chunks = list(cut(files, Limits(most)))
    assert [one for chunk in chunks for one in chunk.files] == [one.file for one in files]
    assert all(1 <= len(chunk.files) <= most for chunk in chunks)
    by_id = {one.file.file_id: one.options_id for one in files}
    assert all({by_id[one.file_id] for one in chunk.files} == {chunk.options_id} for chunk in chunks)
    assert len({chunk.chunk_id for chunk in chunks}) == len(chunks)
    # No more chunks than needed: only the last of each set of options may have room.
    kinds = Counter(by_id.values())
    assert len(chunks) == sum(-(-count // most) for count in kinds.values())


@given(files=st.integers(0, 40), more=st.integers(0, 20), most=st.integers(1, 10))
def test_files_added_at_the_end_leave_full_chunks_as_they_were(files: int, more: int, most: int) -> None:
    before = list(cut([_file(n, "aa") for n in range(files)], Limits(most)))
    after = list(cut([_file(n, "aa") for n in range(files + more)], Limits(most)))
    full = [one for one in before if len(one.files) == most]
    assert after[: len(full)] == full


def test_a_salt_makes_other_chunks_of_the_same_files() -> None:
    files = [_file(1, "aa")]
    plain, salted, again = (
        next(cut(files, Limits(1), salt=salt)).chunk_id for salt in ("", "run-1", "run-2")
    )
    assert len({plain, salted, again}) == 3


def _sized(number: int, size_bytes: int, duration_ms: int) -> CutFile:
    return CutFile(
        "aa", ChunkedFile(f"id-{number}", f"https://x.example/{number}", "e", size_bytes, duration_ms)
    )


@given(
    sizes=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=40),
    bytes_allowed=st.integers(1, 120),
    ms_allowed=st.integers(1, 120),
)
def test_no_chunk_holds_more_bytes_or_audio_than_allowed_unless_one_file_does(
    sizes: list[tuple[int, int]], bytes_allowed: int, ms_allowed: int
) -> None:
    files = [_sized(number, *one) for number, one in enumerate(sizes)]
    chunks = list(cut(files, Limits(1000, bytes_allowed, ms_allowed)))
    assert [one for chunk in chunks for one in chunk.files] == [one.file for one in files]
    for chunk in chunks:
        within = (
            sum(one.size_bytes or 0 for one in chunk.files) <= bytes_allowed
            and sum(one.duration_ms or 0 for one in chunk.files) <= ms_allowed
        )
        assert within or len(chunk.files) == 1


def test_files_of_different_residency_are_never_in_one_chunk_and_make_other_chunks() -> None:
    file = _file(1, "aa").file
    chunks = list(cut([CutFile("aa", file, where) for where in ("", "eu", "us")], Limits(10)))
    assert [one.residency for one in chunks] == ["", "eu", "us"]
    assert len({one.chunk_id for one in chunks}) == 3
    assert chunks[0].chunk_id == chunk_id([file.file_id], options_id="aa")


@given(audio_ms=st.lists(st.integers(0, 1000), min_size=1, max_size=300), most=st.integers(1, 60))
def test_shards_are_neighbours_and_every_shard_has_a_chunk(audio_ms: list[int], most: int) -> None:
    placed = shards_of(audio_ms, max_shards=most)
    assert placed == sorted(placed)
    assert set(placed) == set(range(min(len(audio_ms), most)))


@given(audio_ms=st.lists(st.integers(1, 1000), min_size=1, max_size=300), most=st.integers(1, 60))
def test_shards_hold_like_amounts_of_audio(audio_ms: list[int], most: int) -> None:
    """No shard is further from its share than the two chunks at its ends, and one that had to leave something over."""
    placed = shards_of(audio_ms, max_shards=most)
    shards = min(len(audio_ms), most)
    share, largest = sum(audio_ms) / shards, max(audio_ms)
    loads = Counter[int]()
    for shard, one in zip(placed, audio_ms, strict=True):
        loads[shard] += one
    if len(audio_ms) >= 4 * shards and largest < share / 2:
        assert max(loads.values()) <= share + 2 * largest


def test_chunks_of_equal_audio_are_dealt_out_evenly() -> None:
    counts = Counter(shards_of([10] * 100, max_shards=48))
    assert set(counts.values()) == {2, 3}
    assert Counter(shards_of([0] * 7, max_shards=3)) == {0: 2, 1: 3, 2: 2}
