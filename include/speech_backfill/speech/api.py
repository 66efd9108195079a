"""The wire format of batch transcription: request bodies out, answers in. Does no I/O; only this module knows JSON keys.

Written for api-versions 2024-11-15 and 2025-10-15, which agree in everything used here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlsplit

from speech_backfill.model import MAX_FILES_PER_TRANSCRIPTION, Status, TranscriptionOptions

BASE_PATH = "/speechtotext"

DELETE_NOT_ALLOWED = "DeleteNotAllowed"
"""The code of a DELETE on a transcription that has not ended."""

UNSUPPORTED_FILTER = "UnsupportedFilter"

UNSUPPORTED_PAGINATION = "UnsupportedPagination"

FILES_PAGE = 1000
"""How many files to ask for at once. The contract's limit is not known; by default a page has 100."""

RESULT_KIND = "Transcription"
REPORT_KIND = "TranscriptionReport"


Entry = TypeVar("Entry")


class Malformed(ValueError):
    """An answer is not what the contract promises; the client turns it into UnreadableAnswer."""


@dataclass(frozen=True, slots=True)
class Transcription:
    """One transcription as the service describes it. Times are seconds since 1970, UTC."""

    transcription_id: str
    url: str
    """Its address, without the query."""
    display_name: str
    status: Status
    created_at: float
    last_action_at: float | None
    """When the current status was entered."""
    custom_properties: Mapping[str, str] = field(default_factory=dict)
    duration_ms: int | None = None
    """Audio transcribed, known when it has ended."""
    error_code: str | None = None
    error_message: str | None = None
    files_url: str | None = None


@dataclass(frozen=True, slots=True)
class ResultEntry:
    """A file that the service made: the result of one audio file, or the report of all."""

    name: str
    kind: str
    content_url: str = field(repr=False)
    """Carries its own SAS: never logged, never stored."""
    size_bytes: int | None = None

    @property
    def is_result(self) -> bool:
        """Whether it is the JSON of one audio file."""
        return self.kind == RESULT_KIND

    @property
    def is_report(self) -> bool:
        """Whether it is the JSON that lists every file of the transcription."""
        return self.kind == REPORT_KIND


@dataclass(frozen=True, slots=True)
class Page(Generic[Entry]):
    """One page of a list and, where there is more, the address of the next."""

    values: tuple[Entry, ...]
    next_link: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error body: the innermost code, which is the telling one, and the message."""

    code: str
    message: str


def submit_path() -> str:
    """Where a submission is POSTed."""
    return f"{BASE_PATH}/transcriptions:submit"


def transcriptions_path(transcription_id: str = "") -> str:
    """The list of transcriptions, or one of them."""
    path = f"{BASE_PATH}/transcriptions"
    return f"{path}/{quote(transcription_id, safe='')}" if transcription_id else path


def files_path(transcription_id: str) -> str:
    """The list of a transcription's files."""
    return f"{transcriptions_path(transcription_id)}/files"


def submit_body(
    options: TranscriptionOptions,
    content_urls: Sequence[str],
    *,
    display_name: str,
    custom_properties: Mapping[str, str],
    time_to_live_hours: int,
) -> dict[str, Any]:
    """The JSON of a submission. Raises ValueError for what no caller may send: no URL, too many, the same twice."""
    if not 1 <= len(content_urls) <= MAX_FILES_PER_TRANSCRIPTION:
        raise ValueError(
            f"a transcription has 1 to {MAX_FILES_PER_TRANSCRIPTION} files, not {len(content_urls)}"
        )
    if len(set(content_urls)) != len(content_urls):
        raise ValueError("a transcription must not name an audio file twice")
    if not display_name:
        raise ValueError("a transcription needs its token as displayName")
    properties: dict[str, Any] = {
        "timeToLiveHours": time_to_live_hours,
        "wordLevelTimestampsEnabled": options.word_times,
        "displayFormWordLevelTimestampsEnabled": options.display_word_times,
        "profanityFilterMode": options.profanity,
        "punctuationMode": options.punctuation,
    }
    if options.channels is not None:
        properties["channels"] = list(options.channels)
    if options.max_speakers is not None:
        properties["diarization"] = {"enabled": True, "maxSpeakers": options.max_speakers}
    if options.candidate_locales:
        properties["languageIdentification"] = {
            "candidateLocales": list(options.candidate_locales),
            "mode": options.language_identification,
        }
    body: dict[str, Any] = {
        "displayName": display_name,
        "locale": options.locale,
        "contentUrls": list(content_urls),
        "properties": properties,
    }
    if custom_properties:
        body["customProperties"] = dict(custom_properties)
    if options.model is not None:
        body["model"] = {"self": options.model}
    return body


def list_filter(
    *,
    display_name: str | None = None,
    created_after: float | None = None,
    changed_after: float | None = None,
    status: Status | None = None,
) -> str | None:
    """The filter of a list; None where nothing narrows it. Quotes in a name are doubled, as OData has it."""
    terms = []
    if display_name is not None:
        quoted = display_name.replace("'", "''")
        terms.append(f"displayName eq '{quoted}'")
    for name, after in (("createdDateTime", created_after), ("lastActionDateTime", changed_after)):
        if after is not None:
            moment = datetime.fromtimestamp(int(after), UTC)
            terms.append(f"{name} ge {moment:%Y-%m-%dT%H:%M:%SZ}")
    if status is not None:
        terms.append(f"status eq '{status.value}'")
    return " and ".join(terms) or None


def parse_transcription(body: bytes | Mapping[str, Any]) -> Transcription:
    """Read a Transcription; raises Malformed. A status we do not know counts as running: never as an end."""
    values = _object(body)
    url = _text(values, "self").split("?", 1)[0]
    properties = values.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    error = properties.get("error")
    error = error if isinstance(error, Mapping) else {}
    links = values.get("links")
    files_url = links.get("files") if isinstance(links, Mapping) else None
    custom = values.get("customProperties")
    duration = properties.get("durationMilliseconds")
    last_action = values.get("lastActionDateTime")
    return Transcription(
        transcription_id=transcription_id(url),
        url=url,
        display_name=str(values.get("displayName") or ""),
        status=_status(_text(values, "status")),
        created_at=_moment(_text(values, "createdDateTime")),
        last_action_at=_moment(last_action) if isinstance(last_action, str) else None,
        custom_properties={str(k): str(v) for k, v in custom.items()} if isinstance(custom, Mapping) else {},
        duration_ms=int(duration) if isinstance(duration, int | float) else None,
        error_code=_optional(error.get("code")),
        error_message=_optional(error.get("message")),
        files_url=files_url.split("?", 1)[0] if isinstance(files_url, str) else None,
    )


def parse_transcriptions(body: bytes) -> Page[Transcription]:
    """Read one page of transcriptions. One that can't be read spoils the page: to skip it could mean to pay twice."""
    values, next_link = _page(body)
    return Page(tuple(parse_transcription(one) for one in values), next_link)


def parse_files(body: bytes) -> Page[ResultEntry]:
    """Read one page of a transcription's files."""
    values, next_link = _page(body)
    return Page(tuple(_result_entry(one) for one in values), next_link)


def parse_refusal(body: bytes, http_status: int) -> Refusal:
    """Read an error body: the service's shape, the gateway's ({"error": {…}}), or no JSON at all. Never raises."""
    try:
        values = json.loads(body)
    except ValueError:
        text = body[:500].decode(errors="replace").strip()
        return Refusal(f"Http{http_status}", text or "an empty answer")
    if not isinstance(values, Mapping):
        return Refusal(f"Http{http_status}", str(values)[:500])
    inner = values.get("error")
    error: Mapping[str, Any] = inner if isinstance(inner, Mapping) else values
    code = str(error.get("code") or f"Http{http_status}")
    message = str(error.get("message") or inner or "no message")
    while isinstance(error.get("innerError"), Mapping):
        error = error["innerError"]
        code = str(error.get("code") or code)
        message = str(error.get("message") or message)
    return Refusal(code, message)


def transcription_id(url: str) -> str:
    """The id in a transcription's address: the last segment of its path."""
    last = urlsplit(url).path.rstrip("/").rpartition("/")[2]
    if not last or last in {"transcriptions", "transcriptions:submit"}:
        raise Malformed("a transcription without an id in its `self`")
    return last


def _page(body: bytes) -> tuple[list[Any], str | None]:
    values = _object(body)
    entries = values.get("values")
    if not isinstance(entries, list):
        raise Malformed("a list without `values`")
    next_link = values.get("@nextLink")
    if next_link is not None and not isinstance(next_link, str):
        raise Malformed("an `@nextLink` that is no text")
    return entries, next_link or None


def _result_entry(value: Any) -> ResultEntry:
    values = _object(value)
    links = values.get("links")
    if not isinstance(links, Mapping):
        raise Malformed("a file without `links`")
    properties = values.get("properties")
    size = properties.get("size") if isinstance(properties, Mapping) else None
    return ResultEntry(
        name=str(values.get("name") or ""),
        kind=_text(values, "kind"),
        content_url=_text(links, "contentUrl"),
        size_bytes=int(size) if isinstance(size, int | float) else None,
    )


def _object(body: bytes | Any) -> Mapping[str, Any]:
    try:
        values = json.loads(body) if isinstance(body, bytes) else body
    except ValueError as error:
        raise Malformed("it is no JSON") from error
    if not isinstance(values, Mapping):
        raise Malformed("it is no JSON object")
    return values


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value:
        raise Malformed(f"`{key}` is absent")
    return value


def _optional(value: Any) -> str | None:
    return None if value is None else str(value)


def _status(word: str) -> Status:
    for status in Status:
        if status.value.lower() == word.lower():
            return status
    return Status.RUNNING


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Malformed(f"{text[:40]!r} is no time") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
