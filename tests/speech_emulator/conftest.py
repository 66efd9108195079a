"""An emulator on a clock that moves only when told to, called without a socket."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from speech_emulator.clock import ManualClock
from speech_emulator.config import from_mapping
from speech_emulator.emulator import Emulator
from speech_emulator.server import create_app

KEY = {"Ocp-Apim-Subscription-Key": "local-emulator-key"}
VERSION = {"api-version": "2025-10-15"}


def submission(**changes: Any) -> dict[str, Any]:
    properties = {"timeToLiveHours": 48, **changes.pop("properties", {})}
    body = {
        "displayName": "chunk-1",
        "locale": "en-US",
        "contentUrls": ["https://acct.blob.core.windows.net/audio/one.wav?sig=s"],
        "properties": properties,
        **changes,
    }
    return {name: value for name, value in body.items() if value is not None}


class Service:
    """One emulator and a client that is signed in."""

    def __init__(self, emulator: Emulator, clock: ManualClock, client: httpx.AsyncClient) -> None:
        self.emulator = emulator
        self.clock = clock
        self.client = client

    async def settle(self) -> None:
        # Everything under way needs only turns of the event loop: nothing waits for real time.
        for _ in range(300):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        await self.settle()
        self.clock.advance(seconds)
        await self.settle()

    async def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        if "api-version=" not in path:
            more["params"] = {**VERSION, **more.get("params", {})}
        more.setdefault("headers", {})
        more["headers"] = {**KEY, **more["headers"]}
        return await self.client.request(method, path, **more)

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.request("GET", path, **more)

    async def submit(self, **changes: Any) -> dict[str, Any]:
        answer = await self.request("POST", "/speechtotext/transcriptions:submit", json=submission(**changes))
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def shown(self, transcription: dict[str, Any]) -> dict[str, Any]:
        answer = await self.get(transcription["self"])
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def files(self, transcription: dict[str, Any]) -> list[dict[str, Any]]:
        found, link = [], transcription["links"]["files"]
        while link:
            body = (await self.get(link)).json()
            found += body["values"]
            link = body.get("@nextLink")
        return found

    async def results(self, transcription: dict[str, Any]) -> dict[str, Any]:
        """Every result file and report by name."""
        contents = {}
        for file in await self.files(transcription):
            answer = await self.client.get(file["links"]["contentUrl"])
            assert answer.status_code == 200, answer.text
            contents[file["name"]] = answer.json()
        return contents

    async def fault(self, kind: str, **rule: Any) -> None:
        answer = await self.client.post("/admin/faults", json={"kind": kind, **rule})
        assert answer.status_code == 201, answer.text

    async def state(self) -> dict[str, Any]:
        return (await self.client.get("/admin/state")).json()


@pytest.fixture
async def service_with() -> Any:
    """Starts services with settings of the test's own, and stops them after it."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(
            raw: dict[str, Any] | None = None,
            *,
            outside: Callable[[httpx.Request], Any] | None = None,
            recogniser: Any = None,
        ) -> Service:
            clock = ManualClock()
            raw = {"recogniser": {"kind": "synthetic"}, **(raw or {})}
            # An outside that a test did not ask for is a mistake of the emulator.
            handler = outside or (lambda _: httpx.Response(599))
            reach = httpx.AsyncClient(transport=httpx.MockTransport(handler))
            emulator = Emulator(from_mapping(raw), clock=clock, client=reach, recogniser=recogniser)
            app = create_app(emulator)
            await stack.enter_async_context(emulator.started())
            client = await stack.enter_async_context(
                httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://speech.test")
            )
            return Service(emulator, clock, client)

        yield start


@pytest.fixture
async def service(service_with: Any) -> Service:
    return await service_with()


@pytest.fixture(name="submission")
def submission_fixture() -> Any:
    return submission
