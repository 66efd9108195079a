"""The emulator as an ASGI application, as a server, and as a server in a thread for tests."""

import contextlib
import logging
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from speech_emulator.api import admin, blobs, models, transcriptions, webhooks
from speech_emulator.api.answers import JsonResponse
from speech_emulator.api.front import Front
from speech_emulator.config import Settings
from speech_emulator.emulator import Emulator
from speech_emulator.errors import CannotStartError, ServiceError, not_found


def create_app(emulator: Emulator) -> ASGIApp:
    """The application around one emulator, whose queues run as long as the application does."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with emulator.started():
            yield

    groups = (transcriptions, models, webhooks, blobs, admin)
    app = Starlette(
        routes=[route for group in groups for route in group.routes()],
        exception_handlers={404: _unknown_path, 405: _wrong_method},
        lifespan=lifespan,
    )
    app.state.emulator = emulator
    return Front(app, emulator.resources)


async def _unknown_path(request: Request, error: Exception) -> Response:
    return JsonResponse(not_found("resource").body(), 404)


async def _wrong_method(request: Request, error: Exception) -> Response:
    refusal = ServiceError("NotAllowed", "This operation does not exist.")
    return JsonResponse(refusal.body(), refusal.status)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, or the reason why there is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        message = (
            f"The emulator cannot listen on {host}:{port} ({error.strerror}). Choose another: --port 8086"
        )
        raise CannotStartError(message) from error
    return listener


def build(settings: Settings, emulator: Emulator) -> uvicorn.Server:
    """A uvicorn server for an emulator."""
    config = uvicorn.Config(
        create_app(emulator),
        lifespan="on",
        access_log=settings.server.access_log,
        log_level="info" if settings.server.access_log else "warning",
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    return uvicorn.Server(config)


@contextlib.contextmanager
def running(settings: Settings | None = None, emulator: Emulator | None = None) -> Iterator[str]:
    """The emulator in a thread on a free port (or the configured one, when it is not 8085); yields its base URL."""
    settings = settings or (emulator.settings if emulator else Settings())
    built = emulator or Emulator(settings)
    port = 0 if settings.server.port == 8085 else settings.server.port
    listener = bind(settings.server.host, port)
    server = build(settings, built)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="speech-emulator", daemon=True
    )
    address = listener.getsockname()
    listener.listen(2048)
    thread.start()
    try:
        # The socket listens already: requests wait in its queue until the application has started.
        yield f"http://{address[0]}:{address[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=15)
        listener.close()
        logging.getLogger("uvicorn.error").handlers.clear()
