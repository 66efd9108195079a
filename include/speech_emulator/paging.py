"""Offset paging as the service does it: skip, top, and an absolute link to the next page."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from speech_emulator.config import Settings
from speech_emulator.errors import invalid

T = TypeVar("T")


def page(values: Sequence[T], query: Mapping[str, str], settings: Settings) -> tuple[Sequence[T], int | None]:
    """The values of the asked page, and where the next one starts if there is one."""
    skip = whole_number(query, "skip", 0)
    top = whole_number(query, "top", settings.limits.page_size)
    if skip < 0 or not 0 < top <= settings.guesses.largest_top:
        message = f"skip must not be negative and top must lie between 1 and {settings.guesses.largest_top}."
        raise invalid(message, "UnsupportedPagination")
    end = skip + top
    return values[skip:end], end if end < len(values) else None


def whole_number(query: Mapping[str, str], name: str, default: int) -> int:
    """A query parameter that must be a whole number."""
    text = query.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise invalid(
            f"The parameter {name} must be a whole number.", "InvalidParameterValue", target=name
        ) from None


def envelope(
    values: list[Any], following: int | None, url: str, query: Mapping[str, str], settings: Settings
) -> dict[str, Any]:
    """The answer of a list operation."""
    shown: dict[str, Any] = {"values": values}
    if following is not None:
        kept = {name: value for name, value in query.items() if name != "skip"}
        kept = {
            "skip": str(following),
            "top": str(whole_number(query, "top", settings.limits.page_size)),
            **kept,
        }
        shown["@nextLink"] = f"{url}?{urlencode(kept, quote_via=quote)}"
    elif settings.guesses.end_of_list == "null":
        shown["@nextLink"] = None
    return shown
