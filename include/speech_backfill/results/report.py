"""Reads a transcription's report, which lists every file of it; it takes the report's word and checks nothing against it."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from speech_backfill.results.errors import InvalidReport, InvalidResultFile
from speech_backfill.results.lenient import parse_json
from speech_backfill.results.redaction import without_queries, without_query

ReportStatus = Literal["Succeeded", "Failed"]


@dataclass(frozen=True, slots=True)
class ReportDetail:
    """What a report says of one audio file."""

    source_url: str
    """The URL as submitted, without its query; empty where the report names no file."""
    status: ReportStatus
    error_kind: str | None
    error_message: str | None
    """Free of queries, too: the service may quote the URL that it could not fetch."""


def read_report(raw: bytes) -> tuple[ReportDetail, ...]:
    """The files that a report lists, in its order.

    Microsoft's own clients disagree about the key case (camelCase, PascalCase), about the name of the URL (`source`,
    `sourceUrl` in version 3.0) and about the counts' type, so keys are matched without case and the counts are not read
    at all: the list is the truth. A file counts as Succeeded only where the report says just that.
    """
    body = raw.removeprefix(codecs.BOM_UTF8)
    if not body.strip():
        raise InvalidReport("it is empty")
    try:
        report = parse_json(body)
    except InvalidResultFile as error:
        raise InvalidReport(error.reason) from None
    if not isinstance(report, dict):
        raise InvalidReport("it holds no object")
    details = _without_case(report).get("details")
    if details is None and not any("transcriptionscount" in key.lower() for key in report):
        raise InvalidReport("it is JSON but no report: it has neither details nor counts")
    if not isinstance(details, list | None):
        raise InvalidReport("its details are no list")
    return tuple(_detail(one) for one in details or () if one is not None)


def _detail(value: object) -> ReportDetail:
    if not isinstance(value, dict):
        raise InvalidReport("its details list something that is no object")
    detail = _without_case(value)
    status = _text(detail, "status")
    error_kind = _text(detail, "errorkind")
    error_message = _text(detail, "errormessage")
    url = without_query(_text(detail, "source") or _text(detail, "sourceurl") or "")
    if status is not None and status.lower() == "succeeded":
        return ReportDetail(url, "Succeeded", error_kind, error_message)
    if error_message is None and (status is None or status.lower() != "failed"):
        error_message = f"The report gives no reason; its status is {status or 'absent'}."
    return ReportDetail(url, "Failed", error_kind, error_message)


def _without_case(value: Mapping[str, object]) -> Mapping[str, object]:
    return {name.lower(): one for name, one in value.items()}


def _text(detail: Mapping[str, object], name: str) -> str | None:
    value = detail.get(name)
    if not isinstance(value, str) or not value:
        return None
    text = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return without_queries(text)
