"""A remote file reads like a local one, and never fetches more than its bound."""

from __future__ import annotations

import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_backfill.ranged_file import BLOCK, BoundReached, CutShort, RangedFile

CONTENT = bytes(number * 7 % 251 for number in range(20 * BLOCK + 123))


class Remote:
    """A file and the ranges that were asked of it."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked: list[tuple[int, int]] = []

    def read_range(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert length > 0
        assert offset + length <= len(self.content)
        self.asked.append((offset, length))
        return self.content[offset : offset + length]

    def file(self, **bounds: int) -> RangedFile:
        return RangedFile(
            self.read_range, len(self.content), **{"most_requests": 999, "most_bytes": 10**9, **bounds}
        )


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 3 * BLOCK)),
        st.tuples(st.just("seek"), st.integers(0, 25 * BLOCK), st.just(os.SEEK_SET)),
        st.tuples(st.just("seek"), st.integers(-BLOCK, BLOCK), st.just(os.SEEK_CUR)),
        st.tuples(st.just("seek"), st.integers(-BLOCK, BLOCK), st.just(os.SEEK_END)),
    ),
    max_size=12,
)


@given(steps=STEPS, size=st.sampled_from([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, len(CONTENT)]))
def test_it_reads_like_a_local_file(steps, size):
    remote = Remote(CONTENT[:size])
    ours = remote.file()
    with tempfile.TemporaryFile() as local:
        local.write(CONTENT[:size])
        local.seek(0)
        for verb, *arguments in steps:
            assert _done(ours, verb, arguments) == _done(local, verb, arguments)
            assert ours.tell() == local.tell()


def _done(file, verb, arguments):
    try:
        return getattr(file, verb)(*arguments)
    except OSError:
        return OSError


@given(steps=STEPS, most_requests=st.integers(0, 4), most_blocks=st.integers(0, 6))
def test_it_never_fetches_more_than_its_bounds_and_nothing_twice(steps, most_requests, most_blocks):
    remote = Remote(CONTENT)
    file = remote.file(most_requests=most_requests, most_bytes=most_blocks * BLOCK)
    for verb, *arguments in steps:
        try:
            getattr(file, verb)(*arguments)
        except (BoundReached, OSError):
            continue
    assert len(remote.asked) <= most_requests
    assert sum(length for _, length in remote.asked) <= most_blocks * BLOCK
    blocks = [one for offset, length in remote.asked for one in range(offset, offset + length, BLOCK)]
    assert len(blocks) == len(set(blocks))
    assert (file.requests, file.bytes_read) == (len(remote.asked), sum(length for _, length in remote.asked))


def test_neighbours_are_fetched_together():
    remote = Remote(CONTENT)
    file = remote.file()
    file.seek(BLOCK + 5)
    file.read(3 * BLOCK)
    assert remote.asked == [(BLOCK, 4 * BLOCK)]
    file.seek(0)
    file.read(7 * BLOCK)
    assert remote.asked[1:] == [(0, BLOCK), (5 * BLOCK, 2 * BLOCK)]


def test_bytes_are_bounded_over_several_reads():
    remote = Remote(CONTENT)
    file = remote.file(most_bytes=3 * BLOCK)
    file.read(2 * BLOCK)
    with pytest.raises(BoundReached):
        file.read(2 * BLOCK)
    assert file.read(BLOCK) == CONTENT[2 * BLOCK : 3 * BLOCK]
    assert remote.asked == [(0, 2 * BLOCK), (2 * BLOCK, BLOCK)]


def test_the_first_block_can_be_handed_over():
    remote = Remote(CONTENT)
    file = RangedFile(remote.read_range, len(CONTENT), begins=CONTENT[:BLOCK])
    assert file.read(100) == CONTENT[:100]
    assert (remote.asked, file.requests, file.bytes_read) == ([], 1, BLOCK)


def test_a_length_beyond_belief_fetches_nothing():
    remote = Remote(CONTENT)
    file = RangedFile(remote.read_range, 1 << 60)
    with pytest.raises(BoundReached):
        file.read(1 << 50)
    assert remote.asked == []


def test_an_answer_that_is_too_short_is_not_taken():
    file = RangedFile(lambda _offset, length: bytes(length - 1), 100)
    with pytest.raises(CutShort):
        file.read(10)
    with pytest.raises(CutShort):
        RangedFile(lambda _offset, length: bytes(length), 100, begins=bytes(99))
