"""Which audio file a result file belongs to, read without decoding the rest of it."""

from __future__ import annotations

import msgspec

from speech_backfill.results.redaction import without_query


class _Source(msgspec.Struct, gc=False):
    source: str | None = None


_decoder = msgspec.json.Decoder(_Source)


def source_of(raw: bytes) -> str | None:
    """The `source` of a result file without its query; None where the file is no JSON object that has one."""
    try:
        source = _decoder.decode(raw.removeprefix(b"\xef\xbb\xbf")).source
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return without_query(source) if source else None
