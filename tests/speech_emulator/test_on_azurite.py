"""The emulator and a real blob service: containers, real SAS, and a SAS that expires before its audio is read."""

import io
import json
import threading
import time
import wave
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas

from azurite import ACCOUNT, KEY
from speech_emulator.config import from_mapping
from speech_emulator.server import running

pytestmark = pytest.mark.azurite

SIGNED_IN = {"Ocp-Apim-Subscription-Key": "local-emulator-key"}
VERSION = {"api-version": "2025-10-15"}
NAMES = ["plain.wav", "day/2026-11-01/caf\u00e9 & co.wav", "100% #1 + more.wav"]


def tone():
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(b"\x00\x10" * 80_000)
    return file.getvalue()


class Containers:
    """Two containers of one account, and the SAS that open them."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.service = BlobServiceClient(endpoint, credential={"account_name": ACCOUNT, "account_key": KEY})
        for name in ("source", "results"):
            self.service.create_container(name)
        for name in NAMES:
            self.service.get_blob_client("source", name).upload_blob(tone())

    def sas(self, container, permission, seconds=3600):
        ends = datetime.now(UTC) + timedelta(seconds=seconds)
        permissions = ContainerSasPermissions.from_string(permission)
        return generate_container_sas(
            ACCOUNT, container, account_key=KEY, permission=permissions, expiry=ends
        )

    def url(self, container, permission, seconds=3600):
        return f"{self.endpoint}/{container}?{self.sas(container, permission, seconds)}"

    def blob(self, name, seconds=3600):
        return f"{self.service.get_blob_client('source', name).url}?{self.sas('source', 'r', seconds)}"


@pytest.fixture(scope="module")
def containers(azurite):
    return Containers(azurite)


@pytest.fixture(scope="module")
def speech():
    recogniser = {"kind": "synthetic", "synthetic_fetch_audio": True}
    with (
        running(from_mapping({"recogniser": recogniser, "throttle": {"enabled": False}})) as base,
        httpx.Client(base_url=base, headers=SIGNED_IN, params=VERSION, timeout=30) as client,
    ):
        yield client


def transcribe(speech, properties=None, **source):
    body = {
        "displayName": "d",
        "locale": "en-US",
        "properties": {"timeToLiveHours": 6, **(properties or {})},
        **source,
    }
    made = speech.post("/speechtotext/transcriptions:submit", json=body).json()
    path = made["self"].partition("?")[0]
    deadline = time.monotonic() + 60
    while (shown := speech.get(path).json())["status"] not in {"Succeeded", "Failed"}:
        assert time.monotonic() < deadline
        threading.Event().wait(0.1)
    return shown, speech.get(f"{path}/files").json()["values"]


def test_a_container_is_read_over_its_sas(speech, containers):
    shown, files = transcribe(speech, contentContainerUrl=containers.url("source", "rl"))
    assert shown["status"] == "Succeeded"
    assert {file["name"] for file in files} == {"report.json", *(f"{name}.json" for name in NAMES)}
    sources = {httpx.get(file["links"]["contentUrl"]).json().get("source") for file in files}
    assert sources == {None, *NAMES}


def test_a_container_needs_the_right_to_list(speech, containers):
    shown, _ = transcribe(speech, contentContainerUrl=containers.url("source", "r"))
    assert (shown["status"], shown["properties"]["error"]["code"]) == ("Failed", "InvalidUri")


def test_results_are_put_into_the_destination(speech, containers):
    destination = {"destinationContainerUrl": containers.url("results", "w")}
    urls = [containers.blob(name) for name in NAMES]
    shown, files = transcribe(speech, destination, contentUrls=urls)
    assert shown["status"] == "Succeeded"
    blobs = list(containers.service.get_container_client("results").list_blob_names())
    assert len(blobs) == 4
    assert all("?" not in file["links"]["contentUrl"] for file in files)
    report = next(name for name in blobs if name.endswith("report.json"))
    content = containers.service.get_blob_client("results", report).download_blob().readall()
    assert json.loads(content)["successfulTranscriptionsCount"] == 3


def test_a_destination_that_may_not_be_written_fails_the_files(speech, containers):
    destination = {"destinationContainerUrl": containers.url("results", "r")}
    shown, _ = transcribe(speech, destination, contentUrls=[containers.blob(NAMES[0])])
    assert (shown["status"], shown["properties"]["error"]["code"]) == (
        "Failed",
        "InaccessibleCustomerStorage",
    )


def test_an_expired_sas_is_accepted_and_fails_its_file_when_the_audio_is_read(speech, containers):
    urls = [containers.blob(NAMES[0], seconds=-10), containers.blob(NAMES[1])]
    shown, files = transcribe(speech, contentUrls=urls)
    assert shown["status"] == "Succeeded"
    link = next(file["links"]["contentUrl"] for file in files if file["name"] == "report.json")
    first, second = httpx.get(link).json()["details"]
    assert first["errorMessage"] == "Authentication failed for recordings URI."
    assert second["status"] == "Succeeded"


def test_a_blob_that_is_gone_fails_its_file(speech, containers):
    shown, _ = transcribe(speech, contentUrls=[containers.blob("nowhere.wav")])
    assert shown["properties"]["error"] == {"code": "InvalidUri", "message": "The recordings URI is invalid."}
