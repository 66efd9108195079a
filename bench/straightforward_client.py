"""A straightforward client of batch transcription, for contrast: submit, keep the id, poll, retry on error, write tables.

It is what people write today, written with care, and it knows nothing of speech_backfill. Where there was a choice it does
what Microsoft's Ingestion Client and samples or Airflow's operators do, or better: time-outs, retries with backoff and
Retry-After, ids in a file that is replaced whole, paging with the key, outcomes for each file from the report, files that
failed for a passing reason sent again, results kept once they are had. Typed again after a crash, it goes on where its file
of ids says.
"""

from __future__ import annotations

import asyncio
import csv
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

API_VERSION = "2025-10-15"
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
"""Those of Microsoft's samples, and 503."""
PASSING_KINDS = frozenset({"InvalidUri", "Internal", "Timeout", "Transient"})
"""Which the Ingestion Client holds for worth another transcription; it asks for whole transcriptions, this for files."""
MOST_REQUESTS = 5
MOST_SUBMISSIONS = 3


@dataclass(frozen=True, slots=True)
class Backfill:
    """What is to be transcribed, where, and how patiently."""

    folder: str
    manifest: str
    endpoint: str
    key: str = field(repr=False)
    files_per_transcription: int = 1000
    poll_seconds: float = 600.0
    answer_seconds: float = 60.0
    backoff_seconds: float = 2.0
    deadline_seconds: float = 24 * 3600.0


@dataclass(slots=True)
class Chunk:
    """Files that go into one transcription, and what is known of it."""

    name: str
    files: list[str]
    submissions: int = 1
    """How often its files have been submitted, this one included."""
    transcription: str | None = None
    submitted_at: float = 0.0
    collected: bool = False
    failures: dict[str, str] = field(default_factory=dict)
    """The reason for each file that has failed here and is not submitted again."""


class Kept:
    """The file of ids. It is replaced whole, so that a crash leaves the one before or the one after."""

    def __init__(self, path: Path, chunks: list[Chunk]) -> None:
        self._path = path
        self.chunks = chunks

    @classmethod
    def opened(cls, asked: Backfill) -> Kept:
        path = Path(asked.folder, "ids.json")
        if path.exists():
            return cls(path, [Chunk(**one) for one in json.loads(path.read_text())])
        with Path(asked.manifest).open(newline="") as lines:
            files = [row["uri"] for row in csv.DictReader(lines)]
        size = asked.files_per_transcription
        return cls(
            path,
            [
                Chunk(f"backfill-{number:04}", files[start : start + size])
                for number, start in enumerate(range(0, len(files), size))
            ],
        )

    def save(self) -> None:
        _replace(self._path, json.dumps([asdict(one) for one in self.chunks], indent=1).encode())

    def again(self, chunk: Chunk, files: list[str]) -> None:
        """Files of *chunk* go into another transcription."""
        self.chunks.append(Chunk(f"backfill-{len(self.chunks):04}", files, submissions=chunk.submissions + 1))


class Client:
    """The service, with the retries that everybody writes."""

    def __init__(self, asked: Backfill, http: httpx.AsyncClient) -> None:
        self._asked = asked
        self._http = http
        self._key = {"Ocp-Apim-Subscription-Key": asked.key}

    async def submit(self, chunk: Chunk) -> str:
        """The address of the new transcription."""
        body = {
            "displayName": chunk.name,
            "locale": "en-US",
            "contentUrls": chunk.files,
            "properties": {"timeToLiveHours": 48, "wordLevelTimestampsEnabled": True},
        }
        url = f"{self._asked.endpoint}/speechtotext/transcriptions:submit?api-version={API_VERSION}"
        answer = await self._request("POST", url, json=body, headers=self._key)
        address: str = answer.json()["self"]
        return address

    async def get(self, transcription: str) -> dict[str, Any]:
        """A transcription as it is now."""
        found: dict[str, Any] = (await self._request("GET", transcription, headers=self._key)).json()
        return found

    async def files(self, files_url: str) -> list[dict[str, Any]]:
        """All pages of a transcription's files; each needs the key."""
        found: list[dict[str, Any]] = []
        following: str | None = files_url
        while following:
            page = (await self._request("GET", following, headers=self._key)).json()
            found += page["values"]
            following = page.get("@nextLink")
        return found

    async def download(self, content_url: str) -> bytes:
        """A result file or report. Its SAS opens it; what is no JSON is not kept."""
        content = (await self._request("GET", content_url)).content
        json.loads(content)
        return content

    async def delete(self, transcription: str) -> None:
        await self._request("DELETE", transcription, headers=self._key)

    async def _request(self, method: str, url: str, **more: Any) -> httpx.Response:
        """Send it, and again where the connection breaks or the service says that this passes."""
        for number in range(1, MOST_REQUESTS + 1):
            pause = self._asked.backoff_seconds * 2 ** (number - 1)
            try:
                answer = await self._http.request(method, url, **more)
            except httpx.TransportError:
                if number == MOST_REQUESTS:
                    raise
            else:
                if answer.status_code not in RETRIED_STATUSES or number == MOST_REQUESTS:
                    return answer.raise_for_status()
                wanted = answer.headers.get("Retry-After", "")
                pause = max(pause, float(wanted) if wanted.isdecimal() else 0.0)
            await asyncio.sleep(pause)
        raise AssertionError


async def run(asked: Backfill, transport: httpx.AsyncBaseTransport | None = None) -> list[str]:
    """Transcribe everything and write the tables; the names of transcriptions that are overdue, whose files are not in them."""
    kept = Kept.opened(asked)
    overdue: list[str] = []
    async with httpx.AsyncClient(transport=transport, timeout=asked.answer_seconds) as http:
        client = Client(asked, http)
        while left := [one for one in kept.chunks if not one.collected and one.name not in overdue]:
            for chunk in left:
                if chunk.transcription is None:
                    chunk.transcription = await client.submit(chunk)
                    chunk.submitted_at = time.time()
                    kept.save()
            for chunk in left:
                ended = await _wait(client, chunk, asked)
                if ended is None:
                    overdue.append(chunk.name)
                    continue
                await _collect(client, kept, chunk, ended, Path(asked.folder, "results", chunk.name))
                chunk.collected = True
                kept.save()
        write_tables(Path(asked.folder), kept.chunks)
        for chunk in kept.chunks:
            if chunk.collected and chunk.transcription is not None:
                await client.delete(chunk.transcription)
    return overdue


async def _wait(client: Client, chunk: Chunk, asked: Backfill) -> dict[str, Any] | None:
    """Poll until the transcription has ended; None once it is overdue, and whoever runs this must look into it."""
    assert chunk.transcription is not None
    while True:
        try:
            found = await client.get(chunk.transcription)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 404:
                raise
            # It is gone. As the Ingestion Client does: its files have failed, the others go on.
            return {"status": "Failed", "properties": {"error": {"code": "NotFound"}}}
        if found["status"] in {"Succeeded", "Failed"}:
            return found
        if time.time() > chunk.submitted_at + asked.deadline_seconds:
            return None
        await asyncio.sleep(asked.poll_seconds)


async def _collect(client: Client, kept: Kept, chunk: Chunk, ended: dict[str, Any], results: Path) -> None:
    """Download what there is and has not been had yet, and sort out what has failed."""
    failed: dict[str, str] = {}
    if ended["status"] == "Failed":
        failed = dict.fromkeys(chunk.files, ended["properties"]["error"]["code"])
    if "links" in ended:
        for file in await client.files(ended["links"]["files"]):
            path = results / file["name"]
            if not path.exists():
                _replace(path, await client.download(file["links"]["contentUrl"]))
            if file["kind"] == "TranscriptionReport":
                failed |= _failed(json.loads(path.read_text()))
    again = [file for file, kind in failed.items() if kind in PASSING_KINDS]
    if again and chunk.submissions < MOST_SUBMISSIONS:
        kept.again(chunk, again)
        failed = {file: kind for file, kind in failed.items() if file not in again}
    chunk.failures = failed


def _failed(report: dict[str, Any]) -> dict[str, str]:
    return {
        _plain(one["source"]): one.get("errorKind") or "Unknown"
        for one in report["details"]
        if one["status"] != "Succeeded"
    }


def write_tables(folder: Path, chunks: list[Chunk]) -> None:
    """What the result files and reports say, as Parquet."""
    import pandas as pd

    transcripts: list[dict[str, Any]] = []
    phrases: list[dict[str, Any]] = []
    outcomes: list[dict[str, Any]] = []
    for chunk in chunks:
        for path in sorted((folder / "results" / chunk.name).glob("*.json")):
            document = json.loads(path.read_text())
            if "source" not in document:
                continue
            audio_url = _plain(document["source"])
            outcomes.append({"audio_url": audio_url, "outcome": "transcribed", "error": None})
            transcripts += [{"audio_url": audio_url, **one} for one in document["combinedRecognizedPhrases"]]
            phrases += [
                {
                    "audio_url": audio_url,
                    "channel": one["channel"],
                    "start_ms": int(one["offsetInTicks"] // 10_000),
                    "duration_ms": int(one["durationInTicks"] // 10_000),
                    "display": max(one["nBest"], key=lambda best: best["confidence"])["display"],
                }
                for one in document["recognizedPhrases"]
                if one.get("nBest")
            ]
        outcomes += [
            {"audio_url": file, "outcome": "failed", "error": kind} for file, kind in chunk.failures.items()
        ]
    tables = folder / "tables"
    tables.mkdir(exist_ok=True)
    for name, rows in (("transcripts", transcripts), ("phrases", phrases), ("outcomes", outcomes)):
        pd.DataFrame(rows).to_parquet(tables / f"{name}.parquet", index=False)


def _replace(path: Path, content: bytes) -> None:
    """Write the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(path)


def _plain(url: str) -> str:
    return url.partition("?")[0]
