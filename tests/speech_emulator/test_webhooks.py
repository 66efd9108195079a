"""Registration, handshake, signed notifications."""

import base64
import hashlib
import hmac
import json

import httpx
import pytest

HOOKS = "/speechtotext/webhooks"


class Receiver:
    """A callback that answers challenges and remembers the rest."""

    def __init__(self, status=200):
        self.status = status
        self.answers_challenges = True
        self.seen = []

    def __call__(self, request):
        event = request.headers["x-microsoftspeechservices-event"]
        if event.lower() == "challenge" and self.answers_challenges:
            return httpx.Response(200, text=request.url.params["validationToken"])
        self.seen.append((event, request))
        return httpx.Response(self.status)

    def names(self):
        return [event for event, _ in self.seen]


@pytest.fixture
def receiver():
    return Receiver()


async def register(service, *events, **more):
    body = {
        "displayName": "hook",
        "webUrl": "http://receiver.test/cb?x=1",
        "events": dict.fromkeys(events or ("transcriptionCompletion",), True),
        **more,
    }
    answer = await service.request("POST", HOOKS, json=body)
    assert answer.status_code == 201, answer.text
    await service.settle()
    return answer.json()


async def status(service, hook):
    return (await service.get(hook["self"])).json()["status"]


async def test_a_webhook_becomes_usable_by_answering_the_challenge(service_with, receiver):
    service = await service_with(outside=receiver)
    hook = await register(service, properties={"secret": "s3cret"})
    assert hook["status"] == "NotStarted"
    assert "s3cret" not in json.dumps(hook)
    assert await status(service, hook) == "Succeeded"


async def test_a_webhook_that_fails_the_challenge_hears_nothing(service_with, receiver):
    receiver.answers_challenges = False
    service = await service_with(outside=receiver)
    hook = await register(service)
    shown = (await service.get(hook["self"])).json()
    assert (shown["status"], shown["properties"]["error"]["code"]) == ("Failed", "InvalidCallbackUri")
    receiver.seen.clear()
    await service.submit()
    await service.advance(1)
    assert receiver.seen == []


async def test_events_are_signed_and_name_the_transcription(service_with, receiver):
    service = await service_with(outside=receiver)
    await register(
        service,
        "transcriptionCreation",
        "transcriptionProcessing",
        "transcriptionCompletion",
        "transcriptionDeletion",
        properties={"secret": "s3cret"},
    )
    made = await service.submit()
    await service.advance(1)
    await service.request("DELETE", made["self"])
    await service.settle()
    assert sorted(receiver.names()) == [
        "transcriptionCompletion",
        "transcriptionCreation",
        "transcriptionDeletion",
        "transcriptionProcessing",
    ]
    invocations = set()
    for _, request in receiver.seen:
        digest = hmac.new(b"s3cret", request.content, hashlib.sha256).digest()
        assert request.headers["x-microsoftspeechservices-signature"] == base64.b64encode(digest).decode()
        body = json.loads(request.content)
        assert body["self"] == made["self"]
        invocations.add(body["invocationId"])
    assert len(invocations) == 4


async def test_without_a_secret_there_is_no_signature_and_case_can_be_chosen(service_with, receiver):
    service = await service_with({"guesses": {"webhook_event_case": "pascal"}}, outside=receiver)
    await register(service)
    await service.submit()
    await service.advance(1)
    ((event, request),) = receiver.seen
    assert event == "TranscriptionCompletion"
    assert "x-microsoftspeechservices-signature" not in request.headers


async def test_notifications_can_be_lost_and_doubled(service_with, receiver):
    service = await service_with(outside=receiver)
    await register(service)
    await service.fault("notification_lost", nth=[1])
    await service.fault("notification_duplicated", copies=2, nth=[1])
    for _ in range(2):
        await service.submit()
        await service.advance(1)
    assert len(receiver.seen) == 3
    assert len({json.loads(request.content)["invocationId"] for _, request in receiver.seen}) == 1


async def test_a_failing_callback_is_tried_again_and_then_given_up(service_with, receiver):
    service = await service_with(outside=receiver)
    await register(service)
    receiver.status = 500
    await service.submit()
    await service.advance(1)
    for _ in range(10):
        await service.advance(60)
    assert len(receiver.seen) == 3


async def test_ping_sends_the_webhook_itself(service_with, receiver):
    service = await service_with(outside=receiver)
    hook = await register(service)
    assert (await service.request("POST", hook["links"]["ping"])).status_code == 202
    await service.settle()
    ((event, request),) = receiver.seen
    assert event == "ping"
    assert json.loads(request.content)["self"] == hook["self"]


async def test_test_repeats_the_last_event_or_says_that_there_is_none(service_with, receiver):
    service = await service_with(outside=receiver)
    hook = await register(service)
    assert (await service.request("POST", hook["links"]["test"])).status_code == 204
    await service.submit()
    await service.advance(1)
    assert (await service.request("POST", hook["links"]["test"])).status_code == 202
    await service.settle()
    assert receiver.names() == ["transcriptionCompletion"] * 2


async def test_another_address_means_another_handshake(service_with, receiver):
    service = await service_with(outside=receiver)
    hook = await register(service)
    same = await service.request("PATCH", hook["self"], json={"displayName": "new"})
    assert (same.json()["displayName"], same.json()["status"]) == ("new", "Succeeded")
    moved = await service.request("PATCH", hook["self"], json={"webUrl": "http://receiver.test/other"})
    assert moved.json()["status"] == "NotStarted"
    await service.settle()
    assert await status(service, hook) == "Succeeded"


async def test_webhooks_are_listed_filtered_and_deleted(service_with, receiver):
    service = await service_with(outside=receiver)
    hook = await register(service)
    await register(service, displayName="other")
    query = {"filter": "displayName eq 'other'"}
    assert len((await service.get(HOOKS)).json()["values"]) == 2
    assert len((await service.get(HOOKS, params=query)).json()["values"]) == 1
    for _ in range(2):
        assert (await service.request("DELETE", hook["self"])).status_code == 204
    assert (await service.get(hook["self"])).status_code == 404


@pytest.mark.parametrize(
    ("change", "inner"),
    [
        ({"webUrl": "receiver.test"}, "InvalidCallbackUri"),
        ({"events": {"transcriptionDone": True}}, "InvalidWebHookEventKind"),
        ({"events": {"ping": "yes"}}, "InvalidPayload"),
        ({"displayName": ""}, "InvalidPayload"),
    ],
)
async def test_wrong_webhooks_are_refused(service, change, inner):
    body = {"displayName": "d", "webUrl": "http://r.test/", "events": {"ping": True}, **change}
    answer = await service.request("POST", HOOKS, json=body)
    assert (answer.status_code, answer.json()["innerError"]["code"]) == (400, inner)
