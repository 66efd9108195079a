"""The nouns of the core: audio files, options, chunks, transcriptions. Values only; nothing here does I/O."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Literal, Protocol

from speech_backfill.errors import OptionsError

MAX_FILES_PER_TRANSCRIPTION = 1000
"""Microsoft's limit on `contentUrls` (2025-10-15 specification, Transcription.contentUrls)."""

MAX_FILE_BYTES = 1_000_000_000
"""The lower of the two published limits per file: 1 GB on the quotas page, 2.5 GB in the specification."""

_LOCALE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2}|-[0-9]{3})?(-[a-z]+)?")

ProfanityMode = Literal["None", "Removed", "Tags", "Masked"]
PunctuationMode = Literal["None", "Dictated", "Automatic", "DictatedAndAutomatic"]
LanguageIdentificationMode = Literal["Continuous", "Single"]

PROFANITY_MODES: tuple[ProfanityMode, ...] = ("None", "Removed", "Tags", "Masked")
PUNCTUATION_MODES: tuple[PunctuationMode, ...] = ("None", "Dictated", "Automatic", "DictatedAndAutomatic")


class Clock(Protocol):
    """Where the core takes the time from: callers pass it, so tests own it."""

    def __call__(self) -> float:
        """Seconds since 1970, UTC."""
        ...


class Outcome(StrEnum):
    """What became of one audio file; every file of a manifest ends as exactly one of these."""

    TRANSCRIBED = "transcribed"
    FAILED = "failed"
    MISSING = "missing"


class Status(StrEnum):
    """What Azure says of a transcription, in its own words; there is no cancelled."""

    NOT_STARTED = "NotStarted"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def ended(self) -> bool:
        """Whether the service will not work on it any more."""
        return self in {Status.SUCCEEDED, Status.FAILED}


@dataclass(frozen=True, slots=True)
class TranscriptionOptions:
    """What is asked of the service for an audio file. Files with equal options may share a transcription.

    Raises OptionsError for values that the service is documented to refuse.
    """

    locale: str = "en-US"
    candidate_locales: tuple[str, ...] = ()
    language_identification: LanguageIdentificationMode = "Continuous"
    max_speakers: int | None = None
    """None: no diarization. 2 to 35 otherwise; the service wants mono audio then."""
    channels: tuple[int, ...] | None = None
    """None: the service's own default, channels 0 and 1."""
    word_times: bool = False
    display_word_times: bool = False
    profanity: ProfanityMode = "Masked"
    punctuation: PunctuationMode = "DictatedAndAutomatic"
    model: str | None = None
    """The URI of a custom or base model; None: the default model of the locale."""

    def __post_init__(self) -> None:
        for locale in (self.locale, *self.candidate_locales):
            if not _LOCALE.fullmatch(locale):
                raise OptionsError("locale", f"{locale!r} is no locale such as en-US or zh-Hans-CN")
        if self.candidate_locales:
            if self.locale not in self.candidate_locales:
                raise OptionsError("candidate_locales", f"they must hold the main locale {self.locale}")
            if self.language_identification == "Continuous" and not 2 <= len(self.candidate_locales) <= 10:
                raise OptionsError(
                    "candidate_locales", f"2 to 10 are allowed, not {len(self.candidate_locales)}"
                )
        if self.max_speakers is not None and not 2 <= self.max_speakers <= 35:
            raise OptionsError("max_speakers", f"2 to 35 are allowed, not {self.max_speakers}")
        if self.channels is not None and (not self.channels or min(self.channels) < 0):
            raise OptionsError("channels", "a list of channel numbers from 0 is needed")
        if self.profanity not in PROFANITY_MODES:
            raise OptionsError("profanity", f"{self.profanity!r} is none of {', '.join(PROFANITY_MODES)}")
        if self.punctuation not in PUNCTUATION_MODES:
            raise OptionsError(
                "punctuation", f"{self.punctuation!r} is none of {', '.join(PUNCTUATION_MODES)}"
            )

    def to_json(self) -> str:
        """The options as canonical JSON: equal options, equal text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> TranscriptionOptions:
        """Read what `to_json` wrote."""
        return cls.from_mapping(json.loads(text))

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> TranscriptionOptions:
        """Build options from plain values (lists become tuples); raises OptionsError for names that are no option."""
        known = {one.name for one in fields(cls)}
        for name in values:
            if name not in known:
                raise OptionsError(name, f"no such option; there are {', '.join(sorted(known))}")
        plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        return cls(**plain)  # type: ignore[arg-type]  # checked against the fields above and by __post_init__

    @property
    def options_id(self) -> str:
        """Sixteen hex digits that follow from the options' content."""
        return hashlib.blake2b(self.to_json().encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class AudioFile:
    """One blob to transcribe. *url* is canonical and carries no query."""

    url: str
    etag: str | None = None
    size_bytes: int | None = None
    modified_at: float | None = None
    """Seconds since 1970, UTC."""
    duration_ms: int | None = None
    residency: str | None = None
    """Only Speech resources of this tag may have it; None: the run's default."""
    manifest_columns: Mapping[str, str] = field(default_factory=dict)
    """Columns of the manifest that we do not know; they are carried into the outcomes table."""

    def file_id(self, options_id: str) -> str:
        """The file's identity: URL, content version (etag, else size and time) and options, as 32 hex digits."""
        version = self.etag or f"{self.size_bytes}@{self.modified_at}"
        return hashlib.blake2b(f"{self.url}\n{version}\n{options_id}".encode(), digest_size=16).hexdigest()


def chunk_id(file_ids: Iterable[str], *, options_id: str, salt: str = "", residency: str = "") -> str:
    """A chunk's id follows from its content, so whoever plans the same files meets the same ledger row.

    *salt* is empty but for `reprocess`, where it names the run that asked to pay again.
    """
    where = f"{residency}\n" if residency else ""
    digest = hashlib.blake2b(f"{options_id}\n{salt}\n{where}".encode(), digest_size=16)
    for one in file_ids:
        digest.update(one.encode())
    return digest.hexdigest()


def token(chunk: str, attempt: int) -> str:
    """The displayName by which a transcription is found again: letters, digits and hyphens only."""
    return f"speech-backfill-{chunk}-{attempt}"


@dataclass(frozen=True, slots=True)
class Shard:
    """The chunks that one mapped task handles. Small enough for an XCom: ids and counts, never files."""

    plan_id: str
    partition: str
    round: int
    """0 for the first submission, 1 and up for repairs."""
    index: int
    chunks: int
    files: int

    @property
    def label(self) -> str:
        """What a person reads beside the mapped task."""
        repair = f" · repair {self.round}" if self.round else ""
        return f"{self.partition}{repair} · shard {self.index + 1} · {self.files} files"

    def to_dict(self) -> dict[str, str | int]:
        """Plain values for an XCom."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Shard:
        """Read what `to_dict` wrote."""
        return cls(**values)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class TranscriptionRef:
    """Where a transcription is to be found: the resource (a connection's name) and Azure's id."""

    resource: str
    transcription_id: str
