"""Bytes of one result file to a `ResultFile`; it never lets anything but InvalidResultFile out and never writes."""

from __future__ import annotations

import codecs
import math

import msgspec

from speech_backfill.results.errors import InvalidResultFile
from speech_backfill.results.lenient import read_leniently
from speech_backfill.results.model import ResultFile

MAX_RESULT_BYTES = 1 << 30
"""A day of audio with all word times stays under a tenth of this; more could not be held in memory beside a merge."""

_DECODER = msgspec.json.Decoder(ResultFile)


def decode_result(raw: bytes) -> ResultFile:
    """Decode one result file of any API version from 3.0 on.

    Files that follow the contract take the fast way. Anything else that is still recognisably a result file (numbers as
    strings, milliseconds or ISO durations without ticks, nulls, lone surrogates, NaN) is read leniently: an unusable
    number becomes an absent one, but text is never dropped. The rest raises InvalidResultFile.
    """
    if len(raw) > MAX_RESULT_BYTES:
        raise InvalidResultFile(f"it has {len(raw):,} bytes, more than the {MAX_RESULT_BYTES:,} allowed")
    body = raw.removeprefix(codecs.BOM_UTF8)
    if not body or body.isspace():
        raise InvalidResultFile("it is empty")
    try:
        result = _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        result = read_leniently(body)
    else:
        if math.isnan(result.duration_ticks) and b'"duration"' in body:
            # Only an ISO duration is left, and only the lenient reader knows those.
            result = read_leniently(body)
    if result.source is None and result.combined_phrases is None and result.phrases is None:
        raise InvalidResultFile(
            "it is JSON but no result file: source, combinedRecognizedPhrases and recognizedPhrases are all absent"
        )
    return result
