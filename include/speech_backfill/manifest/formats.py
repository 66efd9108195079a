"""The text formats of a manifest (CSV, JSON lines, a plain list), each a generator from physical lines to lines."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from speech_backfill.errors import AudioUriError, MissingColumn, UnreadableManifest
from speech_backfill.manifest.columns import URI_COLUMNS, RowReader
from speech_backfill.manifest.lines import Line, ManifestLine, RefusedLine
from speech_backfill.manifest.text import BadLine
from speech_backfill.manifest.urls import CanonicalUrls
from speech_backfill.model import AudioFile, TranscriptionOptions

_LINES_OF_A_RECORD = 1000
"""A quoted cell over more lines than this is an unclosed quote."""

_PATIENCE_LINES = 1000
"""So many refused lines at the beginning, and not one good, mean that the file is not what its name promises."""

_REMEMBERED_SHAPES = 256


@dataclass(frozen=True, slots=True)
class Reading:
    """What every format needs to know. *source* carries no query."""

    source: str
    urls: CanonicalUrls
    defaults: TranscriptionOptions
    uri_column: str = ""

    def rows(self, names: Sequence[str]) -> RowReader:
        """The reader of rows with the columns *names*."""
        return RowReader(
            names, source=self.source, urls=self.urls, defaults=self.defaults, uri_column=self.uri_column
        )


def plain_list(lines: Iterator[str | BadLine], reading: Reading) -> Iterator[Line]:
    """A URI a line; empty lines and lines that begin with # are skipped."""
    url_of, defaults = reading.urls.of, reading.defaults
    for number, line in enumerate(lines, 1):
        if isinstance(line, BadLine):
            yield _refused(number, line)
            continue
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            url = url_of(text)
        except AudioUriError as error:
            yield RefusedLine.of(number, text, error.code, error.problem)
        else:
            yield ManifestLine(number, AudioFile(url), defaults)


def json_lines(lines: Iterator[str | BadLine], reading: Reading) -> Iterator[Line]:
    """A JSON object a line. Raises MissingColumn, UnreadableManifest when the first lines are all of another kind."""
    decode = msgspec.json.Decoder().decode
    shapes: dict[tuple[str, ...], RowReader | None] = {}
    hopeless: list[RefusedLine] | None = []
    missing: MissingColumn | None = None
    for number, line in enumerate(lines, 1):
        if isinstance(line, BadLine):
            found: Line = _refused(number, line)
        elif not line.strip():
            continue
        else:
            try:
                row = decode(line)
            except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
                found = RefusedLine.of(number, line, "InvalidLine", f"the line is no JSON: {error}")
            else:
                if not isinstance(row, dict):
                    kind = {list: "a list", str: "text", type(None): "null"}.get(
                        type(row), "a number or truth value"
                    )
                    found = RefusedLine.of(
                        number, line, "InvalidLine", f"the line is {kind}, not a JSON object"
                    )
                else:
                    shape = tuple(row)
                    if shape not in shapes:
                        if len(shapes) >= _REMEMBERED_SHAPES:
                            shapes.clear()
                        try:
                            shapes[shape] = reading.rows(shape)
                        except MissingColumn as error:
                            shapes[shape], missing = None, missing or error
                        except UnreadableManifest:  # two keys that differ in case only
                            shapes[shape] = None
                    rows = shapes[shape]
                    if rows is None:
                        found = RefusedLine.of(number, line, "InvalidLine", _no_uri(reading))
                    else:
                        found = rows.read(number, tuple(row.values()))
                        if hopeless is not None:
                            yield from hopeless
                            hopeless = None
        if hopeless is None:
            yield found
        else:
            assert isinstance(found, RefusedLine)
            hopeless.append(found)
            if len(hopeless) >= _PATIENCE_LINES:
                break
    if hopeless:
        if missing is not None:
            raise missing
        raise UnreadableManifest(
            reading.source,
            "JSON lines (one object a line)",
            f"line {hopeless[0].number}: {hopeless[0].problem}",
        )


def csv_table(lines: Iterator[str | BadLine], reading: Reading) -> Iterator[Line]:
    """A table with a header, cells separated by comma, semicolon, tab or bar, quoted with double quotes.

    A record that can't be parsed is refused for its first line, and reading goes on at its second:
    a quote that is never closed costs one line, not the rest of the file.
    """
    feed = _Feed(lines)
    header = feed.first_line()
    if header is None:
        return
    if isinstance(header, BadLine):
        raise UnreadableManifest(reading.source, "CSV", f"its header: {header.problem}")
    reader = csv.reader(feed, delimiter=_delimiter(header), strict=True)
    feed.begin()
    try:
        names = next(reader)
    except (csv.Error, _BrokenRecord) as error:
        raise UnreadableManifest(reading.source, "CSV", f"its header: {error}") from None
    rows = reading.rows(names)
    read, width = rows.read, len(names)
    while True:
        feed.begin()
        number = feed.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, _BrokenRecord) as error:
            first = feed.give_back()
            yield (
                _refused(number, first)
                if isinstance(first, BadLine)
                else RefusedLine.of(number, first, "InvalidLine", f"the row can't be parsed: {error}")
            )
            continue
        if len(cells) == width:
            if any(cells):
                yield read(number, cells)
        elif cells and (len(cells) > 1 or cells[0].strip()):
            problem = f"the row has {len(cells)} cells, the header {width}"
            yield RefusedLine.of(number, ",".join(cells), "InvalidLine", problem)


class _BrokenRecord(Exception):
    """The record in hand can't be completed."""


class _Feed:
    """Physical lines for the CSV parser, which remembers those of the record in hand so that they can be given back."""

    def __init__(self, lines: Iterator[str | BadLine]) -> None:
        self._lines = lines
        self._again: deque[str | BadLine] = deque()
        self._held: list[str | BadLine] = []
        self.number = 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        held = self._held
        held.append(line)
        self.number += 1
        if isinstance(line, BadLine):
            raise _BrokenRecord("a line of it is no text")
        if len(held) > _LINES_OF_A_RECORD:
            raise _BrokenRecord(f"a quote is not closed within {_LINES_OF_A_RECORD} lines")
        return line + "\n"

    def first_line(self) -> str | BadLine | None:
        """The first line that is not empty, left in its place; None where there is none."""
        for line in self._lines:
            if isinstance(line, BadLine) or line.strip():
                self._again.append(line)
                return line
            self.number += 1
        return None

    def begin(self) -> None:
        """A new record begins."""
        self._held.clear()

    def give_back(self) -> str | BadLine:
        """The first line of the broken record; the others will be read again."""
        first, *others = self._held
        self._again.extendleft(reversed(others))
        self.number -= len(others)
        return first


def _delimiter(header: str) -> str:
    """The separator that the header has most of; a comma where it has none."""
    outside = "".join(header.split('"')[::2])
    return max(",;\t|", key=outside.count)


def _no_uri(reading: Reading) -> str:
    wanted = reading.uri_column or ", ".join(URI_COLUMNS)
    return f"the object has no key of an audio URI (expected {wanted}), or a key twice"


def _refused(number: int, line: BadLine) -> RefusedLine:
    return RefusedLine.of(number, line.text, line.code, line.problem)
