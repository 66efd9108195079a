"""The audio below a prefix of a container, page by page; nothing here looks into a blob."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import obstore
from obstore.exceptions import NotFoundError

from speech_backfill.accounts import BlobLocation
from speech_backfill.errors import EmptyManifest
from speech_backfill.manifest.faults import explained, first_answer
from speech_backfill.manifest.lines import ManifestLine
from speech_backfill.manifest.unusual import list_unusual
from speech_backfill.model import AudioFile, TranscriptionOptions

AUDIO_SUFFIXES = (
    "wav", "mp3", "opus", "ogg", "flac", "wma", "aac", "alaw", "mulaw", "amr", "webm", "speex", "m4a", "mp4",
)  # fmt: skip
"""What is taken where no glob is given: the formats that the service lists, and their usual containers."""

_PAGE = 1000


def list_audio(
    place: BlobLocation,
    *,
    source: str,
    defaults: TranscriptionOptions,
    include_globs: Sequence[str] = (),
    exclude_globs: Sequence[str] = (),
) -> Iterator[ManifestLine]:
    """The blobs below the folder *place* that the globs let through, in the account's order, numbered from 1.

    Where no blob is below it but one has exactly this name, that blob is taken.
    Raises EmptyManifest, SourceNotFound, SourceRefused, SourceUnreachable.
    """
    wanted = matcher(include_globs, exclude_globs)
    folder = place.path.rstrip("/")
    cut = len(folder) + 1 if folder else 0
    seen = taken = 0
    for meta in _listed(place, folder, source=source):
        seen += 1
        path = meta["path"]
        if wanted(path[cut:]):
            taken += 1
            yield ManifestLine(taken, audio_file(place, path, meta), defaults)
    if taken:
        return
    if not seen and folder and not place.path.endswith("/"):
        meta = _headed(place, folder, source=source)
        if meta is not None and wanted(folder.rpartition("/")[2]):
            yield ManifestLine(1, audio_file(place, folder, meta), defaults)
            return
        if meta is not None:
            raise EmptyManifest(source, "it is a blob, but neither audio nor a manifest by its suffix")
    globs = ", ".join(include_globs) or f"*.{{{','.join(AUDIO_SUFFIXES)}}}"
    without = f" without {', '.join(exclude_globs)}" if exclude_globs else ""
    raise EmptyManifest(
        source, f"{seen} blobs below it, none matched {globs}{without}" if seen else "no blob is below it"
    )


def audio_file(place: BlobLocation, path: str, meta: Any) -> AudioFile:
    """The audio file that obstore's *meta* of the blob *path* describes."""
    return AudioFile(
        BlobLocation(place.account, place.container, path).url,
        etag=(meta.get("e_tag") or "").strip('"') or None,
        size_bytes=meta["size"],
        modified_at=meta["last_modified"].timestamp(),
    )


def matcher(include_globs: Sequence[str], exclude_globs: Sequence[str]) -> Callable[[str], bool]:
    """Whether a path relative to the prefix is wanted: any of the first (default: audio suffixes), none of the second.

    `*` and `?` stay within one step of the path, `**` stands for any number of steps, case does not matter.
    A glob without a slash is compared with the last step, at any depth.
    """
    included = _any_of(include_globs) if include_globs else _AUDIO
    excluded = _any_of(exclude_globs)
    return lambda path: bool(included(path)) and not (exclude_globs and excluded(path))


def _any_of(globs: Sequence[str]) -> Callable[[str], object]:
    return re.compile("|".join(_pattern(one) for one in globs), re.IGNORECASE).fullmatch


def _pattern(glob: str) -> str:
    steps = glob.strip().strip("/").split("/")
    if len(steps) == 1 and steps[0] != "**":
        steps = ["**", *steps]
    parts = []
    for position, step in enumerate(steps):
        last = position == len(steps) - 1
        if step == "**":
            parts.append(".*" if last else "(?:[^/]*/)*")
        else:
            parts.append(_step(step) + ("" if last else "/"))
    return "(?:" + "".join(parts) + ")"


def _step(step: str) -> str:
    """One step of a glob as a regular expression that does not cross a slash."""
    out = []
    for piece in re.findall(r"\*+|\?|\[[^\]]+\]|.", step, re.DOTALL):
        if piece[0] == "*":
            out.append("[^/]*")
        elif piece == "?":
            out.append("[^/]")
        elif piece[0] == "[" and len(piece) > 2:
            inner = fnmatch.translate(piece).removeprefix("(?s:").removesuffix(")\\Z")
            out.append(f"(?!/){inner}")
        else:
            out.append(re.escape(piece))
    return "".join(out)


_AUDIO = _any_of([f"*.{suffix}" for suffix in AUDIO_SUFFIXES])


def _listed(place: BlobLocation, folder: str, *, source: str) -> Iterator[Any]:
    last = ""
    with explained(source, place.account):
        store = place.account.container(place.container)
        pages = iter(obstore.list(store, prefix=folder or None, chunk_size=_PAGE))

    def following() -> Any:
        return next(pages, None)

    while True:
        with explained(source, place.account):
            try:
                page = following() if last else first_answer(following)
            except Exception as error:
                if "invalid path" not in str(error):
                    raise
                break
        if page is None:
            return
        yield from page
        last = page[-1]["path"]
    others = list_unusual(place, folder, after=last)
    while True:
        with explained(source, place.account):
            meta = next(others, None)
        if meta is None:
            return
        yield meta


def _headed(place: BlobLocation, path: str, *, source: str) -> Any:
    with explained(source, place.account):
        try:
            return obstore.head(place.account.container(place.container), path)
        except (NotFoundError, FileNotFoundError):
            return None
