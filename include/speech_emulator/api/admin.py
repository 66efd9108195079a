"""The emulator's own operations, which no service has: faults, counters, tokens, purge, reset."""

import hmac
import ipaddress
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from speech_emulator.api.answers import JsonResponse
from speech_emulator.emulator import Emulator
from speech_emulator.errors import ServiceError, invalid, not_found
from speech_emulator.validation import json_object


def routes() -> list[Route]:
    """The routes of this group; `/health` is open to everyone."""
    return [
        Route("/health", health, methods=["GET"]),
        _route("/admin/state", "GET", state),
        _route("/admin/transcriptions", "GET", transcriptions),
        _route("/admin/transcriptions/{id}:purge", "POST", purge),
        _route("/admin/regions/{region}:stop", "POST", stop_region),
        _route("/admin/regions/{region}:start", "POST", start_region),
        _route("/admin/faults", "GET", list_faults),
        _route("/admin/faults", "POST", add_faults),
        _route("/admin/faults", "DELETE", remove_faults),
        _route("/admin/faults/{rule}", "DELETE", remove_faults),
        _route("/admin/tokens", "POST", issue_token),
        _route("/admin/reset", "POST", reset),
    ]


def _route(path: str, method: str, handler: Callable[[Request, Emulator], Awaitable[Response]]) -> Route:
    async def endpoint(request: Request) -> Response:
        emulator: Emulator = request.app.state.emulator
        try:
            _check(request, emulator.settings.server.admin_token)
            return await handler(request, emulator)
        except ServiceError as error:
            return JsonResponse(error.body(), error.status)

    return Route(path, endpoint, methods=[method])


def _check(request: Request, token: str | None) -> None:
    if token is not None:
        sent = request.headers.get("authorization", "")
        if not hmac.compare_digest(sent.encode(), f"Bearer {token}".encode()):
            raise ServiceError("Unauthorized", "Admin operations need the configured admin token.")
        return
    host = request.client.host if request.client else ""
    try:
        near = ipaddress.ip_address(host).is_loopback
    except ValueError:
        near = False
    if not near:
        message = "Without server.admin_token, admin operations answer callers on the same machine only."
        raise ServiceError("Forbidden", message)


async def health(_: Request) -> Response:
    """Whether the emulator is up."""
    return JsonResponse({"status": "ok"})


async def state(_: Request, emulator: Emulator) -> Response:
    """Counters of everything that was accepted, asked and billed, and the rules in force."""
    emulator.purge()
    accepted = emulator.store.accepted()
    names = Counter((row["resource"], row["display_name"]) for row in accepted)
    per_resource: dict[str, Any] = {
        name: {
            "region": resource.region,
            "accepted": 0,
            "files": 0,
            "billed_audio_seconds": 0.0,
            "throttled": emulator.throttled[name],
        }
        for name, resource in emulator.resources.items()
    }
    for row in accepted:
        if (counts := per_resource.get(row["resource"])) is not None:
            counts["accepted"] += 1
            counts["files"] += row["files"]
            counts["billed_audio_seconds"] = round(
                counts["billed_audio_seconds"] + row["billed_ms"] / 1000, 3
            )
    return JsonResponse(
        {
            "recogniser": emulator.settings.recogniser.kind,
            "time_scale": emulator.settings.clock.time_scale,
            "accepted": len(accepted),
            "files": sum(row["files"] for row in accepted),
            "billed_audio_seconds": round(sum(row["billed_ms"] for row in accepted) / 1000, 3),
            "transcriptions": dict(Counter(row["status"] for row in accepted)),
            "duplicates": {name: count for (_, name), count in names.items() if count > 1},
            "requests": dict(emulator.requests),
            "throttled": sum(emulator.throttled.values()),
            "notifications": emulator.notifier.sent,
            "stopped_regions": sorted(emulator.stopped_regions),
            "resources": per_resource,
            "faults": emulator.faults.rules(),
        }
    )


async def transcriptions(_: Request, emulator: Emulator) -> Response:
    """Every transcription ever accepted, deleted and hidden ones included."""
    return JsonResponse({"values": emulator.store.accepted()})


async def purge(request: Request, emulator: Emulator) -> Response:
    """Let a transcription vanish now, as if its time to live were over."""
    wanted = request.path_params["id"]
    row = next((found for name in emulator.resources if (found := emulator.store.find(name, wanted))), None)
    if row is None:
        raise not_found("transcription")
    emulator.delete(row)
    return Response(status_code=204)


async def stop_region(request: Request, emulator: Emulator) -> Response:
    """Let a whole region go down, with every resource in it."""
    emulator.stop_region(_region(request, emulator))
    return Response(status_code=204)


async def start_region(request: Request, emulator: Emulator) -> Response:
    """Let it come back."""
    emulator.start_region(_region(request, emulator))
    return Response(status_code=204)


def _region(request: Request, emulator: Emulator) -> str:
    region: str = request.path_params["region"]
    if region not in emulator.queues:
        raise not_found("region")
    return region


async def list_faults(_: Request, emulator: Emulator) -> Response:
    """The rules in force."""
    return JsonResponse({"values": emulator.faults.rules()})


async def add_faults(request: Request, emulator: Emulator) -> Response:
    """One rule, or several under `rules`."""
    body = json_object(await request.body())
    rules = body.get("rules", [body])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise invalid("rules must be a list of fault rules.", "InvalidParameter", target="rules")
    added = [emulator.faults.add(rule) for rule in rules]
    return JsonResponse({"values": [rule.as_dict() for rule in added]}, 201)


async def remove_faults(request: Request, emulator: Emulator) -> Response:
    """Lift one rule, or all."""
    emulator.faults.remove(request.path_params.get("rule"))
    return Response(status_code=204)


async def issue_token(request: Request, emulator: Emulator) -> Response:
    """A bearer token that every resource accepts for a while."""
    raw = await request.body()
    seconds = json_object(raw).get("lifetime_seconds") if raw else None
    if not isinstance(seconds, int | float | None):
        raise invalid("lifetime_seconds must be a number.", "InvalidParameter", target="lifetime_seconds")
    lifetime = emulator.settings.auth.token_lifetime_seconds if seconds is None else seconds
    expires = emulator.clock.now() + emulator.clock.span(lifetime)
    token = emulator.doorkeeper.issue(lifetime)
    return JsonResponse({"access_token": token, "token_type": "Bearer", "expires_on": int(expires)}, 201)


async def reset(_: Request, emulator: Emulator) -> Response:
    """Forget transcriptions, counts, webhooks and faults; what is being processed ends unheard."""
    emulator.store.clear()
    emulator.faults.remove()
    for region in list(emulator.stopped_regions):
        emulator.start_region(region)
    emulator.restart_counting()
    return Response(status_code=204)
