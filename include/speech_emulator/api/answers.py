"""Answers that are not simply JSON: failures of every shape, dropped connections, hanging ones, half a file."""

import asyncio
from collections.abc import Callable
from typing import Literal

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from speech_emulator.errors import CODE_OF_STATUS, ServiceError, encode
from speech_emulator.faults import HttpStatus

DROP = "speech_emulator.drop"
"""Key under which the outermost layer leaves the function that drops the connection."""

BodyShape = Literal["error", "gateway", "text", "html", "empty"]


class JsonResponse(Response):
    """JSON, encoded as the rest of the emulator does."""

    media_type = "application/json; charset=utf-8"

    def render(self, content: object) -> bytes:
        """The content as JSON bytes."""
        return encode(content)


def failure(
    status: int,
    body: BodyShape,
    *,
    message: str,
    code: str | None = None,
    inner: str | None = None,
    retry_after: int | None = None,
) -> Response:
    """A failing answer in one of the shapes a client may meet."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    match body:
        case "empty":
            return Response(status_code=status, headers=headers)
        case "text":
            return Response(message, status, headers, "text/plain")
        case "html":
            page = f"<html><head><title>{status}</title></head><body><center><h1>{message}</h1></center></body></html>"
            return Response(page, status, headers, "text/html")
        case "error" | "gateway":
            known = code or CODE_OF_STATUS.get(status, "InternalServerError")
            error = ServiceError(known, message, inner=inner, status=status, shape=body)
            return JsonResponse(error.body(), status, headers)


def told(fault: HttpStatus) -> Response:
    """The answer that a fault asks for."""
    return failure(
        fault.status,
        fault.body,
        message=fault.message,
        code=fault.code,
        inner=fault.inner,
        retry_after=fault.retry_after,
    )


class DroppedConnection(Response):
    """No answer: the connection is reset."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Drop the connection."""
        await _drop(scope)


class HungConnection(Response):
    """No answer for a long time, then the connection is reset."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait for the caller to give up, or drop the connection."""
        try:
            async with asyncio.timeout(self._seconds):
                while (await receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            await _drop(scope)


class CutOff(Response):
    """The head of an answer and half of its body, then the connection is reset."""

    def __init__(self, content: bytes, media_type: str) -> None:
        super().__init__(content, media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send half, then drop the connection."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})
        # The half must leave the machine before the reset, or the client would see neither.
        await asyncio.sleep(0.05)
        await _drop(scope)


async def _drop(scope: Scope) -> None:
    drop: Callable[[], None] = scope[DROP]
    drop()
    # The server has to notice the loss before the application returns, or it would complain.
    for _ in range(3):
        await asyncio.sleep(0)
