"""Operations on webhooks; sending to them is the notifier's."""

import uuid
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.routing import Route

from speech_emulator import filters, validation
from speech_emulator.api.gate import Call, operation, shown
from speech_emulator.clock import stamp
from speech_emulator.errors import invalid, not_found
from speech_emulator.notifier import EVENTS
from speech_emulator.paging import envelope, page

_FLAGS = (*EVENTS, "ping", "challenge")


def routes() -> list[Route]:
    """The routes of this group; actions come before the plain id, which would swallow them."""
    return [
        operation("/webhooks", "GET", "list_webhooks", list_webhooks),
        operation("/webhooks", "POST", "create_webhook", create),
        operation("/webhooks/{id}:ping", "POST", "ping_webhook", ping),
        operation("/webhooks/{id}:test", "POST", "test_webhook", test),
        operation("/webhooks/{id}", "GET", "get_webhook", get),
        operation("/webhooks/{id}", "PATCH", "update_webhook", update),
        operation("/webhooks/{id}", "DELETE", "delete_webhook", delete),
    ]


def entity(hook: dict[str, Any], base_url: str, version: str) -> dict[str, Any]:
    """A webhook as the service shows it; its secret is never shown."""
    here = f"{base_url}/webhooks/{hook['id']}"
    value: dict[str, Any] = {
        "self": f"{here}?api-version={version}",
        "displayName": hook["displayName"],
        "webUrl": hook["webUrl"],
        "events": hook["events"],
        "links": {
            "ping": f"{here}:ping?api-version={version}",
            "test": f"{here}:test?api-version={version}",
        },
        "properties": {"apiVersion": hook["apiVersion"]},
        "status": hook["status"],
        "createdDateTime": hook["created"],
        "lastActionDateTime": hook["lastAction"],
    }
    if hook["error"] is not None:
        value["properties"]["error"] = hook["error"]
    for name in ("description", "customProperties"):
        if hook.get(name) is not None:
            value[name] = hook[name]
    return value


def _find(call: Call) -> dict[str, Any]:
    wanted = call.id()
    for hook in call.emulator.store.webhooks(call.resource.name):
        if hook["id"] == wanted:
            return hook
    raise not_found("webhook")


def _changes(call: Call, *, new: bool) -> dict[str, Any]:
    body = validation.json_object(call.body)
    found: dict[str, Any] = {}
    if new or "displayName" in body:
        found["displayName"] = validation.display_name(body, call.emulator.settings, required=True)
    if new or "webUrl" in body:
        found["webUrl"] = _callback(body.get("webUrl"))
    if new or "events" in body:
        events = body.get("events")
        if not isinstance(events, dict) or not all(isinstance(flag, bool) for flag in events.values()):
            raise invalid("The property webHook.events is required.", target="events")
        if unknown := set(events) - set(_FLAGS):
            raise invalid(
                f"Unknown events: {', '.join(sorted(unknown))}.", "InvalidWebHookEventKind", target="events"
            )
        found["events"] = events
    if "description" in body:
        found["description"] = body["description"]
    if "customProperties" in body:
        found["customProperties"] = validation.custom_properties(body)
    properties = body.get("properties")
    if isinstance(properties, dict) and "secret" in properties:
        if not isinstance(properties["secret"], str | None):
            raise invalid("The property webHook.properties.secret must be a text.", target="properties")
        found["secret"] = properties["secret"]
    return found


def _callback(url: object) -> str:
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        good = parts is not None and parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        good = False
    if not good or not isinstance(url, str):
        raise invalid(
            "The property webHook.webUrl must be an absolute URI.", "InvalidCallbackUri", target="webUrl"
        )
    return url


async def create(call: Call) -> Response:
    """Register a webhook and start its handshake."""
    now = stamp(call.emulator.clock.now())
    hook = {
        "id": str(uuid.uuid4()),
        "apiVersion": call.version,
        "status": "NotStarted",
        "error": None,
        "created": now,
        "lastAction": now,
        **_changes(call, new=True),
    }
    call.emulator.store.put_webhook(call.resource.name, hook)
    call.emulator.notifier.challenge(call.resource.name, hook)
    value = entity(hook, call.base_url, call.version)
    return shown(value, status=201, headers={"Location": value["self"]})


async def list_webhooks(call: Call) -> Response:
    """A page of the webhooks that match."""
    hooks = call.emulator.store.webhooks(call.resource.name)
    if (text := call.query.get("filter")) is not None:
        matches = filters.parse(text, filters.WEBHOOKS)
        hooks = [hook for hook in hooks if matches(_facts(hook))]
    chosen, following = page(hooks, call.query, call.emulator.settings)
    values = [entity(hook, call.base_url, call.version) for hook in chosen]
    return shown(envelope(values, following, f"{call.base_url}/webhooks", call.query, call.emulator.settings))


def _facts(hook: dict[str, Any]) -> dict[str, filters.Value]:
    from datetime import datetime

    dates = {
        "createdDateTime": datetime.fromisoformat(hook["created"]).timestamp(),
        "lastActionDateTime": datetime.fromisoformat(hook["lastAction"]).timestamp(),
    }
    return {**{name: hook.get(name) for name in ("displayName", "description", "status", "webUrl")}, **dates}


async def get(call: Call) -> Response:
    """One webhook."""
    return shown(entity(_find(call), call.base_url, call.version))


async def update(call: Call) -> Response:
    """Change a webhook; another address means another handshake."""
    hook, changes = _find(call), _changes(call, new=False)
    moved = changes.get("webUrl", hook["webUrl"]) != hook["webUrl"]
    changed = {**hook, **changes}
    if moved:
        changed |= {"status": "NotStarted", "error": None, "lastAction": stamp(call.emulator.clock.now())}
    call.emulator.store.put_webhook(call.resource.name, changed)
    if moved:
        call.emulator.notifier.challenge(call.resource.name, changed)
    return shown(entity(changed, call.base_url, call.version))


async def delete(call: Call) -> Response:
    """Forget a webhook; an unknown one counts as forgotten."""
    call.emulator.store.delete_webhook(call.resource.name, call.request.path_params["id"])
    return Response(status_code=204)


async def ping(call: Call) -> Response:
    """Send the webhook its own description."""
    hook = _find(call)
    call.emulator.notifier.ping(hook, entity(hook, call.base_url, call.version))
    return Response(status_code=202)


async def test(call: Call) -> Response:
    """Send the webhook the last events that concerned it; 204 when there were none."""
    return Response(status_code=202 if call.emulator.notifier.test(call.resource.name, _find(call)) else 204)
