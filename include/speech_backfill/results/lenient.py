"""Reads result files that are valid in spirit only: slow, forgiving about numbers, never about lost text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import TypeGuard, TypeVar

from speech_backfill.results.errors import InvalidResultFile
from speech_backfill.results.model import (
    NAN,
    TICKS_PER_MS,
    Alternative,
    CombinedPhrase,
    DisplayWord,
    Phrase,
    ResultFile,
    Word,
)

_TICKS_PER_SECOND = 10_000_000
_ISO_DURATION = re.compile(
    r"(?P<sign>-?)P(?:(?P<days>\d{1,6})D)?(?:T(?:(?P<hours>\d{1,9})H)?(?:(?P<minutes>\d{1,9})M)?(?:(?P<seconds>\d{1,12}(?:\.\d*)?)S)?)?",
    re.ASCII,
)

_Object = Mapping[str, object]
_T = TypeVar("_T")


def read_leniently(body: bytes) -> ResultFile:
    """Read a result file whose values need forgiving; raises InvalidResultFile when text would be lost or guessed."""
    return _result(parse_json(body))


def parse_json(body: bytes) -> object:
    """*body* as plain values: every number a float, NaN and infinities None, lone surrogates U+FFFD."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidResultFile(f"it is not UTF-8 (byte {error.start})") from None
    try:
        return json.loads(text, parse_int=float, parse_constant=lambda _: None, strict=False)
    except json.JSONDecodeError as error:
        raise InvalidResultFile(
            f"it is not JSON ({error.msg}, character {error.pos} of {len(text)})"
        ) from None
    except RecursionError:
        raise InvalidResultFile("it is nested too deeply to be a result file") from None


def _result(value: object) -> ResultFile:
    if not _is_object(value):
        raise InvalidResultFile(f"it holds {_kind(value)} instead of an object")
    return ResultFile(
        source=_text(value, "source"),
        duration_ticks=_ticks(value, "duration"),
        combined_phrases=_optional_list(value, "combinedRecognizedPhrases", _combined),
        phrases=_optional_list(value, "recognizedPhrases", _phrase),
    )


def _combined(value: _Object) -> CombinedPhrase:
    return CombinedPhrase(
        channel=_count(value, "channel") or 0,
        display=_text(value, "display"),
        lexical=_text(value, "lexical"),
        itn=_text(value, "itn"),
        masked_itn=_text(value, "maskedITN"),
    )


def _phrase(value: _Object) -> Phrase:
    return Phrase(
        offset_ticks=_ticks(value, "offset"),
        duration_ticks=_ticks(value, "duration"),
        channel=_count(value, "channel") or 0,
        speaker=_count(value, "speaker"),
        locale=_text(value, "locale"),
        status=_text(value, "recognitionStatus"),
        alternatives=_optional_list(value, "nBest", _alternative),
    )


def _alternative(value: _Object) -> Alternative:
    return Alternative(
        confidence=_number(value.get("confidence")),
        display=_text(value, "display"),
        lexical=_text(value, "lexical"),
        itn=_text(value, "itn"),
        masked_itn=_text(value, "maskedITN"),
        words=_optional_list(value, "words", _word),
        display_words=_optional_list(value, "displayWords", _display_word),
    )


def _word(value: _Object) -> Word:
    return Word(
        offset_ticks=_ticks(value, "offset"),
        duration_ticks=_ticks(value, "duration"),
        text=_text(value, "word"),
        confidence=_number(value.get("confidence")),
    )


def _display_word(value: _Object) -> DisplayWord:
    return DisplayWord(
        offset_ticks=_ticks(value, "offset"),
        duration_ticks=_ticks(value, "duration"),
        text=_text(value, "displayText"),
        confidence=_number(value.get("confidence")),
    )


def _optional_list(owner: _Object, name: str, read: Callable[[_Object], _T]) -> list[_T] | None:
    values = owner.get(name)
    if values is None:
        return None
    if not isinstance(values, list):
        raise InvalidResultFile(f"{name} holds {_kind(values)} instead of a list")
    read_values = []
    for value in values:
        if not _is_object(value):
            raise InvalidResultFile(f"{name} lists {_kind(value)} instead of an object")
        read_values.append(read(value))
    return read_values


def _text(owner: _Object, name: str) -> str | None:
    value = owner.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidResultFile(f"{name} holds {_kind(value)} instead of text")
    # No Parquet reader takes half a surrogate pair; the rest of the text is worth keeping.
    return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _ticks(owner: _Object, name: str) -> float:
    """The first usable of ticks, milliseconds and the ISO duration."""
    for ticks_name in (f"{name}InTicks", f"{name}Ticks"):
        ticks = _number(owner.get(ticks_name))
        if not math.isnan(ticks):
            return ticks
    ms = _number(owner.get(f"{name}Milliseconds"))
    return _iso_ticks(owner.get(name)) if math.isnan(ms) else ms * TICKS_PER_MS


def _iso_ticks(value: object) -> float:
    matched = _ISO_DURATION.fullmatch(value) if isinstance(value, str) else None
    if matched is None or not any(matched.group("days", "hours", "minutes", "seconds")):
        return NAN
    days, hours, minutes, seconds = (
        float(part or 0) for part in matched.group("days", "hours", "minutes", "seconds")
    )
    total = round((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * _TICKS_PER_SECOND)
    return float(-total if matched["sign"] else total)


def _number(value: object) -> float:
    """A finite number, given as one or spelled in a string; NaN otherwise."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return NAN
    return value if isinstance(value, float) and math.isfinite(value) else NAN


def _count(owner: _Object, name: str) -> int | None:
    number = _number(owner.get(name))
    return int(number) if 0 <= number < 2**31 and number.is_integer() else None


def _is_object(value: object) -> TypeGuard[_Object]:
    return isinstance(value, dict)


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"
