"""How much of a transcription's result files is in memory at once, and what becomes of links that are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx
import pytest

from fakes.speech_service import SIGNATURE
from speech_backfill.chunk_outcomes import read_results
from speech_backfill.collect import AHEAD_BYTES, Collector, Fetched
from speech_backfill.model import Shard
from speech_backfill.settings import Settings
from speech_backfill.speech.api import ResultEntry
from speech_backfill.speech.errors import ResultsRefused
from tests.speech_backfill.campaign import Absent, Campaign, Spoilt, Unlisted, result

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


# --- refused links ----------------------------------------------------------------------------------


def refusing(campaign: Campaign, refused: Callable[[str], bool]) -> Callable[[httpx.Request], httpx.Response]:
    """The service's answers, but for files whose name is *refused*: to these its blob host says 403, under any link."""
    original = campaign.service._fetch

    def fetch(request: httpx.Request) -> httpx.Response:
        if refused(request.url.path.rsplit("/", 1)[1]):
            return httpx.Response(403, text="AuthorizationFailure")
        return original(request)

    return fetch


NAMES = [f"call {number:02}.wav" for number in range(9)]


def ended_shard(campaign: Campaign, names: list[str] = NAMES) -> Shard:
    (shard,) = campaign.pipeline.shards(campaign.plan(names).plan_id)
    campaign.submit(shard)
    campaign.end_all()
    return shard


@pytest.fixture
def one_chunk(campaign_with: Callable[..., Campaign]) -> Campaign:
    return campaign_with(files_per_transcription=9, max_shards=1)


def test_a_host_that_refuses_everything_fails_the_merge_and_nothing_is_paid_again(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign.service, "_fetch", refusing(campaign, lambda _: True))
    with pytest.raises(ResultsRefused, match=r"results\.blob\.example refuses") as caught:
        campaign.run(NAMES)
    assert SIGNATURE not in str(caught.value)
    assert (campaign.posts, campaign.service.calls["delete"]) == (3, 0)
    assert campaign.service.calls["fetch"] <= 20

    monkeypatch.undo()
    assert campaign.run(NAMES).transcribed == 9
    assert campaign.posts == 3


def test_a_host_that_begins_to_refuse_in_mid_transcription_fails_the_merge(
    one_chunk: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = ended_shard(one_chunk)
    shut = False

    def refused(name: str) -> bool:
        nonlocal shut
        shut = shut or name == "contenturl_7.json"
        return shut

    one_at_a_time = one_chunk.with_settings(download_concurrency=1)
    monkeypatch.setattr(one_chunk.service, "_fetch", refusing(one_chunk, refused))
    with pytest.raises(ResultsRefused):
        one_at_a_time.pipeline.merge(shard)


def test_a_host_that_gives_the_report_and_no_result_fails_the_merge(
    one_chunk: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = ended_shard(one_chunk)
    monkeypatch.setattr(one_chunk.service, "_fetch", refusing(one_chunk, lambda name: name != "report.json"))
    with pytest.raises(ResultsRefused):
        one_chunk.pipeline.merge(shard)


@pytest.mark.parametrize("alone", ["contenturl_0.json", "contenturl_8.json"])
def test_one_refused_among_others_costs_itself_only_and_stays_at_the_service(
    one_chunk: Campaign, monkeypatch: pytest.MonkeyPatch, alone: str
) -> None:
    monkeypatch.setattr(one_chunk.service, "_fetch", refusing(one_chunk, lambda name: name == alone))
    report = one_chunk.run(NAMES, repairs=0)
    assert (report.transcribed, report.missing, report.can_retry) == (8, 1, 1)
    assert len(one_chunk.service.jobs) == 1


def test_a_refused_report_costs_only_its_reasons(
    one_chunk: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_chunk.service, "_fetch", refusing(one_chunk, lambda name: name == "report.json"))
    assert one_chunk.run(NAMES, repairs=0).transcribed == 9


@pytest.mark.parametrize("what", [Spoilt(), Unlisted(), Absent()], ids=["spoilt", "unlisted", "absent"])
def test_a_transcription_with_a_file_that_was_not_read_is_not_deleted_at_the_service(
    campaign: Campaign, what: object
) -> None:
    """Somebody may still get at it. The two beside it, of which all was read, go."""
    campaign.says = lambda one: what if one.endswith("04.wav") else "words"
    report = campaign.run(NAMES, repairs=0)
    assert report.transcribed == 8
    (left,) = campaign.service.jobs.values()
    assert any("04.wav" in one for one in left.body["contentUrls"])
    campaign.pipeline.publish(report.plan_id)
    assert len(campaign.service.jobs) == 1
