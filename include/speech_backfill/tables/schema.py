"""The tables' columns, each with its sentence: what is written, read and documented follows from here; nothing else lives here.

Only types that pandas, DuckDB and Spark all read as they are: no unsigned integers, no views, no null type, times in
microseconds and UTC. The partition key is a directory, not a column.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import pyarrow as pa

SCHEMA_VERSION: Final = 1
"""Rises when a column changes its meaning or goes away; a new nullable column does not raise it."""

VERSION_KEY: Final = "speech_backfill.schema_version"

TableName = Literal["outcomes", "transcripts", "phrases", "words"]

_STRING = pa.string()
_INT32 = pa.int32()
_INT64 = pa.int64()
_FLOAT = pa.float32()
_BOOL = pa.bool_()
_TIME = pa.timestamp("us", tz="UTC")
_STRINGS = pa.map_(pa.string(), pa.string())


def _required(name: str, kind: pa.DataType, comment: str) -> pa.Field:
    return pa.field(name, kind, nullable=False, metadata={"comment": comment})


def _optional(name: str, kind: pa.DataType, comment: str) -> pa.Field:
    return pa.field(name, kind, nullable=True, metadata={"comment": comment})


def _table(comment: str, *columns: pa.Field) -> pa.Schema:
    return pa.schema(columns, metadata={"comment": comment, VERSION_KEY: str(SCHEMA_VERSION)})


_FILE_ID = _required(
    "file_id",
    _STRING,
    "Identity of the audio file: 32 hex digits made of its URL, its content version and its options.",
)
_AUDIO_URL = _required(
    "audio_url", _STRING, "URL of the audio file, never with a query, so never with a SAS."
)
_CHANNEL = _required("channel", _INT32, "Channel of the audio, counted from 0.")
_PHRASE_INDEX = _required(
    "phrase_index", _INT32, "Position of the phrase in its result file, counted from 0 over all channels."
)

OUTCOMES: Final = _table(
    "One row for every audio file of the manifest: what became of it. The three outcomes add up to the manifest.",
    _FILE_ID,
    _AUDIO_URL,
    _optional("audio_etag", _STRING, "ETag of the blob when the manifest was made."),
    _optional("size_bytes", _INT64, "Size of the blob when the manifest was made."),
    _optional("last_modified", _TIME, "When the blob was last changed, as seen when the manifest was made."),
    _required(
        "outcome",
        _STRING,
        "'transcribed', 'failed' (with a reason) or 'missing' (submitted, but neither result nor reason came back).",
    ),
    _optional("error_code", _STRING, "Short reason of a failure, the service's own word where it gave one."),
    _optional("error_message", _STRING, "Reason of a failure in a sentence."),
    _required("can_retry", _BOOL, "Whether submitting the file again may help."),
    _optional(
        "transcribed_in",
        _STRING,
        "Partition that holds the rows of a file that was transcribed before; null: this partition holds them.",
    ),
    _optional("duration_ms", _INT64, "Duration of the audio as the service measured it."),
    _optional("channels", _INT32, "Number of channels that have a transcript."),
    _optional("phrases", _INT32, "Number of rows of this file in phrases."),
    _optional("words", _INT32, "Number of rows of this file in words."),
    _optional(
        "locale", _STRING, "Locale of the speech: the one that was found, else the one that was asked for."
    ),
    _optional("options_id", _STRING, "Fingerprint of the options that the file was submitted with."),
    _optional("resource", _STRING, "Speech resource (connection) that transcribed the file."),
    _optional("transcription_id", _STRING, "The service's id of the transcription that held the file."),
    _optional("attempt", _INT32, "Which submission of the chunk this outcome comes from, counted from 1."),
    _optional("chunk_id", _STRING, "Chunk that the file was submitted in."),
    _optional("manifest_position", _INT64, "Position of the file in the manifest, counted from 0."),
    _optional(
        "manifest_columns",
        _STRINGS,
        "Columns of the manifest that the project does not know, carried as they are.",
    ),
    _optional("result_object", _STRING, "Object in the store that holds the raw result JSON of the file."),
    _optional(
        "part",
        _STRING,
        "Name, without suffix, of the part files that hold the file's rows in the other tables; null where there are none.",
    ),
    _optional("merged_at", _TIME, "When the service ended the transcription that this outcome comes from."),
)

TRANSCRIPTS: Final = _table(
    "One row for every channel of every transcribed audio file: the whole text.",
    _FILE_ID,
    _AUDIO_URL,
    _CHANNEL,
    _optional(
        "locale",
        _STRING,
        "Locale that most of the channel's speech is in; null without language identification.",
    ),
    _optional(
        "display",
        _STRING,
        "The text for reading: capitals, punctuation, numbers in digits, profanity as asked.",
    ),
    _optional("lexical", _STRING, "The words as they were spoken; null for models that do not give them."),
    _optional(
        "itn", _STRING, "The spoken words with numbers, dates and the like written in their usual form."
    ),
    _optional("masked_itn", _STRING, "Like itn, with profanity masked."),
    _optional("duration_ms", _INT64, "Duration of the whole audio file, silence included."),
    _required("speech_ms", _INT64, "Sum of the durations of the channel's phrases."),
    _required("phrase_count", _INT32, "Number of phrases in the channel."),
    _optional(
        "confidence",
        _FLOAT,
        "Mean confidence of the channel's phrases, each weighted by its duration, from 0 to 1.",
    ),
)

PHRASES: Final = _table(
    "One row for every recognised phrase, in its best reading: the alternative with the highest confidence.",
    _FILE_ID,
    _AUDIO_URL,
    _CHANNEL,
    _PHRASE_INDEX,
    _optional("speaker", _INT32, "Number of the speaker within the file; null without diarization."),
    _optional("locale", _STRING, "Locale found for the phrase; null without language identification."),
    _optional(
        "recognition_status", _STRING, "The service's word for how the phrase went, normally 'Success'."
    ),
    _optional("offset_ms", _INT64, "Start of the phrase from the start of the audio."),
    _optional("duration_ms", _INT64, "Duration of the phrase."),
    _optional("confidence", _FLOAT, "The service's confidence in this reading, from 0 to 1."),
    _optional(
        "display",
        _STRING,
        "The text for reading: capitals, punctuation, numbers in digits, profanity as asked.",
    ),
    _optional("lexical", _STRING, "The words as they were spoken; null for models that do not give them."),
    _optional(
        "itn", _STRING, "The spoken words with numbers, dates and the like written in their usual form."
    ),
    _optional("masked_itn", _STRING, "Like itn, with profanity masked."),
)

WORDS: Final = _table(
    "One row for every word with its times, where word times were asked for: first a phrase's lexical words, then its "
    "display words.",
    _FILE_ID,
    _CHANNEL,
    _PHRASE_INDEX,
    _required("word_index", _INT32, "Position of the word in its phrase and form, counted from 0."),
    _required(
        "form", _STRING, "'lexical': as spoken. 'display': as in the text for reading, punctuation included."
    ),
    _optional("word", _STRING, "The word."),
    _optional("offset_ms", _INT64, "Start of the word from the start of the audio."),
    _optional(
        "duration_ms", _INT64, "Duration of the word; the service is known to give negative ones at times."
    ),
    _optional(
        "confidence", _FLOAT, "The service's confidence in the word, from 0 to 1; null for display words."
    ),
)

TABLES: Final[Mapping[str, pa.Schema]] = MappingProxyType(
    {"outcomes": OUTCOMES, "transcripts": TRANSCRIPTS, "phrases": PHRASES, "words": WORDS}
)


def comment_of(described: pa.Field | pa.Schema) -> str:
    """The sentence that describes a column or a table."""
    return str(described.metadata[b"comment"].decode())
