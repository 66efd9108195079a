"""From a manifest's cell to a value of the model. Cells are text, or what JSON and Parquet hold; nothing here does I/O."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from speech_backfill.model import PROFANITY_MODES, PUNCTUATION_MODES

_MILLISECONDS_FROM = 1e11
"""Epoch numbers from here on are milliseconds: as seconds they would lie after the year 5000."""

_TOO_LARGE = 2.0**62
"""Whole numbers end as 64-bit columns."""

_LONGEST_SECONDS = 366 * 24 * 3600.0


_PLAIN_DIGITS = 15
"""So many digits are below every bound."""


class CellError(ValueError):
    """A cell holds no value of its kind; the message says what is wanted."""


def is_absent(cell: Any) -> bool:
    """Whether the cell is empty: no value, white space, or not a number (as pandas writes what is missing)."""
    if type(cell) is str:  # nearly always, and asked for every cell of millions of rows
        return not cell or cell.isspace()
    return (
        cell is None
        or (isinstance(cell, str) and not cell.strip())
        or (isinstance(cell, float) and math.isnan(cell))
    )


def text(cell: Any) -> str:
    """The cell as text; what is neither text nor a number becomes JSON."""
    if type(cell) is str:
        return cell
    match cell:
        case str():
            return cell
        case None:
            return ""
        case bytes():
            return cell.decode(errors="replace")
        case bool():
            return "true" if cell else "false"
        case int() | float():
            return repr(cell)
        case datetime() | date():
            return cell.isoformat()
        case _:
            return json.dumps(cell, ensure_ascii=False, default=str)


def whole(cell: Any) -> int:
    """A whole number from 0; 12.0 counts as one, for tables with missing numbers hold floats."""
    if type(cell) is str and len(cell) < _PLAIN_DIGITS and cell.isdecimal():
        return int(cell)
    number = _number(cell)
    if number != int(number) or not 0 <= number < _TOO_LARGE:
        raise CellError(f"{_quoted(cell)} is no whole number from 0")
    return (
        int(cell)
        if isinstance(cell, int) or (isinstance(cell, str) and cell.strip().isdecimal())
        else int(number)
    )


def etag(cell: Any) -> str:
    """An ETag without its quotes."""
    return text(cell).strip().strip('"')


def moment(cell: Any) -> float:
    """Seconds since 1970 from ISO 8601, an HTTP date, epoch seconds or milliseconds. Without a zone it is UTC."""
    if isinstance(cell, datetime):
        return (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).timestamp()
    try:
        number = float(cell) if not isinstance(cell, (bool, date)) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if math.isfinite(number):
        if not 0 <= number < 1e14:
            raise CellError(f"{_quoted(cell)} is no time since 1970")
        return number / 1000 if number >= _MILLISECONDS_FROM else number
    said = text(cell).strip()
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return moment(read(said))
        except (ValueError, OverflowError, TypeError):
            continue
    raise CellError(f"{_quoted(cell)} is neither an ISO 8601 time nor epoch seconds")


def milliseconds(cell: Any) -> int:
    """A duration given in milliseconds."""
    return _duration(_number(cell) / 1000, cell)


def seconds(cell: Any) -> int:
    """A duration given in seconds, as milliseconds."""
    return _duration(_number(cell), cell)


def locale(cell: Any) -> str:
    """A locale; the options check its form."""
    return text(cell).strip()


def locales(cell: Any) -> tuple[str, ...]:
    """Locales from a list, a JSON list, or text with commas or semicolons; order kept, repetitions dropped."""
    return tuple(dict.fromkeys(text(one).strip() for one in _listed(cell) if not is_absent(one)))


def channels(cell: Any) -> tuple[int, ...]:
    """Channel numbers from a list, a JSON list, or text with commas or semicolons; sorted, so equal sets are equal."""
    return tuple(sorted({whole(one) for one in _listed(cell) if not is_absent(one)}))


def speakers(default: int | None) -> Callable[[Any], int | None]:
    """How a number of speakers is read where *default* is what a mere yes means."""

    def read(cell: Any) -> int | None:
        said = text(cell).strip().lower()
        if said in {"0", "0.0", "1", "1.0", "false", "no", "none", "off"}:
            return None
        if said in {"true", "yes", "on"}:
            if default is None:
                raise CellError(
                    "it must say how many speakers at the most (2 to 35), for the run names no number either"
                )
            return default
        return whole(cell)

    return read


def yes_or_no(cell: Any) -> bool:
    """A truth value."""
    said = text(cell).strip().lower()
    if said in {"true", "1", "1.0", "yes", "on"}:
        return True
    if said in {"false", "0", "0.0", "no", "off"}:
        return False
    raise CellError(f"{_quoted(cell)} is neither true nor false")


def profanity(cell: Any) -> str:
    """A profanity mode, whatever its case."""
    return _one_of(cell, PROFANITY_MODES)


def punctuation(cell: Any) -> str:
    """A punctuation mode, whatever its case."""
    return _one_of(cell, PUNCTUATION_MODES)


def plain(cell: Any) -> str:
    """Text without white space around it."""
    return text(cell).strip()


def _one_of(cell: Any, allowed: Sequence[str]) -> str:
    said = text(cell).strip().lower()
    for mode in allowed:
        if mode.lower() == said:
            return mode
    raise CellError(f"{_quoted(cell)} is none of {', '.join(allowed)}")


def _number(cell: Any) -> float:
    try:
        number = math.nan if isinstance(cell, bool) else float(cell)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise CellError(f"{_quoted(cell)} is no number")
    return number


def _duration(value: float, cell: Any) -> int:
    if not 0 <= value <= _LONGEST_SECONDS:
        raise CellError(f"{_quoted(cell)} is no duration between 0 and a year")
    return round(value * 1000)


def _listed(cell: Any) -> list[Any]:
    if isinstance(cell, (list, tuple)):
        return list(cell)
    said = text(cell).strip()
    if said.startswith("["):
        try:
            values = json.loads(said)
        except ValueError:
            raise CellError(f"{_quoted(cell)} is no JSON list") from None
        return list(values)
    return said.replace(";", ",").split(",")


def _quoted(cell: Any) -> str:
    said = text(cell)
    return repr(said if len(said) <= 60 else said[:59] + "…")
