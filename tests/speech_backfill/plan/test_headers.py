"""Headers are read where they lie: few bytes, many at once, and no failure is more than an unknown duration."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from uuid import uuid4

import pytest

from audio_files import FILES, encoded, wav
from azurite import ACCOUNT, KEY
from fakes.blob_server import BlobServer, blob_server
from speech_backfill.accounts import AccountKey, StorageAccount, StorageAccounts
from speech_backfill.plan import headers
from speech_backfill.plan.headers import HeaderReader

SECOND = wav(bytes(16_000))


@pytest.fixture
def blobs() -> Iterator[BlobServer]:
    with blob_server() as server:
        yield server


def _named(urls: dict[str, int]) -> dict[str, int]:
    return {url.rsplit("/", 1)[1]: ms for url, ms in urls.items()}


def test_durations_of_all_formats_come_by_url(blobs: BlobServer) -> None:
    expected = {}
    for number, (seconds, suffix, make) in enumerate(FILES.values()):
        blobs.blobs[f"audio/{number}.{suffix}"] = make()
        expected[f"{number}.{suffix}"] = seconds * 1000
    found = HeaderReader(blobs.accounts).durations([blobs.url(path) for path in blobs.blobs])
    assert _named(found) == pytest.approx(expected, rel=0.03, abs=110)


@pytest.mark.parametrize("status", [401, 403, 404, 409, 416])
def test_a_file_that_cannot_be_read_is_unknown_and_the_others_are_not(blobs: BlobServer, status: int) -> None:
    for number in range(20):
        blobs.blobs[f"audio/{number}.wav"] = SECOND
    for number in (0, 7, 8, 9, 10, 11, 12, 13):
        blobs.fails_for_ever[f"audio/{number}.wav"] = status
    found = HeaderReader(blobs.accounts).durations([blobs.url(path) for path in blobs.blobs])
    assert _named(found) == {f"{number}.wav": 1000 for number in (*range(1, 7), *range(14, 20))}
    assert set(blobs.requests.values()) == {1}


def test_an_account_that_fails_now_and_then_is_asked_again(blobs: BlobServer) -> None:
    for number in range(30):
        blobs.blobs[f"audio/{number}.wav"] = SECOND
        blobs.fails[f"audio/{number}.wav"] = [[], [503], [500, 503], [0]][number % 4]
    found = HeaderReader(blobs.accounts).durations([blobs.url(path) for path in blobs.blobs])
    assert _named(found) == {f"{number}.wav": 1000 for number in range(30)}
    assert sum(blobs.requests.values()) == 30 + 8 + 2 * 7 + 7


def test_an_account_that_does_not_answer_is_asked_for_one_file_only(blobs: BlobServer) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        nobody = StorageAccount("down", f"http://127.0.0.1:{taken.getsockname()[1]}/down", AccountKey("a2V5"))
        blobs.blobs["audio/1.wav"] = SECOND
        accounts = StorageAccounts.of([nobody, *blobs.accounts.accounts])
        urls = [f"{nobody.blob_endpoint}/audio/{number}.wav" for number in range(300)]
        reader = HeaderReader(accounts)
        found = reader.durations([*urls, blobs.url("audio/1.wav")])
    assert _named(found) == {"1.wav": 1000}
    assert list(reader._found) == [urls[0], blobs.url("audio/1.wav")]


def test_an_account_that_goes_down_or_throttles_is_left_alone(
    blobs: BlobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headers, "_TIMEOUT_SECONDS", 1)
    for number in range(100):
        blobs.blobs[f"audio/{number}.wav"] = SECOND
        if number:
            blobs.fails_for_ever[f"audio/{number}.wav"] = 503
    reader = HeaderReader(blobs.accounts, concurrency=4)
    found = reader.durations([blobs.url(path) for path in blobs.blobs])
    assert _named(found) == {"0.wav": 1000}
    assert len(blobs.requests) < 15


def test_an_account_that_hangs_does_not_hold_the_plan_up(
    blobs: BlobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speech_backfill.manifest.faults.FIRST_ANSWER_SECONDS", 0.3)
    blobs.blobs = {f"audio/{number}.wav": SECOND for number in range(10)}
    blobs.seconds_an_answer = 3.0
    assert HeaderReader(blobs.accounts).durations([blobs.url(path) for path in blobs.blobs]) == {}
    assert sum(blobs.requests.values()) == 1


def test_after_a_while_the_plan_goes_on_with_what_there_is(
    blobs: BlobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headers, "_LEAST_SECONDS", 0.5)
    monkeypatch.setattr(headers, "_SECONDS_A_FILE", 0.0)
    blobs.blobs = {f"audio/{number:02}.wav": SECOND for number in range(60)}
    blobs.seconds_an_answer = 0.1
    found = HeaderReader(blobs.accounts, concurrency=2).durations([blobs.url(path) for path in blobs.blobs])
    assert 0 < len(found) < 30


def test_nothing_is_asked_twice(blobs: BlobServer) -> None:
    blobs.blobs = {"audio/1.wav": SECOND, "audio/2.wav": b"no audio", "audio/3.wav": SECOND}
    reader = HeaderReader(blobs.accounts)
    first = reader.durations([blobs.url("audio/1.wav"), blobs.url("audio/2.wav"), blobs.url("audio/1.wav")])
    again = reader.durations([blobs.url(path) for path in blobs.blobs])
    assert (_named(first), _named(again)) == ({"1.wav": 1000}, {"1.wav": 1000, "3.wav": 1000})
    assert set(blobs.requests.values()) == {1}


def test_a_file_of_no_account_of_ours_or_with_a_name_that_the_client_cannot_hold_is_unknown(
    blobs: BlobServer,
) -> None:
    blobs.blobs = {f"audio/a//{number}.wav": SECOND for number in range(20)} | {"audio/1.wav": SECOND}
    urls = ["https://other.blob.core.windows.net/audio/1.wav", *(blobs.url(path) for path in blobs.blobs)]
    assert _named(HeaderReader(blobs.accounts).durations(urls)) == {"1.wav": 1000}


# --- against a real blob service -------------------------------------------------------------------------------


@contextmanager
def _counted(endpoint: str) -> Iterator[tuple[str, list[int]]]:
    """The endpoint behind a wire on which the bytes of the answers are counted."""
    host, _, port = endpoint.removeprefix("http://").partition("/")[0].partition(":")
    passed = [0]
    wires: list[socket.socket] = []

    def carry(source: socket.socket, target: socket.socket, *, count: bool) -> None:
        try:
            while data := source.recv(65536):
                passed[0] += len(data) if count else 0
                target.sendall(data)
        except OSError:
            pass
        finally:
            target.close()

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            server = socket.create_connection((host, int(port)))
            wires.extend([client, server])
            for ends, count in (((client, server), False), ((server, client), True)):
                threading.Thread(target=carry, args=ends, kwargs={"count": count}, daemon=True).start()

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/{ACCOUNT}", passed
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for wire in wires:
            wire.close()


MEGABYTE = 1_000_000


def _megabytes() -> dict[str, bytes]:
    """Fifty recordings of about a megabyte each, of the formats that calls come in."""
    kinds = {
        "wav": wav(bytes(MEGABYTE)),
        "mp3": encoded("mp3", "libmp3lame", seconds=330.0),
        "flac": encoded("flac", "flac", seconds=35.0),
        "opus": encoded("ogg", "libopus", rate=48000, seconds=130.0),
        "m4a": encoded("ipod", "aac", seconds=115.0),
    }
    assert all(0.9 < len(one) / MEGABYTE < 1.2 for one in kinds.values()), {
        name: len(one) for name, one in kinds.items()
    }
    return {
        f"calls/{number:02} ü#.{suffix}": content
        for number, (suffix, content) in enumerate(list(kinds.items()) * 10)
    }


@pytest.mark.azurite
def test_on_azurite_less_than_a_tenth_of_the_files_is_read(azurite: str) -> None:
    from azure.storage.blob import BlobServiceClient

    files = _megabytes()
    with BlobServiceClient(azurite, credential=KEY) as service:
        container = service.create_container(f"rec-{uuid4().hex}")
        for name, content in files.items():
            container.upload_blob(name, content)
    with _counted(azurite) as (endpoint, passed):
        account = StorageAccount(ACCOUNT, endpoint, AccountKey(KEY))
        accounts = StorageAccounts.of([account])
        places = [accounts.locate(f"az://{container.container_name}/{name}") for name in files]
        reader = HeaderReader(accounts)
        found = reader.durations([one.url for one in places])
    assert len(found) == len(files) == 50
    assert min(found.values()) > 34_000
    # Headers of HTTP and all.
    assert 0 < passed[0] < 0.1 * sum(map(len, files.values()))
    assert reader._bytes <= passed[0]
    assert reader._requests <= 3 * len(files)
