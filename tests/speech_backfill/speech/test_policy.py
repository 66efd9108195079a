"""Retries, rate and resource: the rules that need no network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.speech_service import FakeClock
from speech_backfill.errors import SettingsError
from speech_backfill.speech.errors import (
    AnswerLost,
    NotSent,
    ServiceUnavailable,
    Throttled,
    Unauthorized,
    without_secrets,
)
from speech_backfill.speech.rate import RequestRate
from speech_backfill.speech.resource import SpeechKey, SpeechResource
from speech_backfill.speech.retries import RetryPolicy

POLICY = RetryPolicy()


def throttled(advice=None):
    return Throttled(resource="r", action="look", retry_after_seconds=advice, detail="429")


@given(st.integers(1, 4), st.floats(0, 1))
def test_delays_double_and_stay_within_their_bounds(tries_made, draw):
    error = ServiceUnavailable(resource="r", action="look", detail="503")

    delay = POLICY.delay_seconds(error, tries_made=tries_made, draw=draw)

    assert 0.5 * 2 ** (tries_made - 1) <= delay <= min(2 ** (tries_made - 1), 60)


@given(st.floats(0, 60), st.floats(0, 1))
def test_the_advice_of_the_service_is_never_undercut(advice, draw):
    assert POLICY.delay_seconds(throttled(advice), tries_made=1, draw=draw) >= advice


def test_long_advice_is_handed_to_the_caller():
    assert POLICY.delay_seconds(throttled(600), tries_made=1, draw=0.5) is None


def test_throttling_is_borne_longer_than_an_outage():
    outage = NotSent(resource="r", action="look", detail="refused")

    assert POLICY.delay_seconds(outage, tries_made=5, draw=0.5) is None
    assert POLICY.delay_seconds(throttled(), tries_made=5, draw=0.5) is not None
    assert POLICY.delay_seconds(throttled(), tries_made=10, draw=0.5) is None


@pytest.mark.parametrize(
    "error",
    [
        AnswerLost(resource="r", action="submit", detail="reset"),
        Unauthorized(resource="r", action="look", http_status=401, detail="key"),
    ],
)
def test_the_policy_repeats_neither_lost_submissions_nor_refusals(error):
    assert POLICY.delay_seconds(error, tries_made=1, draw=0.5) is None


async def test_no_ten_seconds_see_more_than_the_allowed_requests():
    clock = FakeClock()
    rate = RequestRate(monotonic=clock, sleep=clock.sleep)
    sent = []

    for _ in range(500):
        await rate.admit()
        sent.append(clock())

    assert max(sum(1 for one in sent if start <= one < start + 10) for start in sent) == 90
    assert sent[-1] - sent[0] == pytest.approx(50)


async def test_throttling_pauses_everyone():
    clock = FakeClock()
    rate = RequestRate(monotonic=clock, sleep=clock.sleep)
    started = clock()
    rate.pause(30)

    await rate.admit()

    assert clock() >= started + 30


@pytest.mark.parametrize(
    ("endpoint", "kept"),
    [
        ("https://westeurope.api.cognitive.microsoft.com/", "https://westeurope.api.cognitive.microsoft.com"),
        (
            "https://Name.cognitiveservices.azure.com/speechtotext/v3.2/",
            "https://name.cognitiveservices.azure.com",
        ),
        ("westeurope.api.cognitive.microsoft.com", "https://westeurope.api.cognitive.microsoft.com"),
        ("http://127.0.0.1:8090", "http://127.0.0.1:8090"),
        ("http://127.0.0.1:8090/west/", "http://127.0.0.1:8090/west"),
    ],
)
def test_endpoints_are_kept_in_one_spelling(endpoint, kept):
    assert SpeechResource(name="r", endpoint=endpoint, credential=SpeechKey("k")).endpoint == kept


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint": ""},
        {"endpoint": "ftp://x"},
        {"endpoint": "https://u:p@x"},
        {"window": 0},
        {"api_version": ""},
    ],
)
def test_a_resource_that_can_not_work_is_refused(changes):
    with pytest.raises(SettingsError) as caught:
        SpeechResource(**({"name": "r", "endpoint": "https://x", "credential": SpeechKey("k")} | changes))

    assert ":p@" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "kéy"])
def test_a_key_that_is_none_is_refused_without_being_shown(key):
    with pytest.raises(SettingsError) as caught:
        SpeechKey(key)

    assert not key or key not in str(caught.value)


def test_messages_lose_queries_and_length():
    text = without_secrets("see https://a.example/x?sv=1&sig=SECRET and sig=SECRET2\n" + "x" * 1000)

    assert "SECRET" not in text
    assert "https://a.example/x" in text
    assert len(text) <= 500
