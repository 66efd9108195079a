"""Cutting is a pure function: every file in one chunk, chunks of one set of options, full from the front."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from speech_backfill.chunk_files import ChunkedFile
from speech_backfill.plan.cut import CutFile, cut, shard_of, sizes


def _file(number: int, options: str) -> CutFile:
    name = f"{options}-{number}"
    return CutFile(options, ChunkedFile(f"id-{name}", f"https://x.example/{name}", "e", 1, 1))


_FILES = st.lists(st.sampled_from(["aa", "bb", "cc"]), max_size=60).map(
    lambda kinds: [_file(number, kind) for number, kind in enumerate(sorted(kinds))]
)


@given(files=_FILES, most=st.integers(1, 10))
def test_every_file_lands_in_exactly_one_chunk(files: list[CutFile], most: int) -> None:
    chunks = list(cut(files, files_per_chunk=most))
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
    before = list(cut([_file(n, "aa") for n in range(files)], files_per_chunk=most))
    after = list(cut([_file(n, "aa") for n in range(files + more)], files_per_chunk=most))
    full = [one for one in before if len(one.files) == most]
    assert after[: len(full)] == full


def test_a_salt_makes_other_chunks_of_the_same_files() -> None:
    files = [_file(1, "aa")]
    plain, salted, again = (
        next(cut(files, files_per_chunk=1, salt=salt)).chunk_id for salt in ("", "run-1", "run-2")
    )
    assert len({plain, salted, again}) == 3


@given(chunks=st.integers(1, 300), most=st.integers(1, 60))
def test_shards_are_neighbours_of_even_size(chunks: int, most: int) -> None:
    placed = [shard_of(number, chunks=chunks, max_shards=most) for number in range(chunks)]
    assert placed == sorted(placed)
    assert set(placed) == set(range(min(chunks, most)))
    counts = Counter(placed)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert list(sizes(chunks, max_shards=most)) == [counts[one] for one in range(min(chunks, most))]
