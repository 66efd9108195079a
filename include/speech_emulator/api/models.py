"""Base models: a few per English locale with stable ids, so that a model can be named in a submission."""

import uuid
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from speech_emulator import filters
from speech_emulator.api.gate import Call, operation, shown
from speech_emulator.clock import stamp
from speech_emulator.errors import not_found
from speech_emulator.locales import SUBMIT
from speech_emulator.paging import envelope, page

_CREATED = 1_735_689_600.0
_NAMESPACE = uuid.UUID("6f5b3d1e-9a0c-4d27-8e64-0b7c7c5f2a11")


def routes() -> list[Route]:
    """The routes of this group."""
    return [
        operation("/models/base", "GET", "models", list_models),
        operation("/models/base/{id}", "GET", "get_model", get_model),
        operation("/models", "GET", "custom_models", list_custom),
    ]


def _model(locale: str, base_url: str, version: str) -> dict[str, Any]:
    identity = uuid.uuid5(_NAMESPACE, locale)
    return {
        "self": f"{base_url}/models/base/{identity}?api-version={version}",
        "displayName": "20250101 Emulated",
        "description": f"{locale} base model of the emulator",
        "locale": locale,
        "createdDateTime": stamp(_CREATED),
        "lastActionDateTime": stamp(_CREATED),
        "status": "Succeeded",
        "properties": {
            "deprecationDates": {"transcriptionDateTime": "2037-01-15T00:00:00Z"},
            "features": {"supportsTranscriptionsSubmit": True, "supportsTranscriptionsTranscribe": False},
        },
    }


def _listed(call: Call, models: list[dict[str, Any]], path: str) -> Response:
    if (text := call.query.get("filter")) is not None:
        matches = filters.parse(text, filters.MODELS)
        dates = {"createdDateTime": _CREATED, "lastActionDateTime": _CREATED}
        models = [model for model in models if matches({**model, **dates})]
    chosen, following = page(models, call.query, call.emulator.settings)
    body = envelope(list(chosen), following, f"{call.base_url}{path}", call.query, call.emulator.settings)
    return shown(body)


def is_known(uri: str) -> bool:
    """Whether a URI names one of the base models, at whatever address."""
    wanted = uri.partition("?")[0].rpartition("/")[2]
    return any(str(uuid.uuid5(_NAMESPACE, locale)) == wanted for locale in SUBMIT)


async def list_models(call: Call) -> Response:
    """The base models, a page at a time."""
    return _listed(call, [_model(locale, call.base_url, call.version) for locale in SUBMIT], "/models/base")


async def list_custom(call: Call) -> Response:
    """No custom models: nothing can be trained here."""
    return _listed(call, [], "/models")


async def get_model(call: Call) -> Response:
    """One base model."""
    wanted = call.id()
    for locale in SUBMIT:
        if str(uuid.uuid5(_NAMESPACE, locale)) == wanted:
            return shown(_model(locale, call.base_url, call.version))
    raise not_found("model")
