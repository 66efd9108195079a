"""An HTTP server whose answers are the very bytes that a test wrote, for what no proper server would say."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def ok(body: bytes, **headers: str) -> bytes:
    """A proper answer."""
    return head(200, {"Content-Length": str(len(body)), **headers}) + body


def head(status: int, headers: dict[str, str]) -> bytes:
    """The head of an answer; header names are written with underscores or dashes."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status} Said", *lines, "", ""]).encode()


async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Nothing more is said until the other end goes away."""
    while await reader.read(1 << 16):
        pass


async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The connection ends as if all were said."""
    await writer.drain()
    writer.close()


async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The connection is torn down."""
    await writer.drain()
    raw = writer.get_extra_info("socket")
    # Lingering for no time makes the close a reset.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@dataclass
class RawServer:
    """Says *answers*, one sequence of bytes and acts for each request; the last of them again and again."""

    answers: deque[tuple[bytes | Act, ...]] = field(default_factory=deque)
    requests: list[str] = field(default_factory=list)
    """The head of each request."""
    connections: int = 0
    port: int = 0

    def says(self, *answer: bytes | Act) -> None:
        """The next request is answered so."""
        self.answers.append(answer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while not writer.is_closing():
                self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
                answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
                for part in answer:
                    if isinstance(part, bytes):
                        writer.write(part)
                    else:
                        await part(reader, writer)
                if not writer.is_closing():
                    await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client is gone
        finally:
            writer.close()


@asynccontextmanager
async def raw_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """A server on a free port of this machine."""
    server = RawServer()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()
