"""Every effect of a process on the world outside it, counted; and a switch that kills or freezes the process at one of them.

The effects are seen at the seams: commits (and, where asked, statements) of the ledger, writes of the store, requests to
the service. The core runs as it is; nothing of it is replaced.
"""

from __future__ import annotations

import http.client
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import obstore
import sqlalchemy as sa
from sqlalchemy.engine.default import DefaultDialect

from speech_backfill.speech.blob_host import KeptConnections
from speech_backfill.speech.connection import Timeouts, tls
from speech_backfill.speech.results import Answer, NoAnswer
from speech_backfill.store import Store

BEFORE, DURING, AFTER = "before", "during", "after"

_WRITES = ("INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP")


@dataclass(frozen=True)
class Kill:
    """Where a life ends: at its *number*-th effect, *side* of it."""

    number: int
    side: str

    def __str__(self) -> str:
        return f"{self.number}:{self.side}"

    @classmethod
    def parse(cls, text: str) -> Kill:
        number, side = text.split(":")
        return cls(int(number), side)


@dataclass
class Points:
    """Counts effects, notes each in *log* (so that the number of effects outlives the process), and acts at one of them."""

    log: Path
    kill: Kill | None = None
    freeze: bool = False
    """Stop with SIGSTOP there instead, once; somebody else continues the process later."""
    statements: bool = False
    number: int = 0
    labels: list[str] = field(default_factory=list)

    def begin(self, label: str, sides: str) -> int:
        """An effect is about to happen, that can be interrupted at *sides*: b(efore), d(uring), a(fter). Its number."""
        self.number += 1
        self.labels.append(label)
        with self.log.open("a") as out:
            out.write(f"{sides} {label}\n")
        self._act(self.number, BEFORE)
        return self.number

    def during(self, number: int) -> bool:
        """Whether the effect is to be left half done; whoever is told so does half of it and calls `die`."""
        return self.kill == Kill(number, DURING)

    def end(self, number: int) -> None:
        """The effect has happened. Requests overlap, so others may have begun since."""
        self._act(number, AFTER)

    def die(self) -> None:
        """Here and now, without any handler: as the out-of-memory killer does it."""
        os.kill(os.getpid(), signal.SIGSTOP if self.freeze else signal.SIGKILL)
        self.kill = None

    def _act(self, number: int, side: str) -> None:
        if self.kill == Kill(number, side):
            self.die()


def possible(log: Path) -> list[tuple[Kill, str]]:
    """Every point of a life that left *log*, with the effect's name."""
    sides = {"b": BEFORE, "d": DURING, "a": AFTER}
    found = []
    for number, line in enumerate(log.read_text().splitlines(), 1):
        letters, label = line.split(" ", 1)
        found += [(Kill(number, sides[one]), label) for one in letters]
    return found


@dataclass(frozen=True)
class CountedStore(Store):
    """A store whose writes are counted, and can be torn."""

    points: Points | None = None

    @classmethod
    def of(cls, store: Store, points: Points) -> CountedStore:
        return cls(store.url, store.objects, store.local_root, points)

    @contextmanager
    def _counted(self, verb: str, path: str, data: bytes | None = None) -> Iterator[None]:
        assert self.points is not None
        number = self.points.begin(f"{verb} {path}", "ba" if data is None else "bda")
        if data is not None and self.points.during(number) and self.local_root is None:
            self._send_half_and_die(path, data)
        elif data is not None and self.points.during(number):
            assert self.local_root is not None
            # obstore writes beside the target and renames; a process that dies on the way leaves this behind.
            torn = self.local_root / f"{path}#1"
            torn.parent.mkdir(parents=True, exist_ok=True)
            torn.write_bytes(data[: len(data) // 2])
            self.points.die()
        yield
        self.points.end(number)

    def _send_half_and_die(self, path: str, data: bytes) -> None:
        """Half of the body has left the machine when the process dies; the container never sees the rest."""
        assert self.points is not None
        url = urlsplit(obstore.sign(self.objects, "PUT", path, timedelta(minutes=5)))
        wire = http.client.HTTPConnection(url.netloc)
        wire.putrequest("PUT", f"{url.path}?{url.query}")
        wire.putheader("Content-Length", str(max(2, len(data))))
        wire.putheader("x-ms-blob-type", "BlockBlob")
        wire.endheaders(data[: len(data) // 2])
        self.points.die()

    def put(self, path: str, data: bytes) -> None:
        with self._counted("put", path, data):
            super().put(path, data)

    def create(self, path: str, data: bytes) -> bool:
        with self._counted("create", path, data):
            return super().create(path, data)

    def replace(self, path: str, data: bytes, *, expected_etag: str | None) -> None:
        if expected_etag is None:  # becomes a create
            super().replace(path, data, expected_etag=None)
            return
        with self._counted("replace", path, data):
            super().replace(path, data, expected_etag=expected_etag)

    def upload(self, source: Path, path: str) -> None:
        with self._counted("upload", path, source.read_bytes()):
            super().upload(source, path)

    def copy(self, source: str, target: str) -> None:
        with self._counted("copy", target):
            super().copy(source, target)

    def delete(self, path: str) -> None:
        with self._counted("delete", path):
            super().delete(path)


class CountedTransport(httpx.AsyncBaseTransport):
    """The network with counted requests. An answer counts as come when it was read to its end."""

    def __init__(self, points: Points) -> None:
        self._points = points
        # No connection is kept: the client promises that for submissions, and a restart has none either.
        self._inner = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0), verify=tls())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        changes = request.method in {"POST", "DELETE"}
        number = self._points.begin(f"{request.method} {request.url.path}", "bda" if changes else "ba")
        if changes and self._points.during(number):
            self._send_and_die(request)
        answer = await self._inner.handle_async_request(request)
        content = await answer.aread()
        await answer.aclose()
        self._points.end(number)
        return httpx.Response(answer.status_code, headers=answer.headers, content=content)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _send_and_die(self, request: httpx.Request) -> None:
        """The whole request leaves the machine; nobody is there to hear the answer."""
        wire = http.client.HTTPConnection(request.url.host, request.url.port)
        headers = {name: value for name, value in request.headers.items() if name != "transfer-encoding"}
        wire.request(request.method, request.url.raw_path.decode(), request.content, headers)
        self._points.die()


class CountedBlobHost:
    """The host of result files with counted requests, as the product asks it, but over a new connection each time."""

    def __init__(self, points: Points, timeouts: Timeouts) -> None:
        self._points = points
        self._timeouts = timeouts

    async def get(self, url: str, *, max_bytes: int) -> Answer:
        number = self._points.begin(f"GET {urlsplit(url).path}", "ba")
        connections = KeptConnections(self._timeouts)
        try:
            answer = await connections.get(url, max_bytes=max_bytes)
        finally:
            await connections.aclose()
        if not isinstance(answer, NoAnswer):
            self._points.end(number)
        return answer

    async def aclose(self) -> None:
        pass


def count_ledger(points: Points) -> None:
    """See every commit that writes, and every such statement where wanted, of all engines of this process."""
    written: set[int] = set()
    commit = DefaultDialect.do_commit

    @sa.event.listens_for(sa.Engine, "after_cursor_execute")
    def _statement(connection: sa.Connection, _cursor: Any, statement: str, *_: Any) -> None:
        words = statement.split()
        if not words or words[0].upper() not in _WRITES:
            return
        written.add(id(connection.connection.dbapi_connection))
        if points.statements:
            points.end(points.begin(f"statement {' '.join(words[:3])}", "a"))

    def counted(self: DefaultDialect, dbapi_connection: Any) -> None:
        key = id(getattr(dbapi_connection, "dbapi_connection", dbapi_connection))
        if key not in written:
            commit(self, dbapi_connection)
            return
        written.discard(key)
        number = points.begin("commit", "ba")
        commit(self, dbapi_connection)
        points.end(number)

    DefaultDialect.do_commit = counted  # type: ignore[method-assign]
