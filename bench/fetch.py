"""Client CPU of fetching result files from Azurite and from the Speech emulator, beside azure-storage-blob with threads.

    python -m bench fetch [--files 20000] [--rounds 4]

Every figure is user and system time of the client's own process, its imports not counted. The clients take turns, round by
round, each in a process of its own; the servers are one process each and slower than either client, so rates say little.

Ours is the way of a merge: SpeechClient and Collector, 16 files ahead, each by its own link. From the emulator it lists the
files of every transcription and fetches the report too, which counts for us; for Azurite it is handed links with a SAS, as
a list would give them. azure-storage-blob has 16 threads and is handed its blobs: from Azurite by one container client
with a container's SAS, from the emulator by a client for each link over one shared transport.

The files are those of the emulator's synthetic recogniser with word times, about 20 KB each. The emulator has as many as are
fetched; Azurite has a thousand of them, which are read again and again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.figures import Figure, at_least, table, told
from local import azurite, emulator
from local.checkout import this_checkout
from local.ports import free_port
from local.processes import Service, Supervisor
from local.scratch import ScratchCheckout

PER_TRANSCRIPTION = 1000
THREADS = 16
CONTAINER = "results"
KEY = "local-emulator-key"
GOAL = 4.0

OURS, THEIRS = "speech_backfill", "azure-storage-blob"
CLIENTS = (OURS, THEIRS)
SERVERS = ("Azurite", "the Speech emulator")


@dataclass
class Used:
    """What a client has used so far, over all rounds."""

    files: int = 0
    bytes: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    rounds_ms: list[float] = field(default_factory=list)

    @property
    def ms(self) -> float:
        return self.cpu_seconds / self.files * 1000


# --- the clients, each in a process of its own ------------------------------------------------------------


def ours(job: dict) -> Callable[[], tuple[int, int]]:
    import speech_backfill.speech.blob_host  # noqa: F401  # imported with the first file otherwise
    from speech_backfill.collect import Collector, Fetched
    from speech_backfill.settings import Settings
    from speech_backfill.speech.api import ResultEntry
    from speech_backfill.speech.client import SpeechClient
    from speech_backfill.speech.resource import SpeechKey, SpeechResource

    concurrency = Settings(store="memory://").download_concurrency
    where = SpeechResource(name="bench", endpoint=job["endpoint"], credential=SpeechKey(KEY))
    ready = [ResultEntry(f"{number}.json", "Transcription", link) for number, link in enumerate(job["links"])]

    async def fetch() -> tuple[int, int]:
        files = size = 0
        async with SpeechClient(where) as client:
            for transcription_id in job["transcriptions"] or [""]:
                collector = Collector(client, transcription_id, concurrency=concurrency)
                entries = (await collector.listing()).results if transcription_id else ready
                async for one in collector.results(entries):
                    assert isinstance(one, Fetched), one
                    files += 1
                    size += len(one.raw)
        return files, size

    return lambda: asyncio.run(fetch())


def theirs(job: dict) -> Callable[[], tuple[int, int]]:
    from azure.core.pipeline.transport import RequestsTransport
    from azure.storage.blob import BlobClient, ContainerClient

    if job["transcriptions"]:
        transport = RequestsTransport(connection_pool_maxsize=THREADS)

        def download(link: str) -> int:
            return len(BlobClient.from_blob_url(link, transport=transport).download_blob().readall())
    else:
        container = ContainerClient.from_container_url(job["container"])

        def download(link: str) -> int:
            name = link.partition("?")[0].rpartition("/")[2]
            return len(container.download_blob(name).readall())

    def fetch() -> tuple[int, int]:
        with ThreadPoolExecutor(THREADS) as pool:
            sizes = list(pool.map(download, job["links"]))
        return len(sizes), sum(sizes)

    return fetch


def run_client(name: str, job: dict) -> dict:
    work = (ours if name == OURS else theirs)(job)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    files, size = work()
    after, ended = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"files": files, "bytes": size, "cpu_seconds": cpu, "wall_seconds": ended - began}


# --- the servers and what lies there ----------------------------------------------------------------------


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[tuple[int, int]]:
    """Ports of an Azurite, as the local stack runs it, and of an emulator without a request limit."""
    checkout = ScratchCheckout(this_checkout().root, folder)
    blob_port, speech_port = free_port(), free_port()
    command = (
        *(sys.executable, "-m", "speech_emulator", "--port", str(speech_port)),
        *("--recogniser", "synthetic", "--start-delay", "0", "--no-throttle"),
        *("--set", "recogniser.synthetic_shortest_seconds=55"),
        *("--set", "recogniser.synthetic_longest_seconds=80"),
    )
    environment = {**os.environ, "PYTHONPATH": str(checkout.root / "include")}
    speech = Service("speech-emulator", command, environment, lambda: emulator.is_healthy(speech_port))
    blobs = azurite.service(checkout, blob_port)
    supervisor = Supervisor(checkout.stack / "run", checkout.logs, say=lambda _: None)
    try:
        for one in (blobs, speech):
            supervisor.start(one)
        supervisor.wait_until_ready([blobs, speech], timeout_seconds=60)
        yield blob_port, speech_port
    finally:
        supervisor.stop()


async def transcribe(endpoint: str, files: int) -> list[tuple[str, list[str]]]:
    """Transcriptions of *files* files in all, ended: their ids and the links to their result files."""
    from speech_backfill.model import TranscriptionOptions
    from speech_backfill.speech.client import SpeechClient
    from speech_backfill.speech.resource import SpeechKey, SpeechResource

    made = []
    async with SpeechClient(
        SpeechResource(name="bench", endpoint=endpoint, credential=SpeechKey(KEY))
    ) as client:
        for first in range(0, files, PER_TRANSCRIPTION):
            transcription = await client.submit(
                options=TranscriptionOptions(word_times=True),
                content_urls=[
                    f"https://account.blob.core.windows.net/audio/call-{number:07}.wav"
                    for number in range(first, min(first + PER_TRANSCRIPTION, files))
                ],
                display_name=f"bench-{first}",
                custom_properties={},
                time_to_live_hours=48,
                timeout_seconds=60,
            )
            made.append(transcription.transcription_id)
        found = []
        for one in made:
            while not (await client.get(one)).status.ended:  # noqa: ASYNC110  # the service tells nobody
                await asyncio.sleep(0.5)
            links = [entry.content_url async for entry in client.files(one) if entry.is_result]
            found.append((one, links))
    return found


async def copy_to_azurite(endpoint: str, links: list[str]) -> tuple[str, list[str]]:
    """The files behind *links* as blobs of Azurite: the container's URL with a SAS, and a link to each with one."""
    import obstore
    from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas
    from obstore.store import AzureStore

    from speech_backfill.speech.connection import Timeouts
    from speech_backfill.speech.results import ResultDownloads

    account, key = azurite.ACCOUNT, azurite.WELL_KNOWN_KEY
    ContainerClient(endpoint, CONTAINER, credential=key).create_container()
    store = AzureStore(
        CONTAINER,
        account_name=account,
        account_key=key,
        endpoint=endpoint,
        client_options={"allow_http": True},
    )
    names = [f"contenturl_{number}.json" for number in range(len(links))]
    downloads, turn = ResultDownloads("bench", timeouts=Timeouts()), asyncio.Semaphore(8)

    async def copy(link: str, name: str) -> None:
        async with turn:
            await obstore.put_async(store, name, await downloads.fetch(link))

    try:
        await asyncio.gather(*(copy(*one) for one in zip(links, names, strict=True)))
    finally:
        await downloads.aclose()
    sas = generate_container_sas(
        account,
        CONTAINER,
        account_key=key,
        permission=ContainerSasPermissions(read=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    return f"{endpoint}/{CONTAINER}?{sas}", [f"{endpoint}/{CONTAINER}/{name}?{sas}" for name in names]


def jobs(blob_port: int, speech_port: int, files: int, rounds: int) -> dict[str, list[dict]]:
    """What is to be fetched from each server, round by round."""
    endpoint = f"http://127.0.0.1:{speech_port}"
    transcribed = asyncio.run(transcribe(endpoint, files))
    container, blobs = asyncio.run(copy_to_azurite(azurite.endpoint(blob_port), transcribed[0][1]))
    share, whole = files // rounds, len(transcribed) // rounds
    found: dict[str, list[dict]] = {name: [] for name in SERVERS}
    for number in range(rounds):
        mine = transcribed[number * whole : (number + 1) * whole]
        found["Azurite"].append(
            {
                "endpoint": endpoint,
                "transcriptions": [],
                "container": container,
                "links": [blobs[one % len(blobs)] for one in range(share)],
            }
        )
        found["the Speech emulator"].append(
            {
                "endpoint": endpoint,
                "transcriptions": [one for one, _ in mine],
                "links": [link for _, links in mine for link in links],
            }
        )
    return found


def measure(files: int, rounds: int) -> dict[tuple[str, str], Used]:
    """What each client used at each server."""
    used = {(server, client): Used() for server in SERVERS for client in CLIENTS}
    with tempfile.TemporaryDirectory(prefix="speech-backfill-fetch-") as name:
        folder = Path(name)
        with servers(folder) as (blob_port, speech_port):
            given = jobs(blob_port, speech_port, files, rounds)
            for number in range(rounds):
                for server in SERVERS:
                    # Whoever goes first might find a cooler machine: they swap from round to round.
                    for client in CLIENTS[:: 1 if number % 2 == 0 else -1]:
                        path = folder / "job.json"
                        path.write_text(json.dumps(given[server][number]))
                        _add(used[server, client], _client(client, path))
    return used


def _client(name: str, job: Path) -> dict:
    ran = subprocess.run(
        [sys.executable, "-m", "bench", "fetch", "--client", name, "--job", str(job)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(ran.stdout)


def _add(used: Used, came: dict) -> None:
    used.files += came["files"]
    used.bytes += came["bytes"]
    used.cpu_seconds += came["cpu_seconds"]
    used.wall_seconds += came["wall_seconds"]
    used.rounds_ms.append(came["cpu_seconds"] / came["files"] * 1000)


def figures(used: dict[tuple[str, str], Used]) -> list[Figure]:
    found = []
    for server in SERVERS:
        mine, other = used[server, OURS], used[server, THEIRS]
        assert (mine.files, mine.bytes) == (other.files, other.bytes), "the clients did not fetch the same"
        what = (
            f"fetch of {mine.files:,} result files from {server}, client CPU, "
            f"against azure-storage-blob with {THREADS} threads"
        )
        unit = f"times less ({mine.ms:.2f} against {other.ms:.2f} ms a file)"
        found.append(at_least(what, GOAL, other.ms / mine.ms, unit))
        found.append(told(f"fetch from {server}, CPU of ours", mine.ms, "ms a file"))
    return found


def rows(*, files: int = 20_000, rounds: int = 4) -> list[Figure]:
    """Measure, and say what came out beside its goal."""
    return figures(measure(files, rounds))


def versions() -> str:
    node_package = this_checkout().node_modules / "azurite" / "package.json"
    named = [
        f"{name} {importlib.metadata.version(name)}" for name in ("aiohttp", "azure-storage-blob", "requests")
    ]
    return ", ".join(
        [
            f"Python {platform.python_version()}",
            *named,
            f"Azurite {json.loads(node_package.read_text())['version']}",
            platform.machine(),
        ]
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench fetch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--files", type=int, default=20_000, help="by each client from each server")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.client:
        print(json.dumps(run_client(given.client, json.loads(given.job.read_text()))))
        return 0
    if given.files % (given.rounds * PER_TRANSCRIPTION):
        parser.error(f"--files must be {PER_TRANSCRIPTION} times a multiple of --rounds")
    print(versions())
    used = measure(given.files, given.rounds)
    for (server, client), one in used.items():
        print(
            f"  {server:20} {client:20} {one.ms:6.3f} ms CPU a file "
            f"(rounds {min(one.rounds_ms):.3f} to {max(one.rounds_ms):.3f}), "
            f"{one.files / one.wall_seconds:5.0f} files a second, {one.bytes / one.files / 1000:.1f} KB a file"
        )
    print(table(figures(used)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
