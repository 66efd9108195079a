"""The door of this package: a source's text → its lines. Reads sources; never writes, moves or deletes anything."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import unquote, urlsplit

import obstore

from speech_backfill.accounts import BlobLocation, StorageAccounts
from speech_backfill.errors import (
    AudioUriError,
    EmptyManifest,
    SourceNotFound,
    SourceRefused,
    UnreadableManifest,
)
from speech_backfill.manifest.container import list_audio
from speech_backfill.manifest.errors import UnusableSource
from speech_backfill.manifest.faults import explained, first_answer
from speech_backfill.manifest.formats import Reading, csv_table, json_lines, plain_list
from speech_backfill.manifest.lines import Line, shown
from speech_backfill.manifest.parquet import parquet_table
from speech_backfill.manifest.text import decompressed, physical_lines
from speech_backfill.manifest.urls import CanonicalUrls
from speech_backfill.model import TranscriptionOptions

_TEXT_FORMATS = {
    ".csv": (csv_table, "CSV"),
    ".jsonl": (json_lines, "JSON lines"),
    ".ndjson": (json_lines, "JSON lines"),
    ".txt": (plain_list, "a list of URIs"),
    ".lst": (plain_list, "a list of URIs"),
}
_CODECS = {".gz": "gzip", ".zst": "zstd"}
_PIECE_BYTES = 4 * 1024 * 1024
"""Remote manifests are fetched range by range: a reader who takes hours holds no connection open."""


def read_source(
    source: str,
    *,
    accounts: StorageAccounts,
    defaults: TranscriptionOptions,
    uri_column: str = "",
    include_globs: Sequence[str] = (),
    exclude_globs: Sequence[str] = (),
) -> Iterator[Line]:
    """Every line of *source*, in its order: a manifest by its suffix, else the audio below a container's prefix.

    Raises a ManifestError before the first line where the source as a whole can't be used
    (later only where it stops answering or turns out damaged). Nothing of a source is held in memory.
    """
    name = shown(source)
    reading = Reading(name, CanonicalUrls(accounts), defaults, uri_column)
    lines = _lines(source.strip(), reading, accounts, globs=(include_globs, exclude_globs))
    with closing(lines):
        first = next(lines, None)
        if first is None:
            raise EmptyManifest(name, "it has no line")
        yield first
        yield from lines


def is_manifest(source: str) -> bool:
    """Whether *source* names a manifest by its suffix, rather than a container's prefix."""
    return _format_of(source.split("?", 1)[0]) != ("", "")


def _lines(
    source: str, reading: Reading, accounts: StorageAccounts, *, globs: tuple[Sequence[str], Sequence[str]]
) -> Generator[Line, None, None]:
    name = reading.source
    if "://" not in source or source.lower().startswith("file:"):
        path = _local_path(source, name)
        with _opened(path, name) as file:
            yield from _manifest(_format_of(path.name), _pieces_of(file), file, reading)
        return
    place = _place(source, name, accounts)
    kind = _format_of(place.path)
    if kind == ("", ""):
        yield from list_audio(
            place, source=name, defaults=reading.defaults, include_globs=globs[0], exclude_globs=globs[1]
        )
    elif kind[0] == ".parquet":
        with tempfile.TemporaryFile(prefix="manifest-") as copy:
            for piece in _ranges(place, name):
                copy.write(piece)
            copy.seek(0)
            yield from _manifest(kind, iter(()), cast("BinaryIO", copy), reading)
    else:
        yield from _manifest(kind, _ranges(place, name), None, reading)


def _manifest(
    kind: tuple[str, str], pieces: Iterator[bytes], file: BinaryIO | None, reading: Reading
) -> Iterator[Line]:
    suffix, codec = kind
    if suffix == ".parquet":
        assert file is not None
        yield from parquet_table(file, reading)
        return
    if suffix not in _TEXT_FORMATS:
        raise UnreadableManifest(reading.source, "a manifest", "its name has no suffix of a manifest")
    parse, expected = _TEXT_FORMATS[suffix]
    if codec:
        pieces = decompressed(pieces, codec, source=reading.source)
    yield from parse(physical_lines(pieces, source=reading.source, expected=expected), reading)


def _format_of(path: str) -> tuple[str, str]:
    """(suffix, codec) of a manifest's name; two empty texts where it is none."""
    name = path.rpartition("/")[2].lower()
    for ending, codec in _CODECS.items():
        if name.endswith(ending):
            inner = Path(name.removesuffix(ending)).suffix
            return (inner, codec) if inner in _TEXT_FORMATS else ("", "")
    suffix = Path(name).suffix
    return (suffix, "") if suffix in _TEXT_FORMATS or suffix == ".parquet" else ("", "")


def _place(source: str, name: str, accounts: StorageAccounts) -> BlobLocation:
    try:
        return accounts.locate(source)
    except AudioUriError as error:
        raise UnusableSource(name, shown(error.problem)) from None
    except ValueError:
        raise UnusableSource(name, "it is no URI") from None


def _local_path(source: str, name: str) -> Path:
    if not source:
        raise UnusableSource(name, "it is empty")
    if "\0" in source:
        raise UnusableSource(name, "it holds a NUL character")
    return Path(unquote(urlsplit(source).path) if source.lower().startswith("file:") else source).expanduser()


def _opened(path: Path, name: str) -> BinaryIO:
    try:
        if path.is_dir():
            raise UnusableSource(
                name,
                "it is a local folder, and the Speech service reads blobs: upload the audio to a container",
            )
        return path.open("rb")
    except FileNotFoundError:
        raise SourceNotFound(name, "there is no such file") from None
    except PermissionError:
        raise SourceRefused(name, "the file's permissions do not let this user read it") from None
    except OSError as error:
        raise UnusableSource(name, error.strerror or type(error).__name__) from None


def _pieces_of(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(1 << 20):
        yield piece


def _ranges(place: BlobLocation, name: str) -> Iterator[bytes]:
    """The bytes of the blob, range by range, all of the version that was there first."""
    with explained(name, place.account):
        store = place.account.container(place.container)
        meta = first_answer(lambda: obstore.head(store, place.path))
    size, version = meta["size"], meta.get("e_tag")
    for start in range(0, size, _PIECE_BYTES):
        with explained(name, place.account):
            piece = obstore.get(
                store,
                place.path,
                options={"range": (start, min(size, start + _PIECE_BYTES)), "if_match": version},
            ).bytes()
        yield bytes(piece)
