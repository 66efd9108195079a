"""Checks of submitted and patched bodies against the published rules; it reads the body and touches nothing else."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from speech_emulator.config import Settings
from speech_emulator.errors import ServiceError, invalid
from speech_emulator.locales import SUBMIT

API_VERSIONS = ("2024-11-15", "2025-10-15")
PUNCTUATION = ("None", "Dictated", "Automatic", "DictatedAndAutomatic")
PROFANITY = ("None", "Removed", "Tags", "Masked")
_FLAGS = ("wordLevelTimestampsEnabled", "displayFormWordLevelTimestampsEnabled")


@dataclass(frozen=True, slots=True, repr=False)
class Submission:
    """A submitted body that passed every check, defaults filled in; its URLs carry SAS, so it has no repr."""

    display_name: str
    description: str | None
    locale: str
    custom_properties: dict[str, str] | None
    model: str | None
    """URI of the model, or None for the default one."""
    project: str | None
    content_urls: tuple[str, ...]
    container_url: str | None
    destination_url: str | None
    properties: dict[str, Any]


def api_version(query: Mapping[str, str]) -> str:
    """The request's api-version, or the refusal of one that is missing or unknown."""
    version = query.get("api-version")
    if version in API_VERSIONS:
        return version
    problem = "is missing" if version is None else f"'{version}' is not supported"
    message = f"The api-version {problem}. The supported versions are {', '.join(API_VERSIONS)}."
    raise ServiceError("InvalidArgument", message, inner="InvalidParameterValue", target="api-version")


def json_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object."""
    if not body.strip():
        raise invalid("The request body is empty.", "EmptyRequest")
    if body.startswith(b"\xef\xbb\xbf"):
        raise invalid("The request body must be UTF-8 without a byte order mark.", "InvalidRequestBodyFormat")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise invalid("The request body is not valid JSON.", "InvalidRequestBodyFormat") from None
    if not isinstance(value, dict):
        raise invalid("The request body must be a JSON object.", "InvalidRequestBodyFormat")
    return value


def submission(body: dict[str, Any], settings: Settings, version: str) -> Submission:
    """Check a submit body as the service does and fill in its defaults."""
    name = display_name(body, settings, required=True)
    locale = body.get("locale")
    if not isinstance(locale, str) or not locale:
        raise invalid("The property transcription.locale is required.", target="locale")
    _check_locale(locale, settings)
    properties = body.get("properties")
    if not isinstance(properties, dict):
        raise invalid("The property transcription.properties is required.", target="properties")
    urls, container = _source(body, settings)
    destination = properties.get("destinationContainerUrl")
    if destination is not None:
        _check_uri(destination, "transcription.properties.DestinationContainerUrl")
        if not urlsplit(destination).query:
            message = "The property transcription.properties.DestinationContainerUrl is missing required query parameters."
            raise invalid(message)
    return Submission(
        display_name=name or "",
        description=_optional_text(body, "description"),
        locale=locale,
        custom_properties=custom_properties(body),
        model=_reference(body, "model", "InvalidModelUri"),
        project=_reference(body, "project", "InvalidProject") if version >= "2025-10-15" else None,
        content_urls=urls,
        container_url=container,
        destination_url=destination,
        properties=_properties(properties, locale, settings),
    )


def display_name(body: dict[str, Any], settings: Settings, *, required: bool) -> str | None:
    """The displayName, present and not empty, and no longer than configured."""
    name = body.get("displayName")
    if name is None and not required:
        return None
    if not isinstance(name, str) or not name:
        raise invalid("The property transcription.displayName is required.", target="displayName")
    longest = settings.guesses.display_name_longest
    if longest is not None and len(name) > longest:
        raise invalid(f"The property displayName must not be longer than {longest}.", target="displayName")
    return name


def custom_properties(body: dict[str, Any]) -> dict[str, str] | None:
    """At most 10 texts of at most 256 characters under keys of at most 64."""
    value = body.get("customProperties")
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise invalid("The property customProperties must map texts to texts.", target="customProperties")
    if len(value) > 10 or any(len(key) > 64 or len(text) > 256 for key, text in value.items()):
        message = "customProperties allows 10 entries, keys of 64 characters and values of 256 characters."
        raise invalid(message, target="customProperties")
    return value


def _optional_text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise invalid(f"The property transcription.{name} must be a text.", target=name)
    return value


def _reference(body: dict[str, Any], name: str, inner: str) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("self"), str):
        raise invalid(
            f"The property transcription.{name} must hold the URI of an entity in self.", inner, target=name
        )
    _check_uri(value["self"], f"transcription.{name}", inner)
    uri: str = value["self"]
    return uri


def _check_uri(value: object, name: str, inner: str = "InvalidPayload") -> None:
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        good = parts is not None and parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        message = f"Only absolute URIs containing a valid scheme, authority and path are allowed for {name}."
        raise invalid(message, inner, target=name)


def _check_locale(locale: object, settings: Settings) -> None:
    if not isinstance(locale, str) or (settings.guesses.check_locale and locale not in SUBMIT):
        raise invalid(f"The locale '{locale}' is not supported.", "InvalidLocale", target="locale")


def _source(body: dict[str, Any], settings: Settings) -> tuple[tuple[str, ...], str | None]:
    given = [name for name in ("contentUrls", "contentContainerUrl", "dataset") if body.get(name) is not None]
    if len(given) != 1:
        message = "Exactly one of contentUrls, contentContainerUrl and dataset must be given."
        raise invalid(message, "OnlyOneOfUrlsOrContainerOrDataset")
    if given == ["dataset"]:
        raise invalid("The dataset does not exist in this subscription.", "InvalidDataset", target="dataset")
    if given == ["contentContainerUrl"]:
        container = body["contentContainerUrl"]
        _check_uri(container, "transcription.contentContainerUrl")
        return (), container
    urls = body["contentUrls"]
    if not isinstance(urls, list) or not urls:
        raise invalid(
            "At least one recordings URI is required.", "InvalidRecordingsUri", target="contentUrls"
        )
    if len(urls) > settings.limits.content_urls:
        message = (
            f"At most {settings.limits.content_urls} recordings URIs are allowed; {len(urls)} were given."
        )
        raise invalid(message, "ExceededNumberOfRecordingsUris", target="contentUrls")
    for url in urls:
        _check_uri(url, "transcription.contentUrls", "InvalidRecordingsUri")
    return tuple(dict.fromkeys(urls) if settings.guesses.duplicate_urls == "drop" else urls), None


def _properties(given: dict[str, Any], locale: str, settings: Settings) -> dict[str, Any]:
    reasons: list[str] = []
    filled: dict[str, Any] = {}
    for flag in _FLAGS:
        filled[flag] = given.get(flag, False)
        if not isinstance(filled[flag], bool):
            reasons.append(f"{flag} must be true or false")
    channels = given.get("channels")
    filled["channels"] = [0, 1] if channels is None else channels
    if not _are_channels(filled["channels"]):
        message = "The channels must be a list of different numbers from 0 on."
        raise invalid(message, "InvalidChannels", target="channels")
    for name, allowed, default in (
        ("punctuationMode", PUNCTUATION, "DictatedAndAutomatic"),
        ("profanityFilterMode", PROFANITY, "Masked"),
    ):
        filled[name] = given.get(name) or default
        if filled[name] not in allowed:
            reasons.append(f"{name} must be one of {', '.join(allowed)}")
    hours = given.get("timeToLiveHours")
    if not isinstance(hours, int) or isinstance(hours, bool) or not 6 <= hours <= 744:
        reasons.append("timeToLiveHours is required and must lie between 6 and 744")
    filled["timeToLiveHours"] = hours
    if (diarization := given.get("diarization")) is not None:
        filled["diarization"] = _diarization(diarization, reasons)
    if reasons:
        raise invalid(" OR ".join(f"{reason}." for reason in reasons))
    if (identification := given.get("languageIdentification")) is not None:
        filled["languageIdentification"] = _identification(identification, locale, settings)
    return filled


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_channels(value: object) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value or len(value) > 32:
        return False
    return all(_is_whole(channel) and 0 <= channel < math.inf for channel in value) and len(
        set(value)
    ) == len(value)


def _diarization(value: object, reasons: list[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("enabled", False), bool):
        reasons.append("diarization must hold enabled (true or false) and maxSpeakers")
        return {}
    filled = {"enabled": value.get("enabled", False), "maxSpeakers": value.get("maxSpeakers", 2)}
    if not _is_whole(filled["maxSpeakers"]) or not 2 <= filled["maxSpeakers"] <= 35:
        reasons.append("diarization.maxSpeakers must lie between 2 and 35")
    return filled


def _identification(value: object, locale: str, settings: Settings) -> dict[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("candidateLocales"), list):
        message = "languageIdentification.candidateLocales is required."
        raise invalid(message, target="languageIdentification")
    candidates, mode = value["candidateLocales"], value.get("mode") or "Continuous"
    if mode not in {"Continuous", "Single"}:
        raise invalid(
            "languageIdentification.mode must be Continuous or Single.", target="languageIdentification"
        )
    for candidate in candidates:
        _check_locale(candidate, settings)
    if mode == "Continuous" and not (2 <= len(candidates) <= 10 and locale in candidates):
        message = (
            "Continuous identification takes 2 to 10 candidateLocales, the transcription's locale among them."
        )
        raise invalid(message, target="languageIdentification")
    if mode == "Single" and not candidates:
        raise invalid("languageIdentification.candidateLocales is empty.", target="languageIdentification")
    filled: dict[str, Any] = {"candidateLocales": candidates, "mode": mode}
    if (mapping := value.get("speechModelMapping")) is not None:
        if not isinstance(mapping, dict) or not set(mapping) <= set(candidates):
            message = "speechModelMapping takes only keys that are candidateLocales."
            raise invalid(message, target="languageIdentification")
        filled["speechModelMapping"] = mapping
    return filled
