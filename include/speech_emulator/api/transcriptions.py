"""Operations on transcriptions and their files."""

from typing import Any

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from speech_emulator import faults, filters, validation
from speech_emulator.api.gate import Call, operation, shown
from speech_emulator.api.models import is_known
from speech_emulator.clock import stamp
from speech_emulator.errors import ServiceError, encode, invalid, not_found
from speech_emulator.locales import SUBMIT, TRANSCRIBE
from speech_emulator.paging import envelope, page, whole_number
from speech_emulator.results import Entry
from speech_emulator.store import Transcription


def routes() -> list[Route]:
    """The routes of this group; the fixed paths come before those with an id."""
    return [
        operation("/transcriptions:submit", "POST", "submit", submit),
        operation("/transcriptions/locales", "GET", "locales", locales),
        operation("/transcriptions", "GET", "list", list_transcriptions),
        operation("/transcriptions/{id}", "GET", "get", get),
        operation("/transcriptions/{id}", "PATCH", "update", update),
        operation("/transcriptions/{id}", "DELETE", "delete", delete),
        operation("/transcriptions/{id}/files", "GET", "list_files", list_files),
        operation("/transcriptions/{id}/files/{file_id}", "GET", "get_file", get_file),
    ]


def entity(row: Transcription, base_url: str, version: str) -> dict[str, Any]:
    """A transcription as the service shows it; its source is never shown."""
    here = f"{base_url}/transcriptions/{row.id}"
    value: dict[str, Any] = {"self": f"{here}?api-version={version}"}
    if row.model is not None:
        value["model"] = {"self": row.model}
    if row.project is not None and version >= "2025-10-15":
        value["project"] = {"self": row.project}
    properties: dict[str, Any] = msgspec.json.decode(row.properties)
    if row.duration_ms is not None:
        properties["durationMilliseconds"] = row.duration_ms
    if row.error_code is not None:
        properties["error"] = {"code": row.error_code, "message": row.error_message}
    value |= {
        "links": {"files": f"{here}/files?api-version={version}"},
        "properties": properties,
        "lastActionDateTime": stamp(row.last_action_at),
        "status": row.status,
        "createdDateTime": stamp(row.created_at),
        "locale": row.locale,
        "displayName": row.display_name,
    }
    if row.description is not None:
        value["description"] = row.description
    if row.custom_properties is not None:
        value["customProperties"] = msgspec.json.decode(row.custom_properties)
    return value


async def submit(call: Call) -> Response:
    """Accept a transcription: 201 once it is committed."""
    media_type = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise ServiceError("UnsupportedMediaType", "The request body must be application/json.")
    settings = call.emulator.settings
    asked = validation.submission(validation.json_object(call.body), settings, call.version)
    if settings.guesses.check_model and asked.model is not None and not is_known(asked.model):
        raise invalid("The specified model does not exist.", "InvalidModel", target="model")
    row = call.emulator.accept(call.resource, asked, call.base_url)
    value = entity(row, call.base_url, call.version)
    return shown(value, status=201, headers={"Location": value["self"]})


async def list_transcriptions(call: Call) -> Response:
    """A page of the transcriptions that match."""
    emulator = call.emulator
    if any(name.removeprefix("$").lower() == "orderby" for name in call.query):
        raise invalid("Ordering is not supported.", "UnsupportedOrderBy", target="orderby")
    emulator.purge()
    rows = emulator.store.of_resource(call.resource.name, emulator.clock.now())
    if (text := call.query.get("filter")) is not None:
        matches = _filter(call, text, filters.TRANSCRIPTIONS)
        if not emulator.faults.first(faults.FilterIgnored, "list", call.resource.name):
            rows = [row for row in rows if matches(_facts(row))]
    chosen, following = page(rows, call.query, emulator.settings)
    chosen = _skip(call, chosen)
    values = [entity(row, call.base_url, call.version) for row in chosen]
    url = f"{call.base_url}/transcriptions"
    body = envelope(values, following, url, call.query, emulator.settings)
    return shown(body, headers=call.retry_after(unfinished=any(not row.finished for row in chosen)))


def _facts(row: Transcription) -> dict[str, filters.Value]:
    return {
        "displayName": row.display_name,
        "description": row.description,
        # The service shows and compares whole seconds.
        "createdDateTime": float(int(row.created_at)),
        "lastActionDateTime": float(int(row.last_action_at)),
        "status": row.status,
        "locale": row.locale,
    }


def _filter(call: Call, text: str, properties: Any) -> filters.Predicate:
    guesses = call.emulator.settings.guesses
    return filters.parse(
        text, properties, parentheses=guesses.filter_parentheses, doubled_quotes=guesses.filter_doubled_quotes
    )


def _skip(call: Call, values: Any) -> Any:
    fault = call.emulator.faults.first(faults.ItemsSkipped, call.operation, call.resource.name)
    return values if fault is None else values[fault.count :]


async def get(call: Call) -> Response:
    """One transcription."""
    row = call.transcription()
    headers = call.retry_after(unfinished=not row.finished)
    return shown(entity(row, call.base_url, call.version), headers=headers)


async def update(call: Call) -> Response:
    """Change what may be changed."""
    media_type = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in {"application/json", "application/merge-patch+json"}:
        raise ServiceError("UnsupportedMediaType", "The request body must be a JSON merge patch.")
    row = call.transcription()
    body = validation.json_object(call.body)
    unknown = set(body) - {"displayName", "description", "customProperties", "project"}
    if unknown or ("project" in body and call.version < "2025-10-15"):
        raise invalid(f"These properties cannot be changed: {', '.join(sorted(unknown) or ['project'])}.")
    changes: dict[str, Any] = {}
    if "displayName" in body:
        changes["display_name"] = validation.display_name(body, call.emulator.settings, required=True)
    if "description" in body:
        changes["description"] = body["description"]
        if not isinstance(body["description"], str | None):
            raise invalid("The property transcription.description must be a text.", target="description")
    if "customProperties" in body:
        custom = validation.custom_properties(body)
        changes["custom_properties"] = None if custom is None else encode(custom).decode()
    if changes:
        call.emulator.store.change(row.id, **changes)
    row = call.transcription()
    headers = call.retry_after(unfinished=not row.finished)
    return shown(entity(row, call.base_url, call.version), headers=headers)


async def delete(call: Call) -> Response:
    """Delete an ended transcription; an unknown one counts as deleted."""
    row = call.emulator.find(call.resource.name, call.request.path_params["id"])
    if row is not None and not row.finished:
        status = call.emulator.settings.guesses.delete_not_allowed_status
        message = "The transcription task hasn't finished yet."
        code = "Conflict" if status == 409 else "InvalidRequest"
        raise ServiceError(code, message, inner="DeleteNotAllowed", status=status)
    if row is not None:
        call.emulator.delete(row)
    return Response(status_code=204)


async def locales(_: Call) -> Response:
    """The locales that can be named."""
    return shown({"Submit": SUBMIT, "Transcribe": TRANSCRIBE})


async def list_files(call: Call) -> Response:
    """A page of the files of a transcription, with fresh links."""
    row, results = call.transcription(), call.emulator.results
    minutes = _sas_minutes(call, row)
    entries = results.entries(row)
    if (text := call.query.get("filter")) is not None:
        matches = _filter(call, text, filters.FILES)
        if not call.emulator.faults.first(faults.FilterIgnored, "list_files", call.resource.name):
            created = float(int(row.ended_at or 0))
            entries = [
                entry
                for entry in entries
                if matches({"name": entry.name, "kind": entry.kind, "createdDateTime": created})
            ]
    chosen, following = page(entries, call.query, call.emulator.settings)
    chosen = _skip(call, chosen)
    values = [_file(call, row, entry, minutes) for entry in chosen]
    url = f"{call.base_url}/transcriptions/{row.id}/files"
    body = envelope(values, following, url, call.query, call.emulator.settings)
    return shown(body, headers=call.retry_after(unfinished=not row.finished))


async def get_file(call: Call) -> Response:
    """One file, with a fresh link."""
    row, results = call.transcription(), call.emulator.results
    minutes = _sas_minutes(call, row)
    wanted = call.request.path_params["file_id"]
    found: Entry | None = next((e for e in results.entries(row) if results.file_id(row, e) == wanted), None)
    if found is None:
        raise not_found("file")
    return shown(_file(call, row, found, minutes))


def _file(call: Call, row: Transcription, entry: Entry, sas_minutes: int) -> dict[str, Any]:
    return call.emulator.results.shown(
        row,
        entry,
        base_url=call.base_url,
        root_url=call.root_url,
        version=call.version,
        sas_minutes=sas_minutes,
    )


def _sas_minutes(call: Call, row: Transcription) -> int:
    default, guesses = 12 * 60, call.emulator.settings.guesses
    if "sasLifetimeMinutes" not in call.query:
        return default
    minutes = whole_number(call.query, "sasLifetimeMinutes", default)
    if (
        row.destination_url is not None
        or not guesses.sas_shortest_minutes <= minutes <= guesses.sas_longest_minutes
    ):
        message = "sasLifetimeMinutes is out of range, or the results do not lie in storage of the service."
        raise invalid(message, "InvalidSasValidityDuration", target="sasLifetimeMinutes")
    return minutes
