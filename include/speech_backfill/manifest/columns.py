"""From the columns of a manifest row to an audio file and its options; unknown columns are carried as they are.

Known columns, in any case, the first of each list winning where a row has several (the others are carried):

uri                 uri, url, audio_url, audio_filepath, path, file (or the one that the setting uri_column names)
etag                etag
size                size, size_bytes
last modified       last_modified, modified_at: ISO 8601, an HTTP date, epoch seconds or milliseconds
duration            duration_ms, or duration, duration_seconds
residency           residency: the tag of the Speech resources that may have the file
locale              locale, lang, language
candidate locales   candidate_locales: a list, or text with commas or semicolons
channels            channels: a list, or text with commas or semicolons
speakers            max_speakers, diarization: a number; 0, 1, false: no diarization
the rest            word_times, display_word_times, profanity, punctuation, model

An empty cell counts as absent. A row that names a locale but no candidates is transcribed in that locale: the run's
candidate locales hold for the rows that leave the language open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from speech_backfill.errors import AudioUriError, MissingColumn, OptionsError, UnreadableManifest
from speech_backfill.manifest import values
from speech_backfill.manifest.lines import ManifestLine, RefusedLine, without_secrets
from speech_backfill.manifest.urls import CanonicalUrls
from speech_backfill.model import AudioFile, TranscriptionOptions

URI_COLUMNS = ("uri", "url", "audio_url", "audio_filepath", "path", "file")

_FILE_COLUMNS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "etag": ("etag", values.etag),
    "size": ("size_bytes", values.whole),
    "size_bytes": ("size_bytes", values.whole),
    "last_modified": ("modified_at", values.moment),
    "modified_at": ("modified_at", values.moment),
    "duration_ms": ("duration_ms", values.milliseconds),
    "duration": ("duration_ms", values.seconds),
    "duration_seconds": ("duration_ms", values.seconds),
    "residency": ("residency", values.plain),
}
_OPTION_COLUMNS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "locale": ("locale", values.locale),
    "lang": ("locale", values.locale),
    "language": ("locale", values.locale),
    "candidate_locales": ("candidate_locales", values.locales),
    "channels": ("channels", values.channels),
    "max_speakers": ("max_speakers", values.whole),
    "diarization": ("max_speakers", values.whole),
    "word_times": ("word_times", values.yes_or_no),
    "display_word_times": ("display_word_times", values.yes_or_no),
    "profanity": ("profanity", values.profanity),
    "punctuation": ("punctuation", values.punctuation),
    "model": ("model", values.plain),
}
_REMEMBERED_OPTIONS = 4096


class _BadCell(Exception):
    """A cell that the row is refused for; the message names its column."""


class RowReader:
    """Rows with the columns *names* → lines. Raises MissingColumn, or UnreadableManifest for a column that stands twice."""

    def __init__(
        self,
        names: Sequence[str],
        *,
        source: str,
        urls: CanonicalUrls,
        defaults: TranscriptionOptions,
        uri_column: str = "",
    ) -> None:
        folded = [name.strip().lower() for name in names]
        for name, times in Counter(folded).items():
            if name and times > 1:
                raise UnreadableManifest(source, "a table", f"the column {name[:60]!r} stands there twice")
        wanted = (uri_column.strip().lower(),) if uri_column.strip() else URI_COLUMNS
        self._uri = next((folded.index(name) for name in wanted if name in folded), -1)
        if self._uri < 0:
            raise MissingColumn(source, wanted, tuple(name.strip()[:60] for name in names[:50]))
        self._urls = urls
        self._defaults = defaults
        self._file_cells = _picked(folded, _FILE_COLUMNS, leaving=self._uri)
        self._option_cells = [
            (index, field, values.speakers(defaults.max_speakers) if field == "max_speakers" else read)
            for index, field, read in _picked(folded, _OPTION_COLUMNS, leaving=self._uri)
        ]
        taken = {self._uri, *(one[0] for one in self._file_cells), *(one[0] for one in self._option_cells)}
        self._carried = [
            (index, name.strip()) for index, name in enumerate(names) if index not in taken and name.strip()
        ]
        self._names = [name.strip() for name in names]
        self._options: dict[object, TranscriptionOptions | str] = {}

    def read(self, number: int, cells: Sequence[Any]) -> ManifestLine | RefusedLine:
        """The line that the row *number* with *cells* (as many as there are columns) becomes."""
        uri = cells[self._uri]
        if type(uri) is not str:
            uri = values.text(uri)
        try:
            url = self._urls.of(uri)
            options = self._options_of(cells)
            known = self._known_of(cells) if self._file_cells else {}
        except AudioUriError as error:
            return RefusedLine.of(number, uri, error.code, error.problem)
        except _BadCell as error:
            return RefusedLine.of(number, uri, "InvalidOption", str(error))
        carried = {}
        for index, name in self._carried:
            cell = cells[index]
            if not values.is_absent(cell):
                said = values.text(cell)
                carried[name] = without_secrets(said) if "=" in said or "%" in said or "@" in said else said
        return ManifestLine(number, AudioFile(url, manifest_columns=carried, **known), options)

    def _known_of(self, cells: Sequence[Any]) -> dict[str, Any]:
        known = {}
        for index, field, read in self._file_cells:
            cell = cells[index]
            if not values.is_absent(cell):
                known[field] = self._cell(index, cell, read)
        return known

    def _options_of(self, cells: Sequence[Any]) -> TranscriptionOptions:
        if not self._option_cells:
            return self._defaults
        given = [cells[index] for index, _, _ in self._option_cells]
        # Text and 1 and True are equal to their like only; the types keep 1 and True and 1.0 apart.
        key = tuple([one if type(one) is str else (type(one), repr(one)) for one in given])
        options = self._options.get(key)
        if options is None:
            if len(self._options) >= _REMEMBERED_OPTIONS:
                self._options.clear()
            options = self._options[key] = self._built(cells)
        if isinstance(options, str):
            raise _BadCell(options)
        return options

    def _built(self, cells: Sequence[Any]) -> TranscriptionOptions | str:
        """The options of a row, or the problem that refuses it."""
        chosen: dict[str, Any] = {}
        try:
            for index, field, read in self._option_cells:
                if not values.is_absent(cells[index]):
                    chosen[field] = self._cell(index, cells[index], read)
            if "locale" in chosen:
                chosen.setdefault("candidate_locales", ())
            return replace(self._defaults, **chosen)
        except OptionsError as error:
            column = next(
                (self._names[i] for i, field, _ in self._option_cells if field == error.option), error.option
            )
            return f"column {column}: {error}"
        except _BadCell as error:
            return str(error)

    def _cell(self, index: int, cell: Any, read: Callable[[Any], Any]) -> Any:
        try:
            return read(cell)
        except ValueError as error:
            raise _BadCell(f"column {self._names[index]}: {error}") from None


def _picked(
    folded: Sequence[str], known: dict[str, tuple[str, Callable[[Any], Any]]], *, leaving: int
) -> list[tuple[int, str, Callable[[Any], Any]]]:
    """(column, field, how to read it) of the *known* columns present, one for each field, the first alias winning."""
    picked: dict[str, tuple[int, str, Callable[[Any], Any]]] = {}
    for name, (field, read) in known.items():
        if name in folded and folded.index(name) != leaving and field not in picked:
            picked[field] = (folded.index(name), field, read)
    return list(picked.values())
