"""The emulator as an ASGI application, as a server, and as a server in a thread for tests."""

import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp
from uvicorn.config import LOGGING_CONFIG

from speech_emulator.api import admin, blobs, models, transcriptions, webhooks
from speech_emulator.api.answers import JsonResponse
from speech_emulator.api.front import Front
from speech_emulator.config import Settings
from speech_emulator.emulator import Emulator
from speech_emulator.errors import CannotStartError, ServiceError, not_found


def create_app(emulator: Emulator) -> ASGIApp:
    """The application around one emulator, whose queues run as long as the application does."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
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


async def _unknown_path(_: Request, __: Exception) -> Response:
    return JsonResponse(not_found("resource").body(), 404)


async def _wrong_method(_: Request, __: Exception) -> Response:
    refusal = ServiceError("NotAllowed", "This operation does not exist.")
    return JsonResponse(refusal.body(), refusal.status)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, or the reason why there is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # Listening at once lets callers queue while the application still starts.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        message = (
            f"The emulator cannot listen on {host}:{port} ({error.strerror}). Choose another: --port 8086"
        )
        raise CannotStartError(message) from error
    return listener


def build(settings: Settings, emulator: Emulator, *, configure_logging: bool = True) -> uvicorn.Server:
    """A uvicorn server for an emulator."""
    config = uvicorn.Config(
        create_app(emulator),
        lifespan="on",
        access_log=settings.server.access_log,
        log_level="info" if settings.server.access_log else "warning",
        timeout_graceful_shutdown=2,
        server_header=False,
        # Whoever calls is who the socket says: admin operations depend on it.
        proxy_headers=False,
        log_config=LOGGING_CONFIG if configure_logging else None,
    )
    return uvicorn.Server(config)


@contextlib.contextmanager
def running(
    settings: Settings | None = None, *, emulator: Emulator | None = None, port: int = 0
) -> Iterator[str]:
    """The emulator in a thread, by default on a free port whatever the settings say; yields its base URL."""
    built = emulator or Emulator(settings or Settings())
    listener = bind(built.settings.server.host, port)
    server = build(built.settings, built, configure_logging=False)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="speech-emulator", daemon=True
    )
    thread.start()
    host, bound = listener.getsockname()[:2]
    try:
        yield f"http://{host}:{bound}"
    finally:
        server.should_exit = True
        thread.join(timeout=15)
        listener.close()
