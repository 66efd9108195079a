"""The list operations' filter language, exactly as published: anything beyond it is UnsupportedFilter.

Grammar: `expr = and ("or" and)*`, `and = not ("and" not)*`, `not = "not" not | comparison`,
`comparison = property operator value`; strings stand in single quotes, dates bare. Parentheses and doubled
quotes are not documented and can be switched off.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from speech_emulator.errors import ServiceError, invalid

Kind = Literal["text", "date"]
Value = str | float | None
Predicate = Callable[[Mapping[str, Value]], bool]

TRANSCRIPTIONS: Mapping[str, Kind] = {
    "displayName": "text",
    "description": "text",
    "createdDateTime": "date",
    "lastActionDateTime": "date",
    "status": "text",
    "locale": "text",
}
FILES: Mapping[str, Kind] = {"name": "text", "createdDateTime": "date", "kind": "text"}
WEBHOOKS: Mapping[str, Kind] = {
    "displayName": "text",
    "description": "text",
    "createdDateTime": "date",
    "lastActionDateTime": "date",
    "status": "text",
    "webUrl": "text",
}
MODELS: Mapping[str, Kind] = {
    "displayName": "text",
    "description": "text",
    "createdDateTime": "date",
    "lastActionDateTime": "date",
    "status": "text",
    "locale": "text",
}

_TOKEN = re.compile(r"\s*(?:(?P<string>'(?:[^']|'')*')|(?P<paren>[()])|(?P<word>[^\s'()]+))")
_EQUALITY = ("eq", "ne")
_ORDER = ("gt", "ge", "lt", "le")


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    quoted: bool = False


class _Reader:
    """One pass over the tokens of a filter."""

    def __init__(
        self, text: str, properties: Mapping[str, Kind], *, parentheses: bool, doubled_quotes: bool
    ) -> None:
        self._text = text
        self._properties = properties
        self._parentheses = parentheses
        self._doubled_quotes = doubled_quotes
        self._tokens = list(self._split())
        self._at = 0
        self._depth = 0

    def read(self) -> Predicate:
        predicate = self._either()
        if self._at < len(self._tokens):
            raise self._refuse(f"'{self._tokens[self._at].text}' is unexpected")
        return predicate

    def _split(self) -> Iterator[_Token]:
        position, text = 0, self._text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self._refuse("a quoted string does not end")
            position = match.end()
            if (string := match["string"]) is not None:
                inner = string[1:-1]
                if "''" in inner and not self._doubled_quotes:
                    raise self._refuse("a quote inside a string is not supported")
                yield _Token(inner.replace("''", "'"), quoted=True)
            elif match["paren"] is not None:
                if not self._parentheses:
                    raise self._refuse("parentheses are not supported")
                yield _Token(match["paren"])
            else:
                yield _Token(match["word"])

    def _either(self) -> Predicate:
        parts = [self._both()]
        while self._take("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda row: any(part(row) for part in parts)

    def _both(self) -> Predicate:
        parts = [self._inverse()]
        while self._take("and"):
            parts.append(self._inverse())
        return parts[0] if len(parts) == 1 else lambda row: all(part(row) for part in parts)

    def _inverse(self) -> Predicate:
        self._depth += 1
        if self._depth > 100:
            raise self._refuse("it is nested too deeply")
        try:
            if self._take("not"):
                inner = self._inverse()
                return lambda row: not inner(row)
            if self._take("("):
                inner = self._either()
                if not self._take(")"):
                    raise self._refuse("a parenthesis is not closed")
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Predicate:
        name = self._next("a property")
        kind = None if name.quoted else self._properties.get(name.text)
        if kind is None:
            raise self._refuse(f"'{name.text}' is not a supported property")
        operator = self._next("an operator").text
        if operator not in (*_EQUALITY, *_ORDER) or (operator in _ORDER and kind != "date"):
            raise self._refuse(f"operator '{operator}' is not supported for '{name.text}'")
        token = self._next("a value")
        value: str | float = self._moment(token) if kind == "date" else self._string(token)
        return _compare(name.text, operator, value)

    def _string(self, token: _Token) -> str:
        if not token.quoted:
            raise self._refuse(f"the string {token.text} must stand in single quotes")
        return token.text

    def _moment(self, token: _Token) -> float:
        try:
            moment = datetime.fromisoformat(token.text)
        except ValueError:
            raise self._refuse(f"'{token.text}' is not a date") from None
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()

    def _take(self, word: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == _Token(word):
            self._at += 1
            return True
        return False

    def _next(self, what: str) -> _Token:
        if self._at >= len(self._tokens):
            raise self._refuse(f"{what} is missing at its end")
        self._at += 1
        return self._tokens[self._at - 1]

    def _refuse(self, reason: str) -> ServiceError:
        return invalid(f"The filter is not supported: {reason}.", "UnsupportedFilter", target="filter")


def _compare(name: str, operator: str, value: str | float) -> Predicate:
    def holds(row: Mapping[str, Value]) -> bool:
        actual = row.get(name)
        if operator == "eq":
            return actual == value
        if operator == "ne":
            return actual != value
        if not isinstance(actual, int | float) or not isinstance(value, int | float):
            return False
        match operator:
            case "gt":
                return actual > value
            case "ge":
                return actual >= value
            case "lt":
                return actual < value
            case _:
                return actual <= value

    return holds


def parse(
    text: str, properties: Mapping[str, Kind], *, parentheses: bool = True, doubled_quotes: bool = True
) -> Predicate:
    """The predicate that a filter describes, or UnsupportedFilter."""
    return _Reader(text, properties, parentheses=parentheses, doubled_quotes=doubled_quotes).read()
