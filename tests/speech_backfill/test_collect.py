"""How much of a transcription's result files is in memory at once, and what becomes of links that are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from speech_backfill.chunk_outcomes import read_results
from speech_backfill.collect import AHEAD_BYTES, Collector, Fetched
from speech_backfill.settings import Settings
from speech_backfill.speech.api import ResultEntry
from tests.speech_backfill.campaign import result

SMALL = 100 * 1024


@dataclass
class Files:
    """Result files of given sizes, and how many of their bytes are under way or not yet let go of."""

    sizes: Sequence[int]
    listed: bool = True
    spoilt_at_first: frozenset[int] = frozenset()
    held: dict[str, int] = field(default_factory=dict)
    most_bytes: int = 0
    most_at_once: int = 0
    seen: set[str] = field(default_factory=set)

    @property
    def entries(self) -> list[ResultEntry]:
        return [
            ResultEntry(str(number), "Transcription", str(number), size if self.listed else None)
            for number, size in enumerate(self.sizes)
        ]

    async def fetch(self, content_url: str) -> bytes:
        size = self.sizes[int(content_url)]
        self.held[content_url] = size
        self.most_bytes = max(self.most_bytes, sum(self.held.values()))
        self.most_at_once = max(self.most_at_once, len(self.held))
        await asyncio.sleep(0)
        first = content_url not in self.seen
        self.seen.add(content_url)
        if first and int(content_url) in self.spoilt_at_first:
            return b"{" + b" " * (size - 1)
        return result(content_url, "words").ljust(size)

    def collector(self, *, most_bytes: int = AHEAD_BYTES, concurrency: int = 16) -> Collector:
        return Collector(self, "an-id", concurrency=concurrency, most_bytes=most_bytes)  # type: ignore[arg-type]

    async def collect(self, **limits: int) -> list[str]:
        """Work on one after the other; each is let go of when the next is asked for."""
        order: list[str] = []
        async for one in self.collector(**limits).results(self.entries):
            assert isinstance(one, Fetched)
            for _ in range(40):  # whatever was begun meanwhile is there
                await asyncio.sleep(0)
            order.append(one.entry.name)
            del self.held[one.entry.name]
        return order

    async def read(self, **limits: int) -> list[str | None]:
        order: list[str | None] = []
        async for one in read_results(self.collector(**limits), self.entries, "token"):
            for _ in range(40):
                await asyncio.sleep(0)
            order.append(one.source)
            del self.held[one.fetched.entry.name]
        return order

    @property
    def names(self) -> list[str]:
        return [str(number) for number in range(len(self.sizes))]


def test_large_result_files_are_under_way_only_as_far_as_their_bytes_allow() -> None:
    files = Files([300_000] * 12)
    assert asyncio.run(files.collect(most_bytes=1_000_000)) == files.names
    assert files.most_bytes <= 1_000_000
    assert files.most_at_once == 3


def test_a_file_beyond_the_bound_comes_alone() -> None:
    files = Files([1000, 1000, 3_000_000, 1000, 3_000_000, 3_000_000])
    assert asyncio.run(files.collect(most_bytes=1_000_000)) == files.names
    assert files.most_bytes == 3_000_000


def test_files_whose_size_is_not_listed_count_as_the_largest_so_far_and_the_first_comes_alone() -> None:
    files = Files([30_000_000] * 6, listed=False)
    assert asyncio.run(files.collect()) == files.names
    assert files.most_at_once == 2
    assert files.most_bytes <= AHEAD_BYTES


def test_small_files_are_held_back_by_their_number_only() -> None:
    concurrency = Settings().download_concurrency
    for listed in (True, False):
        files = Files([SMALL] * 80, listed=listed)
        assert asyncio.run(files.collect(concurrency=concurrency)) == files.names
        assert files.most_at_once == concurrency


def test_what_waits_behind_a_second_download_counts_as_well() -> None:
    files = Files([200_000] * 20, spoilt_at_first=frozenset(range(0, 20, 3)))
    assert asyncio.run(files.read(most_bytes=1_000_000)) == files.names
    assert files.most_bytes <= 1_000_000
    assert files.most_at_once == 5


def test_a_large_file_that_can_not_be_read_is_downloaded_once_more_without_another_beside_it() -> None:
    files = Files([3_000_000] * 4, spoilt_at_first=frozenset(range(4)))
    assert asyncio.run(files.read(most_bytes=1_000_000)) == files.names
    assert files.most_bytes == 3_000_000
