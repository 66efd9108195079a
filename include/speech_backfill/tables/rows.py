"""A row of the outcomes table as a typed value; its fields are the table's columns, which a test holds together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from speech_backfill.model import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """What became of one audio file; `speech_backfill.tables.schema` says what each field means. Times know their zone."""

    file_id: str
    audio_url: str
    audio_etag: str | None = None
    size_bytes: int | None = None
    last_modified: datetime | None = None
    outcome: Outcome
    error_code: str | None = None
    error_message: str | None = None
    can_retry: bool = False
    transcribed_in: str | None = None
    duration_ms: int | None = None
    channels: int | None = None
    phrases: int | None = None
    words: int | None = None
    locale: str | None = None
    options_id: str | None = None
    resource: str | None = None
    transcription_id: str | None = None
    attempt: int | None = None
    chunk_id: str | None = None
    manifest_position: int | None = None
    manifest_columns: Mapping[str, str] = field(default_factory=dict)
    result_object: str | None = None
    part: str | None = None
    merged_at: datetime | None = None
