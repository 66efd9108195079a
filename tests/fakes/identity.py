"""What a machine with a managed identity has: a local endpoint that hands out Entra ID tokens; here the emulator's own.

The protocol is that of App Service (api-version 2019-08-01), which azure-identity speaks where IDENTITY_ENDPOINT and
IDENTITY_HEADER are set.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx


@dataclass
class Identity:
    """The endpoint, and every token that it has handed out."""

    endpoint: str
    header: str
    issued: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find it."""
        return {"IDENTITY_ENDPOINT": self.endpoint, "IDENTITY_HEADER": self.header}


@contextmanager
def managed_identity(emulator: str, *, lifetime_seconds: float = 3600.0) -> Iterator[Identity]:
    """Serve tokens that the Speech emulator at *emulator* takes."""
    identity = Identity("", secrets.token_urlsafe(16))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("X-IDENTITY-HEADER") != identity.header:
                self.send_error(401)
                return
            answer = httpx.post(
                f"{emulator}/admin/tokens", json={"lifetime_seconds": lifetime_seconds}, timeout=30
            )
            token = answer.raise_for_status().json()
            identity.issued.append(token["access_token"])
            body = json.dumps(
                {
                    "access_token": token["access_token"],
                    "expires_on": str(int(token["expires_on"])),
                    "resource": "https://cognitiveservices.azure.com",
                    "token_type": "Bearer",
                }
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    identity.endpoint = f"http://127.0.0.1:{server.server_port}/msi/token"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield identity
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
