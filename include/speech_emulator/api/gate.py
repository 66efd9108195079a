"""What every operation passes on its way in and out: counting, faults, sign-in, throttle, api-version, errors."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from speech_emulator import faults
from speech_emulator.api.answers import DroppedConnection, HungConnection, JsonResponse, failure, told
from speech_emulator.api.front import PREFIX, RESOURCE
from speech_emulator.config import ResourceSettings
from speech_emulator.emulator import Emulator
from speech_emulator.errors import ServiceError, not_found
from speech_emulator.store import Transcription
from speech_emulator.validation import API_VERSIONS, api_version


@dataclass(frozen=True, slots=True)
class Call:
    """One admitted request, with what its handler needs."""

    emulator: Emulator
    resource: ResourceSettings
    request: Request
    operation: str
    version: str
    root_url: str
    """Scheme and authority of links."""
    base_url: str
    """Where the resource's operations lie."""
    body: bytes

    @property
    def query(self) -> dict[str, str]:
        """The query parameters."""
        return dict(self.request.query_params)

    def id(self) -> str:
        """The uuid in the path, or NotFound for what cannot be one."""
        text: str = self.request.path_params["id"]
        try:
            return str(uuid.UUID(text))
        except ValueError:
            raise not_found("entity") from None

    def transcription(self) -> Transcription:
        """The transcription in the path."""
        row = self.emulator.find(self.resource.name, self.id())
        if row is None:
            raise not_found("transcription")
        return row

    def retry_after(self, *, unfinished: bool) -> dict[str, str]:
        """The header that tells a poller how long to wait, while there is something to wait for."""
        if not unfinished:
            return {}
        seconds = self.emulator.clock.span(self.emulator.settings.guesses.retry_after_seconds)
        return {"Retry-After": str(max(1, round(seconds)))}


Handler = Callable[[Call], Awaitable[Response]]


def operation(path: str, method: str, name: str, handler: Handler) -> Route:
    """The route of one operation, behind the gate."""

    async def endpoint(request: Request) -> Response:
        return await _pass(request, name, handler)

    return Route(f"/speechtotext{path}", endpoint, methods=[method])


def _root_url(request: Request, emulator: Emulator) -> str:
    """Scheme and authority of links: as configured, or as the caller addressed the emulator."""
    configured = emulator.settings.server.public_url
    return configured.rstrip("/") if configured else f"{request.url.scheme}://{request.url.netloc}"


async def _pass(request: Request, name: str, handler: Handler) -> Response:
    emulator: Emulator = request.app.state.emulator
    resource = emulator.resources[request.scope[RESOURCE]]
    emulator.requests[name] += 1
    body = await request.body()
    if resource.region in emulator.stopped_regions:
        return told(faults.HttpStatus(status=503, body="gateway", message="The region is down."))
    fault = _fault(emulator, resource.name, name, request, body)
    match fault:
        case None:
            response = await _answer(request, emulator, name, handler, body)
        case faults.HttpStatus():
            emulator.throttled[resource.name] += fault.status == 429
            response = told(fault)
        case faults.ConnectionReset():
            response = DroppedConnection()
        case faults.Hang():
            response = HungConnection(fault.seconds)
        case faults.Slow():
            await asyncio.sleep(fault.seconds)
            response = await _answer(request, emulator, name, handler, body)
        case faults.TokenExpired():
            emulator.doorkeeper.revoke(request.headers)
            response = await _answer(request, emulator, name, handler, body)
        case faults.AnswerLost():
            await _answer(request, emulator, name, handler, body)
            response = _lost(fault)
    response.headers["apim-request-id"] = str(uuid.uuid4())
    response.headers["api-supported-versions"] = ", ".join(API_VERSIONS)
    response.headers["Cache-Control"] = "no-store"
    response.headers["x-content-type-options"] = "nosniff"
    return response


def _lost(fault: faults.AnswerLost) -> Response:
    match fault.how:
        case "reset":
            return DroppedConnection()
        case "hang":
            return HungConnection(fault.seconds)
        case "status":
            return failure(fault.status, fault.body, message="The emulator was told to lose this answer.")


def _fault(
    emulator: Emulator, resource: str, name: str, request: Request, body: bytes
) -> faults.RequestFault | None:
    if not emulator.faults.concerns(faults.RequestFault):
        return None
    subjects: list[str] = []
    if name == "submit":
        try:
            subjects = [msgspec.json.decode(body)["displayName"]]
        except (msgspec.DecodeError, KeyError, TypeError):
            subjects = []
    elif (row := emulator.store.find(resource, request.path_params.get("id", ""))) is not None:
        subjects = [row.display_name]
    fault: faults.RequestFault | None = emulator.faults.first(faults.RequestFault, name, resource, subjects)
    return fault


async def _answer(request: Request, emulator: Emulator, name: str, handler: Handler, body: bytes) -> Response:
    resource = emulator.resources[request.scope[RESOURCE]]
    try:
        emulator.doorkeeper.check(resource, request.headers)
        _throttle(emulator, resource.name)
        root = _root_url(request, emulator)
        call = Call(
            emulator=emulator,
            resource=resource,
            request=request,
            operation=name,
            version=api_version(request.query_params),
            root_url=root,
            base_url=f"{root}{request.scope[PREFIX]}/speechtotext",
            body=body,
        )
        return await handler(call)
    except ServiceError as error:
        return JsonResponse(error.body(), error.status, error.headers)


def _throttle(emulator: Emulator, resource: str) -> None:
    wait = emulator.throttles[resource].refuse()
    if wait is None:
        return
    emulator.throttled[resource] += 1
    settings = emulator.settings.throttle
    raise ServiceError(
        "TooManyRequests",
        "Requests to the Speech service have exceeded the rate limit of this resource.",
        headers={"Retry-After": str(wait)} if settings.retry_after else {},
        shape=settings.error_shape,
    )


def shown(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return JsonResponse(value, status, headers)
