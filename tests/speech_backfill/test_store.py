"""The store's promises on a folder and in memory: conditional writes, atomic replacement, no way out of the root."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from speech_backfill.errors import SettingsError, StoreConflict, StoreError
from speech_backfill.store import Store


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store.open("memory://" if request.param == "memory" else str(tmp_path / "store"))


def test_what_is_written_is_read(store: Store, tmp_path: Path) -> None:
    store.put("a/b c/d%2Fe.bin", b"one")
    assert store.get("a/b c/d%2Fe.bin") == b"one"
    assert [one.path for one in store.list("a")] == ["a/b c/d%2Fe.bin"]
    assert store.exists("a/b c/d%2Fe.bin")
    store.download("a/b c/d%2Fe.bin", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == b"one"
    store.upload(tmp_path / "down", "up")
    store.copy("up", "copied")
    assert store.get("copied") == b"one"
    store.delete("copied")
    store.delete("copied")
    assert not store.exists("copied")


def test_what_is_not_there_is_said(store: Store, tmp_path: Path) -> None:
    for action in (
        lambda: store.get("none"),
        lambda: store.download("none", tmp_path / "x"),
        lambda: store.copy("none", "x"),
    ):
        with pytest.raises(FileNotFoundError):
            action()
    assert store.get_versioned("none") is None
    assert list(store.list("none")) == []


def test_a_conditional_write_wins_once(store: Store) -> None:
    store.replace("key.json", b"1", expected_etag=None)
    with pytest.raises(StoreConflict):
        store.replace("key.json", b"2", expected_etag=None)
    first = store.get_versioned("key.json")
    assert first is not None
    store.replace("key.json", b"2", expected_etag=first[1])
    with pytest.raises(StoreConflict):
        store.replace("key.json", b"3", expected_etag=first[1])
    assert store.get("key.json") == b"2"
    store.delete("key.json")
    with pytest.raises(StoreConflict):
        store.replace("key.json", b"4", expected_etag=first[1])


def test_of_many_conditional_writes_at_once_one_wins(store: Store) -> None:
    store.put("key.json", b"start")
    for turn in range(5):
        before = store.get_versioned("key.json")
        assert before is not None
        start, won = threading.Barrier(6), []

        def write(
            number: int,
            etag: str | None = before[1],
            turn: int = turn,
            start: threading.Barrier = start,
            won: list[bytes] = won,
        ) -> None:
            start.wait(10)
            content = f"{turn}.{number}".encode()
            try:
                store.replace("key.json", content, expected_etag=etag)
            except StoreConflict:
                return
            won.append(content)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert won == [store.get("key.json")]


def test_a_name_as_long_as_a_partition_file_may_be_can_be_replaced(store: Store) -> None:
    path = f"tables/_partitions/{'x' * 240}.json"
    store.replace(path, b"1", expected_etag=None)
    found = store.get_versioned(path)
    assert found is not None
    store.replace(path, b"2", expected_etag=found[1])
    assert store.get(path) == b"2"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a//b", "./a", ""])
def test_no_path_leaves_the_root(store: Store, path: str) -> None:
    for action in (lambda: store.get(path), lambda: store.put(path, b""), lambda: store.delete(path)):
        with pytest.raises(StoreError):
            action()


def test_a_url_of_no_known_account_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="SPEECH_BACKFILL_STORE"):
        Store.open("https://unknown.blob.core.windows.net/container/prefix")
