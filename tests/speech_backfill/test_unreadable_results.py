"""A result file or report that arrives unreadable is downloaded once more before anybody pays for another transcription."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping

import httpx
import pytest

from speech_backfill.chunk_outcomes import read_results
from speech_backfill.collect import Collector
from speech_backfill.model import Shard
from speech_backfill.results.errors import InvalidResultFile
from speech_backfill.speech.api import ResultEntry
from speech_backfill.speech.errors import ServiceUnavailable
from tests.speech_backfill.campaign import Bad, Campaign, result

NAMES = ["call 00.wav", "call 01.wav", "call 02.wav"]
SPOILT = "contenturl_1.json"
WAYS: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda whole: whole[: len(whole) // 2],
    "cut before its source": lambda whole: whole[:12],
    "empty": lambda _: b"",
    "not UTF-8": lambda whole: whole.replace(b"words of", b"words\xff\xfe of"),
    "an error page": lambda _: b"<html>504 Gateway Time-out</html>",
    "another JSON": lambda _: b'{"error": {"code": "ServerBusy"}}',
}

SAY_WHOSE = {"truncated", "not UTF-8"}

Answer = Callable[[httpx.Response], httpx.Response]


def spoilt(how: Callable[[bytes], bytes]) -> Answer:
    return lambda answer: httpx.Response(200, content=how(answer.content))


def whole(answer: httpx.Response) -> httpx.Response:
    return answer


class Downloads:
    """The n-th download of a file gets the n-th of its answers; the last one stays."""

    def __init__(self, campaign: Campaign, answers: Mapping[str, list[Answer]]) -> None:
        self.of: Counter[str] = Counter()
        self._answers = answers
        self._original = campaign.service._fetch
        campaign.service._fetch = self._fetch  # type: ignore[method-assign]

    def _fetch(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.rsplit("/", 1)[1]
        self.of[name] += 1
        answers = self._answers.get(name, [whole])
        return answers[min(self.of[name], len(answers)) - 1](self._original(request))


def ended_shard(campaign: Campaign) -> Shard:
    """One transcription of three files, ended."""
    summary = campaign.plan(NAMES)
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.submit(shard)
    campaign.end_all()
    return shard


@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
def test_unreadable_once_is_transcribed_and_nothing_is_paid(
    campaign: Campaign, how: Callable[[bytes], bytes]
) -> None:
    downloads = Downloads(campaign, {SPOILT: [spoilt(how), whole]})

    report = campaign.run(NAMES)

    assert (report.transcribed, report.transcriptions) == (3, 1)
    assert campaign.posts == 1
    assert campaign.texts() == {name: f"words of {name}" for name in NAMES}
    assert downloads.of == {"contenturl_0.json": 1, SPOILT: 2, "contenturl_2.json": 1, "report.json": 1}


@pytest.mark.parametrize("way", WAYS)
def test_unreadable_always_costs_one_more_download_and_that_file_only(campaign: Campaign, way: str) -> None:
    downloads = Downloads(campaign, {SPOILT: [spoilt(WAYS[way])]})

    report = campaign.run(NAMES, repairs=0)

    assert (report.transcribed, report.can_retry) == (2, 1)
    assert downloads.of == {"contenturl_0.json": 1, SPOILT: 2, "contenturl_2.json": 1, "report.json": 1}
    row = campaign.rows()["call 01.wav"]
    expected = ("failed", "InvalidResult") if way in SAY_WHOSE else ("missing", "ResultNotFound")
    assert (row["outcome"], row["error_code"]) == expected


def test_every_file_unreadable_at_first_is_read_in_the_end(campaign: Campaign) -> None:
    names = [f"contenturl_{number}.json" for number in range(3)]
    downloads = Downloads(campaign, {one: [spoilt(WAYS["truncated"]), whole] for one in names})

    assert campaign.run(NAMES).transcribed == 3
    assert [downloads.of[one] for one in names] == [2, 2, 2]


def test_second_downloads_overlap_and_their_results_keep_their_places() -> None:
    """All are unreadable at first. Each second download waits for three others; one after the other, none would come."""
    entries = [ResultEntry(f"{n}", "Transcription", f"https://r/{n}", None) for n in range(8)]
    four = asyncio.Barrier(4)
    seen: Counter[str] = Counter()

    class Client:
        async def fetch(self, content_url: str) -> bytes:
            seen[content_url] += 1
            if seen[content_url] == 1:
                return b"{"
            await asyncio.wait_for(four.wait(), 20)
            return result(content_url, f"words {content_url}")

    async def read() -> list[str | None]:
        collector = Collector(Client(), "t1", concurrency=4)  # type: ignore[arg-type]
        return [one.source async for one in read_results(collector, entries, "token")]

    assert asyncio.run(read()) == [one.content_url for one in entries]
    assert set(seen.values()) == {2}


def test_first_and_second_downloads_together_are_no_more_than_may_be_under_way() -> None:
    """None is ever readable: the reasons stay in order, each file is asked for twice, and never five at once."""
    entries = [ResultEntry(f"{n}", "Transcription", f"https://r/{n}", None) for n in range(40)]
    seen: Counter[str] = Counter()
    under_way = most = 0

    class Client:
        async def fetch(self, content_url: str) -> bytes:
            nonlocal under_way, most
            seen[content_url] += 1
            under_way += 1
            most = max(most, under_way)
            # Later files come sooner, and second downloads later than the first.
            for _ in range(50 * seen[content_url] - int(content_url.rsplit("/", 1)[1])):
                await asyncio.sleep(0)
            under_way -= 1
            return json.dumps({"source": content_url, "spoilt": "yes"}).encode()[:-1]

    async def read() -> list[tuple[str | None, bool]]:
        collector = Collector(Client(), "t1", concurrency=4)  # type: ignore[arg-type]
        return [
            (one.source, isinstance(one.result, InvalidResultFile))
            async for one in read_results(collector, entries, "token")
        ]

    assert asyncio.run(read()) == [(one.content_url, True) for one in entries]
    assert set(seen.values()) == {2}
    assert most == 4


@pytest.mark.parametrize(
    "second", [spoilt(WAYS["an error page"]), lambda _: httpx.Response(404)], ids=["worse", "gone"]
)
def test_what_the_first_download_said_of_its_audio_file_is_not_lost(
    campaign: Campaign, second: Answer
) -> None:
    Downloads(campaign, {SPOILT: [spoilt(WAYS["truncated"]), second]})

    campaign.run(NAMES, repairs=0)

    row = campaign.rows()["call 01.wav"]
    assert (row["outcome"], row["error_code"]) == ("failed", "InvalidResult")


def test_a_link_that_has_expired_since_is_renewed(campaign: Campaign) -> None:
    service = campaign.service

    def expires(answer: httpx.Response) -> httpx.Response:
        service.sas_generation, service.accepted_sas = 2, {2}
        return spoilt(WAYS["truncated"])(answer)

    # One at a time, so that none but the spoilt file asks for fresh links.
    campaign = campaign.with_settings(download_concurrency=1)
    shard = ended_shard(campaign)
    downloads = Downloads(campaign, {"contenturl_2.json": [expires, whole]})

    assert campaign.pipeline.merge(shard).transcribed == 3
    assert downloads.of["contenturl_2.json"] == 3  # spoilt, refused under the old link, whole under the new
    assert service.calls["files"] == 2


def test_trouble_of_the_service_at_the_second_download_fails_the_merge_and_no_file(
    campaign: Campaign,
) -> None:
    shard = ended_shard(campaign)
    answers = [spoilt(WAYS["truncated"]), *[lambda _: httpx.Response(503)] * 20, whole]
    downloads = Downloads(campaign, {SPOILT: answers})

    with pytest.raises(ServiceUnavailable):
        campaign.pipeline.merge(shard)
    downloads.of[SPOILT] = len(answers)
    assert campaign.pipeline.merge(shard).transcribed == 3
    assert campaign.posts == 1


def test_good_files_are_decoded_once_and_never_asked_for_again(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = Counter[bytes]()
    from speech_backfill import chunk_outcomes

    original = chunk_outcomes.decode_result

    def counted(raw: bytes) -> object:
        decoded[raw] += 1
        return original(raw)

    async def never(*_: object) -> object:
        raise AssertionError

    monkeypatch.setattr(chunk_outcomes, "decode_result", counted)
    monkeypatch.setattr(Collector, "again", never)
    assert campaign.run(NAMES).transcribed == 3
    assert list(decoded.values()) == [1, 1, 1]


@pytest.mark.parametrize("how", [WAYS["truncated"], WAYS["empty"], WAYS["another JSON"]])
def test_a_report_that_is_unreadable_once_still_gives_its_reasons(
    campaign: Campaign, how: Callable[[bytes], bytes]
) -> None:
    """Without its reason a file that failed for good would be submitted again."""
    campaign.says = lambda one: Bad() if one.endswith("01.wav") else "fine words"
    downloads = Downloads(campaign, {"report.json": [spoilt(how), whole]})

    report = campaign.run(NAMES)

    assert (report.transcribed, report.failed, report.can_retry) == (2, 1, 0)
    assert campaign.rows()["call 01.wav"]["error_code"] == "InvalidAudio"
    assert campaign.posts == 1
    assert downloads.of["report.json"] == 2


def test_a_report_that_is_never_readable_costs_only_the_reasons(campaign: Campaign) -> None:
    campaign.says = lambda one: Bad() if one.endswith("01.wav") else "fine words"
    downloads = Downloads(campaign, {"report.json": [spoilt(WAYS["truncated"])]})

    report = campaign.run(NAMES, repairs=0)

    assert (report.transcribed, report.missing, report.can_retry) == (2, 1, 1)
    row = campaign.rows()["call 01.wav"]
    assert row["error_code"] == "NotReported"
    assert "report can't be read" in row["error_message"]
    assert downloads.of["report.json"] == 2
