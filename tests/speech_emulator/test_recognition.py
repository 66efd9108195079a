"""Really recognising speech, with the packaged model, on the project's recordings."""

import csv
import functools
import http.server
import re
import threading
import time
from collections import defaultdict
from pathlib import Path
from urllib.parse import quote

import httpx
import jiwer
import pytest

from speech_emulator.config import from_mapping
from speech_emulator.server import running

pytestmark = pytest.mark.speech

RECORDINGS = Path(__file__).resolve().parents[2] / "recordings"
KEY = {"Ocp-Apim-Subscription-Key": "local-emulator-key"}
VERSION = {"api-version": "2025-10-15"}


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def files():
    """The address of a file server over the recordings."""
    handler = functools.partial(QuietFiles, directory=str(RECORDINGS))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def speech():
    settings = from_mapping({"queue": {"start_delay_seconds": 0}, "recogniser": {"workers": 2}})
    with (
        running(settings) as base,
        httpx.Client(base_url=base, headers=KEY, params=VERSION, timeout=30) as client,
    ):
        yield client


def transcribe(speech, urls, **properties):
    body = {
        "displayName": "spoken",
        "locale": "en-US",
        "contentUrls": urls,
        "properties": {"timeToLiveHours": 6, **properties},
    }
    made = speech.post("/speechtotext/transcriptions:submit", json=body).json()
    identity = made["self"].partition("?")[0].rpartition("/")[2]
    path, deadline = f"/speechtotext/transcriptions/{identity}", time.monotonic() + 240
    while speech.get(path).json()["status"] not in {"Succeeded", "Failed"}:
        assert time.monotonic() < deadline, "the recogniser is far too slow"
        # Asking costs the recogniser a core that it needs.
        threading.Event().wait(0.3)
    listed = speech.get(f"{path}/files").json()["values"]
    return {file["name"]: httpx.get(file["links"]["contentUrl"]).json() for file in listed}


def expected():
    """What every file says, per channel, and how it must end."""
    texts, outcomes = defaultdict(dict), {}
    with (RECORDINGS / "expected.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            outcomes[row["path"]] = row["outcome"]
            if row["text"]:
                texts[row["path"]][int(row["channel"])] = row["text"]
    return texts, outcomes


def plain(text):
    return " ".join(re.sub(r"[^\w' ]", " ", text.lower()).split())


@pytest.fixture(scope="module")
def heard(speech, files):
    """Every recording's result by path, None for those that failed; and the report."""
    _, outcomes = expected()
    paths = list(outcomes)
    results = transcribe(
        speech,
        [f"{files}/{quote(path)}" for path in paths],
        wordLevelTimestampsEnabled=True,
        displayFormWordLevelTimestampsEnabled=True,
    )
    return {path: results.get(f"contenturl_{at}.json") for at, path in enumerate(paths)}, results[
        "report.json"
    ]


def test_every_recording_ends_as_it_should(heard):
    _, outcomes = expected()
    results, report = heard
    assert {path for path, result in results.items() if result is None} == {
        path for path, outcome in outcomes.items() if outcome == "failed"
    }
    failed = [detail for detail in report["details"] if detail["status"] == "Failed"]
    assert {detail["errorKind"] for detail in failed} == {"InvalidData"}


def test_what_was_said_is_understood_on_the_channel_where_it_was_said(heard):
    texts, _ = expected()
    said, understood = [], []
    for path, channels in texts.items():
        combined = {one["channel"]: one["lexical"] for one in heard[0][path]["combinedRecognizedPhrases"]}
        assert set(combined) == set(channels), path
        said += [plain(text) for text in channels.values()]
        understood += [plain(combined[channel]) for channel in channels]
    assert len(said) > 20
    assert jiwer.wer(said, understood) < 0.10


def test_silence_says_nothing(heard):
    texts, outcomes = expected()
    silent = [path for path, outcome in outcomes.items() if outcome == "transcribed" and path not in texts]
    assert silent
    for path in silent:
        assert heard[0][path]["recognizedPhrases"] == []
        assert heard[0][path]["combinedRecognizedPhrases"] == []


def test_words_have_plausible_times_and_confidences(heard):
    for result in filter(None, heard[0].values()):
        for phrase in result["recognizedPhrases"]:
            best = phrase["nBest"][0]
            assert " ".join(word["word"] for word in best["words"]) == best["lexical"]
            assert " ".join(word["displayText"] for word in best["displayWords"]) == best["display"]
            starts = [word["offsetInTicks"] for word in best["words"]]
            assert starts == sorted(starts)
            ends = [word["offsetInTicks"] + word["durationInTicks"] for word in best["words"]]
            assert max(ends) <= result["durationInTicks"] + 5_000_000
            assert all(0 <= word["confidence"] <= 1 for word in best["words"])
            assert 0 < best["confidence"] <= 1


def test_two_channels_refuse_diarization(speech, files):
    texts, _ = expected()
    path = next(path for path, channels in texts.items() if len(channels) == 2)
    results = transcribe(speech, [f"{files}/{quote(path)}"], diarization={"enabled": True, "maxSpeakers": 2})
    (detail,) = results["report.json"]["details"]
    assert (detail["errorKind"], "Stereo" in detail["errorMessage"]) == ("InvalidData", True)
