"""The outermost layer: which resource a path addresses, and a way to drop the connection; it answers nothing itself."""

import contextlib
import socket
import struct
from collections.abc import Callable, Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from speech_emulator.api.answers import DROP

RESOURCE = "speech_emulator.resource"
PREFIX = "speech_emulator.prefix"


class Front:
    """Strips the resource's name from the path; a path without one addresses the first resource."""

    def __init__(self, app: ASGIApp, resources: Collection[str]) -> None:
        self._app = app
        self._resources = list(resources)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Address the resource and pass the request on."""
        if scope["type"] == "http":
            scope = {**scope, DROP: _dropper(send), RESOURCE: self._resources[0], PREFIX: ""}
            first, _, rest = scope["path"].lstrip("/").partition("/")
            if first in self._resources:
                path = f"/{rest}"
                scope.update({"path": path, "raw_path": path.encode(), RESOURCE: first, PREFIX: f"/{first}"})
        await self._app(scope, receive, send)


def _dropper(send: Send) -> Callable[[], None]:
    transport = getattr(getattr(send, "__self__", None), "transport", None)

    def drop() -> None:
        if transport is None:
            raise ConnectionResetError("the emulator was told to drop this connection")
        raw = transport.get_extra_info("socket")
        if raw is not None:
            # Lingering for no time makes the close a reset, which is what a lost connection looks like.
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    return drop
