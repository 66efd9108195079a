"""Which audio file a result file belongs to, read without decoding the rest of it."""

from __future__ import annotations

import re

import msgspec

from speech_backfill.results.redaction import without_query


class _Source(msgspec.Struct, gc=False):
    source: str | None = None


_STATED = re.compile(rb'"source"\s*:\s*("(?:[^"\\]|\\.)*")')
_HEAD_BYTES = 65_536

_decoder = msgspec.json.Decoder(_Source)


def source_of(raw: bytes) -> str | None:
    """The `source` of a result file without its query, spoilt files included where it can be read; None where not."""
    try:
        source = _decoder.decode(raw.removeprefix(b"\xef\xbb\xbf")).source
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        source = _stated(raw)
    return without_query(source) if source else None


def _stated(raw: bytes) -> str | None:
    """The source that a spoilt file states near its beginning: its audio file then fails with a reason, not nameless."""
    found = _STATED.search(raw, 0, _HEAD_BYTES)
    if found is None:
        return None
    try:
        return msgspec.json.decode(found[1], type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
