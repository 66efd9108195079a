"""An in-memory Speech service, with its blob host, behind an httpx transport: scriptable, counting, honest about what it was asked.

service = FakeSpeechService()
client = SpeechClient(service.resource(), clock=service.clock, transport=service.transport(), blob_host=service.blob_host())
service.script("submit", httpx.Response(503))       # the next submission fails, before anything is made
service.script_after("submit", httpx.ReadTimeout)   # … is carried out, and its answer is lost
service.end(transcription_id, results={"contenturl_0.json": b"{}"})
"""

from __future__ import annotations

import asyncio
import heapq
import json
import re
import threading
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlencode

import httpx

from speech_backfill.speech.resource import SpeechKey, SpeechResource
from speech_backfill.speech.results import Answer, BlobHost, Content, NoAnswer, Refused, TooLarge

KEY = "a-key-that-must-not-leak"
BLOB_HOST = "results.blob.example"
SIGNATURE = "a-signature-that-must-not-leak"

Scripted = httpx.Response | type[Exception] | Callable[[httpx.Request], httpx.Response]


class FakeClock:
    """Time that moves only when told, or when everybody sleeps: then to the first who wakes."""

    def __init__(self, now: float = 1_767_225_600.0) -> None:
        self.now = now
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, int]] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        entry = (self.now + seconds, len(self.slept))
        heapq.heappush(self._sleepers, entry)
        try:
            while True:
                for _ in range(50):  # whoever is at work gets on with it before time does
                    await asyncio.sleep(0)
                if self._sleepers[0] == entry:
                    self.now = max(self.now, entry[0])
                    return
        finally:
            self._sleepers.remove(entry)
            heapq.heapify(self._sleepers)


@dataclass
class Job:
    """A transcription as the fake keeps it."""

    transcription_id: str
    display_name: str
    created_at: float
    body: dict[str, Any]
    status: str = "NotStarted"
    last_action_at: float = 0.0
    duration_ms: int | None = None
    error: dict[str, str] | None = None
    files: list[tuple[str, str, bytes]] = field(default_factory=list)


class FakeSpeechService:
    """One resource. Operations: submit, list, get, delete, files, fetch."""

    def __init__(
        self, *, name: str = "speech", host: str = "speech.example", clock: Callable[[], float] | None = None
    ) -> None:
        self.name = name
        self.host = host
        self.scheme = "https"
        self.clock: Any = clock or FakeClock()
        self.jobs: dict[str, Job] = {}
        self.calls: Counter[str] = Counter()
        self.requests: list[httpx.Request] = []
        self.peers: list[tuple[str, int]] = []
        """Method and port of the caller, where the service is served over sockets: a port is a connection."""
        self.asked = threading.Event()
        """Set by the first request."""
        self.page_size = 100
        self.largest_top: int | None = None
        self.list_lag_seconds = 0.0
        self.ignores_filters = False
        self.refuses_filters = False
        self.next_link_host: str | None = None
        self.headers: dict[str, str] = {}
        """What every answer carries beside its own: a date, say."""
        self.sas_generation = 1
        self.accepted_sas: set[int] | None = None
        """None: every link works; otherwise only links of these generations."""
        self._before: defaultdict[str, deque[Scripted]] = defaultdict(deque)
        self._after: defaultdict[str, deque[Scripted]] = defaultdict(deque)

    # --- what a test says -----------------------------------------------------------------------

    def resource(self, **changes: Any) -> SpeechResource:
        """A resource that leads here."""
        values: dict[str, Any] = {
            "name": self.name,
            "endpoint": f"{self.scheme}://{self.host}",
            "credential": SpeechKey(KEY),
        }
        return SpeechResource(**(values | changes))

    def transport(self) -> httpx.MockTransport:
        """The network, with this service at its end."""
        return httpx.MockTransport(self._answer)

    def blob_host(self) -> BlobHost:
        """The place of this service's result files."""
        return FakeBlobHost(self._answer)

    def script(self, operation: str, *answers: Scripted) -> None:
        """The next calls of *operation* get *answers* and nothing is carried out."""
        self._before[operation].extend(answers)

    def script_after(self, operation: str, *answers: Scripted) -> None:
        """The next calls of *operation* are carried out and get *answers* instead of theirs."""
        self._after[operation].extend(answers)

    def add(
        self,
        display_name: str = "somebody else's",
        *,
        created_at: float | None = None,
        status: str = "NotStarted",
    ) -> str:
        """A transcription that was there before; returns its id."""
        job = Job(
            transcription_id=str(uuid.uuid4()),
            display_name=display_name,
            created_at=self.clock() if created_at is None else created_at,
            body={},
            status=status,
        )
        job.last_action_at = job.created_at
        self.jobs[job.transcription_id] = job
        return job.transcription_id

    def run(self, transcription_id: str) -> None:
        """It is Running from now on."""
        self._enter(transcription_id, "Running")

    def end(
        self,
        transcription_id: str,
        *,
        results: Mapping[str, bytes] | None = None,
        report: bytes | None = None,
        failed: tuple[str, str] | None = None,
    ) -> None:
        """It ends: Succeeded with *results* and *report*, or Failed with (code, message)."""
        job = self._enter(transcription_id, "Failed" if failed else "Succeeded")
        job.duration_ms = 0
        if failed:
            job.error = {"code": failed[0], "message": failed[1]}
        job.files = [(name, "Transcription", body) for name, body in (results or {}).items()]
        if report is not None:
            job.files.append(("report.json", "TranscriptionReport", report))

    def forget(self, transcription_id: str) -> None:
        """Its time to live is over."""
        del self.jobs[transcription_id]

    def named(self, display_name: str) -> list[Job]:
        """Every job of that name: more than one means paid twice."""
        return [job for job in self.jobs.values() if job.display_name == display_name]

    # --- what the wire says ---------------------------------------------------------------------

    def _answer(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        self.asked.set()
        operation = self._operation(request)
        self.calls[operation] += 1
        if self._before[operation]:
            return self._scripted(self._before[operation].popleft(), request)
        if (
            operation != "fetch"
            and request.headers.get("Ocp-Apim-Subscription-Key") != KEY
            and not request.headers.get("Authorization", "").startswith("Bearer ")
        ):
            return self._error(401, "Unauthorized", "Authentication is required to access the resource.")
        answer: httpx.Response = getattr(self, f"_{operation}")(request)
        answer.headers.update(self.headers)
        if self._after[operation]:
            return self._scripted(self._after[operation].popleft(), request)
        return answer

    @staticmethod
    def _scripted(answer: Scripted, request: httpx.Request) -> httpx.Response:
        if isinstance(answer, httpx.Response):
            return answer
        if isinstance(answer, type):
            if issubclass(answer, httpx.RequestError):
                raise answer("scripted", request=request)
            raise answer("scripted")
        return answer(request)

    def _operation(self, request: httpx.Request) -> str:
        path = request.url.path
        if request.url.host == BLOB_HOST:
            return "fetch"
        if request.method == "POST":
            return "submit"
        if request.method == "DELETE":
            return "delete"
        if path.endswith("/files"):
            return "files"
        return "list" if path.endswith("/transcriptions") else "get"

    def _submit(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        transcription_id = self.add(body["displayName"])
        self.jobs[transcription_id].body = body
        shown = self._shown(self.jobs[transcription_id])
        return httpx.Response(201, json=shown, headers={"Location": shown["self"]})

    def _list(self, request: httpx.Request) -> httpx.Response:
        query = request.url.params
        wanted = query.get("filter", "")
        if wanted and self.refuses_filters:
            return self._error(
                400, "InvalidRequest", "The filter is not supported.", inner="UnsupportedFilter"
            )
        visible = [
            job for job in self.jobs.values() if job.created_at + self.list_lag_seconds <= self.clock()
        ]
        if wanted and not self.ignores_filters:
            visible = [job for job in visible if self._matches(job, wanted)]
        return self._paged(request, [self._shown(job) for job in visible])

    def _get(self, request: httpx.Request) -> httpx.Response:
        job = self._job(request)
        return httpx.Response(200, json=self._shown(job)) if job else self._unknown()

    def _delete(self, request: httpx.Request) -> httpx.Response:
        job = self._job(request)
        if job and job.status in {"NotStarted", "Running"}:
            return self._error(
                400, "InvalidRequest", "The transcription task hasn't finished yet", inner="DeleteNotAllowed"
            )
        if job:
            del self.jobs[job.transcription_id]
        return httpx.Response(204)

    def _files(self, request: httpx.Request) -> httpx.Response:
        transcription_id = request.url.path.split("/")[-2]
        job = self.jobs.get(transcription_id)
        if job is None:
            return self._unknown()
        links = f"se=2030&gen={self.sas_generation}&sig={SIGNATURE}"
        return self._paged(
            request,
            [
                {
                    "self": f"{self.scheme}://{self.host}/speechtotext/transcriptions/{transcription_id}/files/{index}?api-version=x",
                    "name": name,
                    "kind": kind,
                    "links": {"contentUrl": f"https://{BLOB_HOST}/{transcription_id}/{name}?{links}"},
                    "properties": {"size": len(body)},
                    "createdDateTime": _stamp(job.last_action_at),
                }
                for index, (name, kind, body) in enumerate(job.files)
            ],
        )

    def _fetch(self, request: httpx.Request) -> httpx.Response:
        if "Ocp-Apim-Subscription-Key" in request.headers or "Authorization" in request.headers:
            return httpx.Response(403, text="credentials do not belong here")
        generation = int(request.url.params.get("gen", "0"))
        if request.url.params.get("sig") != SIGNATURE or (
            self.accepted_sas is not None and generation not in self.accepted_sas
        ):
            return httpx.Response(403, text="AuthenticationFailed")
        _, transcription_id, name = request.url.path.split("/", 2)
        job = self.jobs.get(transcription_id)
        for one, _kind, body in job.files if job else ():
            if one == unquote(name):
                return httpx.Response(200, content=body)
        return httpx.Response(404, text="BlobNotFound")

    def _paged(self, request: httpx.Request, values: list[dict[str, Any]]) -> httpx.Response:
        query = dict(request.url.params)
        skip, top = int(query.get("skip", "0")), int(query.get("top", str(self.page_size)))
        if self.largest_top is not None and top > self.largest_top:
            return self._error(400, "InvalidRequest", "top is too large.", inner="UnsupportedPagination")
        answer: dict[str, Any] = {"values": values[skip : skip + top]}
        if skip + top < len(values):
            rest = urlencode(query | {"skip": str(skip + top), "top": str(top)})
            answer["@nextLink"] = (
                f"{self.scheme}://{self.next_link_host or self.host}{request.url.path}?{rest}"
            )
        return httpx.Response(200, json=answer)

    def _shown(self, job: Job) -> dict[str, Any]:
        home = f"{self.scheme}://{self.host}/speechtotext/transcriptions/{job.transcription_id}"
        properties: dict[str, Any] = {"timeToLiveHours": 48}
        if job.duration_ms is not None:
            properties["durationMilliseconds"] = job.duration_ms
        if job.error:
            properties["error"] = job.error
        return {
            "self": f"{home}?api-version=2025-10-15",
            "displayName": job.display_name,
            "customProperties": job.body.get("customProperties", {}),
            "locale": job.body.get("locale", "en-US"),
            "createdDateTime": _stamp(job.created_at),
            "lastActionDateTime": _stamp(job.last_action_at),
            "links": {"files": f"{home}/files?api-version=2025-10-15"},
            "properties": properties,
            "status": job.status,
        }

    @staticmethod
    def _matches(job: Job, wanted: str) -> bool:
        for term in wanted.split(" and "):
            if found := re.fullmatch(r"displayName eq '(.*)'", term):
                if job.display_name != found[1].replace("''", "'"):
                    return False
            elif found := re.fullmatch(r"createdDateTime ge (\S+)", term):
                if int(job.created_at) < datetime.fromisoformat(found[1]).timestamp():
                    return False
            elif found := re.fullmatch(r"lastActionDateTime ge (\S+)", term):
                if int(job.last_action_at) < datetime.fromisoformat(found[1]).timestamp():
                    return False
            elif found := re.fullmatch(r"status eq '(\w+)'", term):
                if job.status != found[1]:
                    return False
            else:
                raise AssertionError(f"a filter the contract does not know: {term}")
        return True

    def _job(self, request: httpx.Request) -> Job | None:
        return self.jobs.get(request.url.path.split("/")[-1])

    def _enter(self, transcription_id: str, status: str) -> Job:
        job = self.jobs[transcription_id]
        job.status = status
        job.last_action_at = self.clock()
        return job

    def _unknown(self) -> httpx.Response:
        return self._error(404, "NotFound", "The specified entity cannot be found.")

    @staticmethod
    def _error(status: int, code: str, message: str, *, inner: str | None = None) -> httpx.Response:
        body: dict[str, Any] = {"code": code, "message": message}
        if inner:
            body["innerError"] = {"code": inner, "message": message}
        return httpx.Response(status, json=body)


class FakeBlobHost:
    """What a transport's handler says, as a blob host says it."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self._answer = answer

    async def get(self, url: str, *, max_bytes: int) -> Answer:
        try:
            response = self._answer(httpx.Request("GET", url))
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return NoAnswer(type(error).__name__, sent=False)
        except httpx.RequestError as error:
            return NoAnswer(type(error).__name__, sent=True)
        if response.status_code != 200:
            return Refused(response.status_code)
        return Content(response.content) if len(response.content) <= max_bytes else TooLarge()

    async def aclose(self) -> None:
        pass


def _stamp(moment: float) -> str:
    return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
