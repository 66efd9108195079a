"""Telling webhooks: the challenge, events, pings and tests; a notification is tried a few times and then lost."""

import asyncio
import base64
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Mapping
from typing import Any

import httpx

from speech_emulator import faults
from speech_emulator.clock import Clock, stamp
from speech_emulator.config import Settings
from speech_emulator.errors import encode
from speech_emulator.fault_rules import FaultBoard
from speech_emulator.store import Store, Transcription

EVENTS = tuple(
    f"{entity}{moment}"
    for entity in ("dataset", "model", "evaluation", "transcription", "endpoint")
    for moment in ("Creation", "Processing", "Completion", "Deletion")
)


class Notifier:
    """Sends what registered webhooks asked for."""

    def __init__(
        self, settings: Settings, clock: Clock, store: Store, board: FaultBoard, client: httpx.AsyncClient
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._store = store
        self._board = board
        self._client = client
        self._tasks: set[asyncio.Task[None]] = set()
        self._last: dict[tuple[str, str], str] = {}
        self.sent = 0

    def event(self, row: Transcription, name: str) -> None:
        """Notify every usable webhook of the resource that registered for this event; never waits."""
        entity = f"{row.base_url}/transcriptions/{row.id}"
        self._last[row.resource, name] = entity
        for hook in self._store.webhooks(row.resource):
            if hook["status"] != "Succeeded" or not hook["events"].get(name):
                continue
            if self._board.first(faults.NotificationLost, "notify", row.resource, (row.display_name,)):
                continue
            extra = self._board.first(
                faults.NotificationDuplicated, "notify", row.resource, (row.display_name,)
            )
            self._background(self._tell(hook, name, entity, 1 + (extra.copies if extra else 0)))

    def challenge(self, resource: str, hook: dict[str, Any]) -> None:
        """Start the handshake that makes a webhook usable."""
        self._background(self._challenge(resource, hook))

    def ping(self, hook: dict[str, Any], body: Mapping[str, Any]) -> None:
        """Send the webhook's own description to it."""
        self._background(self._post(hook, "ping", encode(body)))

    def test(self, resource: str, hook: dict[str, Any]) -> bool:
        """Send the last entity's notification of every registered event; False when there is none."""
        found = [
            (name, self._last.get((resource, name))) for name, wanted in hook["events"].items() if wanted
        ]
        for name, entity in found:
            if entity is not None:
                self._background(self._tell(hook, name, entity, 1))
        return any(entity is not None for _, entity in found)

    async def drained(self) -> None:
        """Return when nothing is under way any more."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def aclose(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, hook: dict[str, Any], name: str, entity: str, copies: int) -> None:
        version = hook["apiVersion"]
        body = encode({"self": f"{entity}?api-version={version}", "invocationId": str(uuid.uuid4())})
        for _ in range(copies):
            await self._post(hook, name, body)

    async def _post(self, hook: dict[str, Any], name: str, body: bytes) -> None:
        guesses = self._settings.guesses
        for attempt in range(guesses.webhook_attempts):
            if attempt:
                await self._clock.sleep(
                    self._clock.span(guesses.webhook_backoff_seconds * 2 ** (attempt - 1))
                )
            try:
                answer = await self._client.post(
                    hook["webUrl"],
                    content=body,
                    headers=self._headers(hook, name, body),
                    timeout=self._timeout,
                )
            except (httpx.HTTPError, httpx.InvalidURL):
                continue
            if answer.is_success:
                self.sent += 1
                return

    async def _challenge(self, resource: str, hook: dict[str, Any]) -> None:
        token = secrets.token_urlsafe(24)
        problem: str | None = "The callback URI could not be reached."
        try:
            answer = await self._client.post(
                hook["webUrl"],
                params={**httpx.QueryParams(httpx.URL(hook["webUrl"]).query), "validationToken": token},
                headers=self._headers(hook, "challenge", token.encode()),
                timeout=self._timeout,
            )
            right = answer.status_code == 200 and answer.text.strip() == token
            problem = None if right else "The callback URI did not answer the challenge."
        except (httpx.HTTPError, httpx.InvalidURL):
            pass
        current = next((one for one in self._store.webhooks(resource) if one["id"] == hook["id"]), None)
        if current is None or current["webUrl"] != hook["webUrl"]:
            return
        error = None if problem is None else {"code": "InvalidCallbackUri", "message": problem}
        ended = {
            "status": "Failed" if error else "Succeeded",
            "error": error,
            "lastAction": stamp(self._clock.now()),
        }
        self._store.put_webhook(resource, {**current, **ended})

    @property
    def _timeout(self) -> float:
        return self._settings.guesses.webhook_timeout_seconds

    def _headers(self, hook: dict[str, Any], name: str, signed: bytes) -> dict[str, str]:
        shown = name[0].upper() + name[1:] if self._settings.guesses.webhook_event_case == "pascal" else name
        headers = {"X-MicrosoftSpeechServices-Event": shown, "Content-Type": "application/json"}
        if hook.get("secret"):
            digest = hmac.new(hook["secret"].encode(), signed, hashlib.sha256).digest()
            headers["X-MicrosoftSpeechServices-Signature"] = base64.b64encode(digest).decode()
        return headers
