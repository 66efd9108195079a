"""Four emulated regions behind a real Airflow: what the benchmarks of throughput share. No measurement of its own."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from azure.storage.blob import BlobServiceClient

from local import azurite, dag_run
from local.ports import SPEECH_VARIABLE, free_port
from local.scratch import running
from local.stack import RECORDINGS_CONTAINER, Stack
from speech_emulator.config import from_mapping
from speech_emulator.recognisers.synthetic import synthetic_duration_ms

REGIONS = ("eastus", "westeurope", "southeastasia", "brazilsouth")
SECONDS = (5.0, 65.0)
"""The shortest and the longest synthetic recording, where a measurement names no others."""

_PIECE_CHARACTERS = 4 * 1024 * 1024


@dataclass(frozen=True)
class Regions:
    """The stack, and its emulator's own door."""

    stack: Stack
    seconds: tuple[float, float] = SECONDS

    @property
    def emulator(self) -> str:
        return f"http://127.0.0.1:{self.stack.ports.speech}"

    def get(self, path: str) -> dict[str, Any]:
        """An admin operation of the emulator that tells."""
        found: dict[str, Any] = (
            httpx.get(f"{self.emulator}/admin/{path}", timeout=60).raise_for_status().json()
        )
        return found

    def post(self, path: str) -> None:
        """One that does."""
        httpx.post(f"{self.emulator}/admin/{path}", timeout=60).raise_for_status()

    def upload_manifest(
        self, name: str, files: int, *, folder: str = "bench", calls: str | None = None
    ) -> str:
        """A manifest with sizes, ETags and durations, so that nothing is looked up; the audio itself does not exist.

        It would lie below *calls*, or else beside the manifest.
        """
        port = self.stack.ports.azurite
        with BlobServiceClient.from_connection_string(azurite.connection_string(port)) as service:
            blob = service.get_blob_client(RECORDINGS_CONTAINER, f"{folder}/{name}")
            blob.upload_blob(self._manifest(files, calls or folder), overwrite=True)
        return f"az://{RECORDINGS_CONTAINER}/{folder}/{name}"

    def _manifest(self, files: int, folder: str) -> Iterator[bytes]:
        """A CSV in pieces, so that its size does not matter."""
        shortest, longest = self.seconds
        settings = from_mapping(
            {"recogniser": {"synthetic_shortest_seconds": shortest, "synthetic_longest_seconds": longest}}
        ).recogniser
        endpoint = azurite.endpoint(self.stack.ports.azurite)
        text = io.StringIO()
        rows = csv.writer(text)
        rows.writerow(["uri", "etag", "size", "duration_ms", "agent"])
        for number in range(files):
            url = f"{endpoint}/{RECORDINGS_CONTAINER}/{folder}/{number % 100:02d}/call-{number:07d}.wav"
            duration_ms = synthetic_duration_ms(url, settings)
            rows.writerow([url, f"0x{number:016X}", duration_ms * 16, duration_ms, f"agent-{number % 37}"])
            if text.tell() >= _PIECE_CHARACTERS:
                yield text.getvalue().encode()
                text.seek(0)
                text.truncate()
        yield text.getvalue().encode()

    def trigger(self, source: str, partition: str, **conf: Any) -> str:
        """Start a run; its id."""
        api = self.stack.airflow.api
        dag_run.wait_for_dag(api, timeout_seconds=180)
        return dag_run.start(api, dag_run.configuration(source, partition) | conf)


@contextmanager
def four_regions(
    *,
    window: int,
    audio_speed: float,
    settings: dict[str, str],
    airflow_settings: dict[str, str] | None = None,
    time_scale: float = 1.0,
    seconds: tuple[float, float] = SECONDS,
) -> Iterator[Regions]:
    """A stack with a Speech resource in each of REGIONS. *audio_speed*: audio seconds that a region does in one; 0: at once.

    *seconds* are the shortest and the longest synthetic recording.
    """
    port = free_port()
    resources = [{"name": one, "key": f"key-of-{one}", "region": one} for one in REGIONS]
    connections = {
        f"AIRFLOW_CONN_SPEECH_{one.upper()}": json.dumps(
            {
                "conn_type": "azure_speech",
                "host": f"http://127.0.0.1:{port}/{one}",
                "password": f"key-of-{one}",
                "extra": {"region": one, "window": window},
            }
        )
        for one in REGIONS
    }
    with running(
        airflow_settings={
            **connections,
            "SPEECH_BACKFILL_SPEECH_CONNECTIONS": ",".join(f"speech_{one}" for one in REGIONS),
            **(airflow_settings or {}),
        },
        emulator_settings={
            "resources": resources,
            "queue": {"start_delay_seconds": 0, "audio_speed": audio_speed},
            "clock": {"time_scale": time_scale},
            "recogniser": {
                "kind": "synthetic",
                "synthetic_shortest_seconds": seconds[0],
                "synthetic_longest_seconds": seconds[1],
            },
        },
        **settings,
        **{SPEECH_VARIABLE: str(port)},
    ) as stack:
        yield Regions(stack, seconds)
