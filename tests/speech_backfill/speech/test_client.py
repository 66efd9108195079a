"""The client against the in-memory service: what it sends, what it makes of answers, what it repeats."""

import asyncio
import json
import time

import httpx
import pytest

from fakes.http_server import served
from fakes.speech_service import KEY, SIGNATURE, FakeSpeechService
from speech_backfill.model import Status, TranscriptionOptions
from speech_backfill.speech.client import Deleted, NotDeletableYet, SpeechClient
from speech_backfill.speech.errors import (
    AnswerLost,
    ForeignLink,
    NotFound,
    NotSent,
    RequestRefused,
    ResultExpired,
    ResultNotFound,
    ResultTooLarge,
    ServiceUnavailable,
    Throttled,
    Unauthorized,
    UnreadableAnswer,
)
from speech_backfill.speech.resource import EntraToken


@pytest.fixture
def service():
    return FakeSpeechService()


@pytest.fixture
async def client(service):
    async with opened(service) as one:
        yield one


def opened(service, **changes):
    settings = {
        "clock": service.clock,
        "transport": service.transport(),
        "blob_host": service.blob_host(),
        "sleep": service.clock.sleep,
    }
    return SpeechClient(service.resource(), **(settings | changes))


def submission(token="token-1", **changes):
    values = {
        "options": TranscriptionOptions(),
        "content_urls": ["https://audio.example/a.wav?sig=secret-sas"],
        "display_name": token,
        "custom_properties": {"token": token},
        "time_to_live_hours": 48,
        "timeout_seconds": 60.0,
    }
    return values | changes


async def test_a_submission_is_answered_with_its_transcription(service, client):
    made = await client.submit(**submission())

    assert made.display_name == "token-1"
    assert made.status is Status.NOT_STARTED
    assert made.transcription_id in service.jobs
    assert made.created_at == int(service.clock())
    request = service.requests[0]
    assert request.url.path == "/speechtotext/transcriptions:submit"
    assert request.url.params["api-version"] == "2025-10-15"
    assert request.headers["Ocp-Apim-Subscription-Key"] == KEY


@pytest.mark.parametrize(
    ("scripted", "error"),
    [
        (httpx.ConnectError, NotSent),
        (httpx.ConnectTimeout, NotSent),
        (httpx.PoolTimeout, NotSent),
        (httpx.ReadTimeout, AnswerLost),
        (httpx.ReadError, AnswerLost),
        (httpx.WriteError, AnswerLost),
        (httpx.RemoteProtocolError, AnswerLost),
        (httpx.Response(500, text="oops"), AnswerLost),
        (httpx.Response(502), AnswerLost),
        (httpx.Response(408), AnswerLost),
        (httpx.Response(201, text="<html>a portal</html>"), AnswerLost),
        (httpx.Response(201, json={"status": "NotStarted"}), AnswerLost),
        (httpx.Response(400, json={"code": "InvalidRequest", "message": "no"}), RequestRefused),
        (httpx.Response(302, headers={"Location": "https://portal.example/"}), RequestRefused),
        (httpx.Response(401, json={"error": {"code": "401", "message": "wrong key"}}), Unauthorized),
        (httpx.Response(403, text="blocked"), Unauthorized),
        (httpx.Response(404, json={"code": "NotFound", "message": "no"}), NotFound),
        (httpx.Response(429, json={"error": {"code": "429", "message": "slow"}}), Throttled),
    ],
)
async def test_a_submission_is_one_post_whatever_becomes_of_it(service, client, scripted, error):
    service.script("submit", scripted)

    with pytest.raises(error) as caught:
        await client.submit(**submission())

    assert service.calls == {"submit": 1}
    assert type(caught.value) is error


async def test_a_submission_that_is_not_answered_in_time_is_a_lost_answer(service, client):
    def never(_request):
        raise TimeoutError

    service.script_after("submit", never)

    with pytest.raises(AnswerLost, match="no answer within 60 s"):
        await client.submit(**submission())

    assert len(service.jobs) == 1


async def test_a_submission_that_gets_no_turn_in_time_was_not_sent(service):
    class Full:
        async def admit(self):
            await asyncio.Event().wait()

    async with opened(service, rate=Full()) as client:
        with pytest.raises(NotSent, match="no turn"):
            await client.submit(**submission(timeout_seconds=0.001))

    assert service.calls["submit"] == 0


async def test_throttling_says_when_to_come_back(service, client):
    service.script("submit", httpx.Response(429, headers={"Retry-After": "7"}))

    with pytest.raises(Throttled) as caught:
        await client.submit(**submission())

    assert caught.value.retry_after_seconds == 7


async def test_a_transcription_whose_answer_was_lost_is_found_by_its_token(service, client):
    service.script_after("submit", httpx.ReadTimeout)
    with pytest.raises(AnswerLost):
        await client.submit(**submission("mine"))

    found = await client.find("mine", created_after=service.clock() - 600)

    assert [one.transcription_id for one in found] == list(service.jobs)
    assert found[0].custom_properties == {"token": "mine"}


async def test_find_reads_every_page_with_the_key_and_checks_matches_itself(service, client):
    service.ignores_filters = True
    service.page_size = 7
    for number in range(40):
        service.add(f"other-{number}")
    old = service.add("mine", created_at=service.clock() - 10_000)
    mine = service.add("mine")

    found = await client.find("mine", created_after=service.clock() - 600)

    assert [one.transcription_id for one in found] == [mine]
    assert old != mine
    assert service.calls["list"] == 6
    assert all(request.headers["Ocp-Apim-Subscription-Key"] == KEY for request in service.requests)


async def test_a_deletion_between_two_pages_does_not_hide_a_transcription(service, client):
    """Paging is by offset: a row that goes moves the next page's first row onto the page that was read already."""
    service.ignores_filters = True
    service.page_size = 2
    first, _second, mine = service.add("other"), service.add("other"), service.add("mine")

    def deleting(request):
        answer = service._list(request)
        service.forget(first)
        return answer

    service.script("list", deleting)

    assert [one.transcription_id for one in await client.find("mine", created_after=0)] == [mine]


async def test_nothing_is_found_after_looking_twice_where_there_are_many_pages(service, client):
    service.ignores_filters = True
    service.page_size = 2
    for _ in range(3):
        service.add("other")

    assert await client.find("mine", created_after=0) == []
    assert service.calls["list"] == 4


async def test_find_asks_for_everything_where_filters_are_not_supported(service, client):
    service.refuses_filters = True
    service.add("other")
    mine = service.add("mine")

    found = await client.find("mine", created_after=0)

    assert [one.transcription_id for one in found] == [mine]


async def test_a_name_with_a_quote_is_found(service, client):
    mine = service.add("it's mine' or status eq 'Failed")

    found = await client.find("it's mine' or status eq 'Failed", created_after=0)

    assert [one.transcription_id for one in found] == [mine]


async def test_a_transcription_listed_on_two_pages_is_found_once(service, client):
    job = service._shown(service.jobs[service.add("mine")])
    service.script(
        "list",
        httpx.Response(
            200,
            json={"values": [job], "@nextLink": "https://speech.example/speechtotext/transcriptions?skip=1"},
        ),
        httpx.Response(200, json={"values": [job], "@nextLink": None}),
    )

    assert len(await client.find("mine", created_after=0)) == 1


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"values": None}),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"values": [{"displayName": "mine"}]}),
        httpx.Response(
            200, json={"values": [{"self": "https://speech.example/speechtotext/transcriptions"}]}
        ),
    ],
)
async def test_an_answer_that_can_not_be_read_is_never_an_empty_list(service, client, answer):
    service.script("list", answer)

    with pytest.raises(UnreadableAnswer):
        await client.find("mine", created_after=0)


async def test_a_failed_second_page_fails_the_search(service, client):
    service.page_size = 1
    service.add("other")
    service.add("mine")

    async def first_then_broken():
        pages = client.list_pages()
        await anext(pages)
        service.script("list", *[httpx.Response(503)] * 10)
        await anext(pages)

    with pytest.raises(ServiceUnavailable):
        await first_then_broken()


async def test_a_next_page_on_another_host_never_sees_the_key(service, client):
    service.page_size = 1
    service.next_link_host = "evil.example"
    service.add()
    service.add()

    with pytest.raises(ForeignLink, match=r"evil\.example"):
        await client.find("x", created_after=0) if service.ignores_filters else [
            one async for one in client.list()
        ]

    assert {request.url.host for request in service.requests} == {"speech.example"}


async def test_a_next_page_on_the_regional_host_is_asked_of_our_endpoint(service):
    service.page_size = 1
    service.next_link_host = "westeurope.api.cognitive.microsoft.com"
    service.add()
    service.add()

    settings = {"clock": service.clock, "transport": service.transport(), "sleep": service.clock.sleep}
    async with SpeechClient(service.resource(region="westeurope"), **settings) as client:
        listed = [one async for one in client.list()]

    assert len(listed) == 2
    assert {request.url.host for request in service.requests} == {"speech.example"}


async def test_a_next_page_that_leads_back_ends_in_an_error(service, client):
    link = "https://speech.example/speechtotext/transcriptions?skip=1"
    service.script("list", *[httpx.Response(200, json={"values": [], "@nextLink": link})] * 3)

    with pytest.raises(UnreadableAnswer, match="already read"):
        [one async for one in client.list()]


async def test_api_version_stands_once_in_every_address(service, client):
    service.page_size = 1
    service.add()
    service.add()

    [one async for one in client.list()]

    assert [request.url.params.get_list("api-version") for request in service.requests] == [
        ["2025-10-15"]
    ] * 2


async def test_looks_are_repeated_until_the_service_is_back(service, client):
    mine = service.add("mine")
    service.script(
        "get",
        httpx.Response(503),
        httpx.ConnectError,
        httpx.Response(429, headers={"Retry-After": "30"}),
        httpx.ReadTimeout,
    )

    assert (await client.get(mine)).transcription_id == mine
    assert service.calls["get"] == 5
    assert max(service.clock.slept) >= 30


async def test_looks_give_up_at_last(service, client):
    service.script("get", *[httpx.Response(503)] * 50)

    with pytest.raises(ServiceUnavailable):
        await client.get("x")

    assert service.calls["get"] == 5


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_what_a_repeat_does_not_cure_is_not_repeated(service, client, status):
    service.script("get", httpx.Response(status))

    with pytest.raises((RequestRefused, Unauthorized, NotFound)):
        await client.get("x")

    assert service.calls["get"] == 1


async def test_an_ended_transcription_is_deleted(service, client):
    mine = service.add()
    service.end(mine)

    assert await client.delete(mine) == Deleted(mine)
    assert await client.delete(mine) == Deleted(mine)
    assert not service.jobs


async def test_an_unfinished_transcription_can_not_be_deleted_yet(service, client):
    mine = service.add()

    assert await client.delete(mine) == NotDeletableYet(mine)
    assert mine in service.jobs


async def test_the_files_of_the_largest_transcription_are_listed_in_two_pages(service, client):
    mine = service.add()
    service.end(mine, results={f"contenturl_{n}.json": b"{}" for n in range(1000)}, report=b"{}")

    entries = [one async for one in client.files(mine)]

    assert len(entries) == 1001
    assert sum(one.is_report for one in entries) == 1
    assert sum(one.is_result for one in entries) == 1000
    assert service.calls["files"] == 2


async def test_a_service_that_refuses_large_pages_is_asked_for_its_own_and_not_again_for_large_ones(
    service, client
):
    mine = service.add()
    service.largest_top = 100
    service.end(mine, results={f"contenturl_{n}.json": b"{}" for n in range(250)}, report=b"{}")

    first = [one async for one in client.files(mine)]
    calls = service.calls["files"]
    second = [one async for one in client.files(mine)]

    assert len(first) == len(second) == 251
    assert (calls, service.calls["files"]) == (1 + 3, 1 + 3 + 3)


async def test_a_list_of_files_that_is_refused_for_another_reason_is_not_asked_for_again(service, client):
    service.script("files", httpx.Response(400, json={"code": "InvalidRequest", "message": "no"}))

    with pytest.raises(RequestRefused):
        [one async for one in client.files(service.add())]

    assert service.calls["files"] == 1


@pytest.mark.parametrize("refused_on", [1, 2])
async def test_no_file_is_listed_twice_where_large_pages_end_in_a_refusal(service, client, refused_on):
    mine = service.add()
    service.end(mine, results={f"contenturl_{n}.json": b"{}" for n in range(1500)})
    refusal = {
        "code": "InvalidRequest",
        "message": "no",
        "innerError": {"code": "UnsupportedPagination", "message": "no"},
    }
    service.script("files", *[service._files] * (refused_on - 1), httpx.Response(400, json=refusal))

    names = [one.name async for one in client.files(mine)]

    assert sorted(names) == sorted(f"contenturl_{n}.json" for n in range(1500))


async def test_result_files_are_fetched_without_key_or_bearer(service, client):
    mine = service.add()
    service.end(mine, results={"contenturl_0.json": b'{"said": "hello"}'})
    entries = [one async for one in client.files(mine)]

    body = await client.fetch(entries[0].content_url)

    assert body == b'{"said": "hello"}'
    assert "Ocp-Apim-Subscription-Key" not in service.requests[-1].headers


async def test_an_expired_link_asks_for_a_fresh_one(service, client):
    mine = service.add()
    service.end(mine, results={"contenturl_0.json": b"{}"})
    stale = await anext(client.files(mine))
    service.sas_generation, service.accepted_sas = 2, {2}

    with pytest.raises(ResultExpired) as caught:
        await client.fetch(stale.content_url)

    fresh = await anext(client.files(mine))
    assert SIGNATURE not in str(caught.value)
    assert await client.fetch(fresh.content_url) == b"{}"


async def test_a_result_file_that_appears_late_is_waited_for(service, client):
    mine = service.add()
    service.end(mine, results={"contenturl_0.json": b"{}"})
    entry = await anext(client.files(mine))
    service.script("fetch", httpx.Response(404), httpx.Response(503), httpx.ReadError)

    assert await client.fetch(entry.content_url) == b"{}"


async def test_a_result_file_that_stays_away_is_named_without_its_sas(client):
    with pytest.raises(ResultNotFound) as caught:
        await client.fetch(f"https://results.blob.example/x/contenturl_0.json?sig={SIGNATURE}")

    assert SIGNATURE not in str(caught.value)
    assert "contenturl_0.json" in str(caught.value)


async def test_a_result_file_beyond_the_bound_is_not_read(service):
    mine = service.add()
    service.end(mine, results={"contenturl_0.json": b"x" * 2000})
    async with opened(service, max_result_bytes=1000) as client:
        entry = await anext(client.files(mine))

        with pytest.raises(ResultTooLarge, match="Cut the recording"):
            await client.fetch(entry.content_url)


async def test_no_error_and_no_repr_shows_a_secret(service, client):
    echo = json.dumps(
        {"code": "InvalidRequest", "message": "bad https://a.example/a.wav?sv=1&sig=secret-sas here"}
    )
    service.script("submit", httpx.Response(400, text=echo))

    with pytest.raises(RequestRefused) as caught:
        await client.submit(**submission())

    assert "secret-sas" not in str(caught.value)
    assert "secret-sas" not in caught.value.detail
    assert KEY not in repr(service.resource())


async def test_the_wrong_tier_is_named(service, client):
    message = 'Only "Standard" subscriptions for the region of the called service are valid.'
    body = {
        "code": "InvalidRequest",
        "message": message,
        "innerError": {"code": "InvalidSubscription", "message": message},
    }
    service.script("submit", httpx.Response(400, json=body))

    with pytest.raises(RequestRefused, match="S0") as caught:
        await client.submit(**submission())

    assert caught.value.code == "InvalidSubscription"


async def test_the_service_advises_when_to_look_again(service, client):
    service.script("list", httpx.Response(200, json={"values": []}, headers={"Retry-After": "120"}))

    await client.probe()

    assert client.advised_wait_seconds == 120


class Token:
    """A credential that hands out numbered tokens."""

    def __init__(self, clock):
        self.clock = clock
        self.given = 0

    def get_token(self, *scopes, **_options):
        from azure.core.credentials import AccessToken

        assert scopes == ("https://cognitiveservices.azure.com/.default",)
        self.given += 1
        return AccessToken(f"token-{self.given}", int(self.clock()) + 3600)


async def test_entra_tokens_are_kept_until_shortly_before_they_end(service):
    credential = Token(service.clock)
    settings = {"clock": service.clock, "transport": service.transport(), "sleep": service.clock.sleep}
    async with SpeechClient(service.resource(credential=EntraToken(credential)), **settings) as client:
        await client.probe()
        await client.probe()
        service.clock.now += 3400
        await client.probe()

    assert [request.headers["Authorization"] for request in service.requests] == [
        "Bearer token-1",
        "Bearer token-1",
        "Bearer token-2",
    ]


async def test_no_entra_token_means_nothing_was_sent(service):
    from azure.core.exceptions import ClientAuthenticationError

    class Refused:
        def get_token(self, *_scopes, **_options):
            raise ClientAuthenticationError("the client secret has expired")

    settings = {"clock": service.clock, "transport": service.transport(), "sleep": service.clock.sleep}
    async with SpeechClient(service.resource(credential=EntraToken(Refused())), **settings) as client:
        with pytest.raises(Unauthorized, match="the client secret has expired"):
            await client.submit(**submission())

    assert not service.requests


async def test_a_submission_never_goes_over_a_connection_that_was_used_before():
    """The other end may have just closed it, and then nobody knows what became of the submission."""
    service = FakeSpeechService(clock=time.time)
    with served(service) as endpoint:
        async with SpeechClient(service.resource(endpoint=endpoint)) as client:
            await client.probe()
            await client.probe()
            await client.submit(**submission("one"))
            await client.submit(**submission("two"))

    looks = {port for method, port in service.peers if method == "GET"}
    submissions = [port for method, port in service.peers if method == "POST"]
    assert len(looks) == 1
    assert len(set(submissions) | looks) == 3
