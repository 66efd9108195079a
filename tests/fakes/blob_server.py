"""A blob service on a real port that knows GET with a range, and fails when it is told to; it counts what it is asked."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from speech_backfill.accounts import AccountKey, StorageAccount, StorageAccounts

ACCOUNT = "acct"


@dataclass
class BlobServer:
    """Blobs by `container/path`; *fails* says by path which statuses come before the blob, 0 for a hang-up."""

    endpoint: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    all_others: bytes = b""
    """What is found under every other path; nothing where it is empty."""
    fails: dict[str, list[int]] = field(default_factory=dict)
    fails_for_ever: dict[str, int] = field(default_factory=dict)
    seconds_an_answer: float = 0.0
    requests: Counter[str] = field(default_factory=Counter)
    bytes_sent: Counter[str] = field(default_factory=Counter)

    @property
    def accounts(self) -> StorageAccounts:
        return StorageAccounts.of([StorageAccount(ACCOUNT, self.endpoint, AccountKey("a2V5"))])

    def url(self, path: str) -> str:
        return f"{self.endpoint}/{path}"

    def status(self, path: str) -> int:
        if path in self.fails_for_ever:
            return self.fails_for_ever[path]
        if self.fails.get(path):
            return self.fails[path].pop(0)
        return 206 if self.blobs.get(path, self.all_others) else 404


@contextmanager
def blob_server() -> Iterator[BlobServer]:
    """Run one on a free port of this machine."""
    blobs = BlobServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # http.server looks for this name
            path = unquote(self.path).split(f"/{ACCOUNT}/", 1)[1]
            blobs.requests[path] += 1
            time.sleep(blobs.seconds_an_answer)
            status = blobs.status(path)
            if not status:
                self.close_connection = True
                return
            content = blobs.blobs.get(path, blobs.all_others)
            begin, end = (int(one) for one in self.headers["Range"].removeprefix("bytes=").split("-"))
            body = content[begin : end + 1] if status == 206 else b""
            self.send_response(status if body or status != 206 else 416)
            if body:
                self.send_header("Content-Range", f"bytes {begin}-{begin + len(body) - 1}/{len(content)}")
            self.send_header("ETag", '"e"')
            self.send_header("Last-Modified", "Sun, 01 Nov 2026 00:00:00 GMT")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            blobs.bytes_sent[path] += len(body)

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    blobs.endpoint = f"http://127.0.0.1:{server.server_port}/{ACCOUNT}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield blobs
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
