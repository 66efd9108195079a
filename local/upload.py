"""Put audio files from a folder into the blob emulator. A blob that already holds the same bytes is left as it is.

A new upload would change a blob's etag, and with it the identity of the audio file: it would be transcribed again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobServiceClient, ContainerClient, ContentSettings

from local.checkout import Checkout

SUFFIXES = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".amr", ".webm", ".wma")
"""The endings of the files that a folder of the user's own is searched for."""


@dataclass(frozen=True)
class Uploaded:
    """What an upload did."""

    files: int
    new: int
    bytes: int


def audio_files(folder: Path) -> Iterator[Path]:
    """All audio files below *folder*, in the order of their paths."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            yield path


def shipped_recordings(checkout: Checkout) -> list[tuple[Path, str]]:
    """The project's own recordings, each with the name of its blob."""
    root = checkout.recordings
    return [(path, path.relative_to(root).as_posix()) for path in audio_files(root / "calls")]


def containers(connection_string: str, names: Iterable[str]) -> None:
    """Make the containers that are not there yet."""
    with BlobServiceClient.from_connection_string(connection_string) as service:
        for name in names:
            try:
                service.create_container(name)
            except ResourceExistsError:
                continue


def upload(connection_string: str, container: str, files: Iterable[tuple[Path, str]]) -> Uploaded:
    """Upload each (path, blob name) of *files* that *container* does not hold with the same bytes."""
    logging.getLogger("azure").setLevel(logging.WARNING)
    count = new = size = 0
    with ContainerClient.from_connection_string(connection_string, container) as client:
        present = {blob.name: bytes(blob.content_settings.content_md5 or b"") for blob in client.list_blobs()}
        for path, name in files:
            digest = md5(path)
            count, size = count + 1, size + path.stat().st_size
            if present.get(name) == digest:
                continue
            with path.open("rb") as file:
                settings = ContentSettings(content_md5=bytearray(digest))
                client.upload_blob(name, file, overwrite=True, content_settings=settings)
            new += 1
    return Uploaded(files=count, new=new, bytes=size)


def md5(path: Path) -> bytes:
    """The MD5 by which blob storage describes a blob's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
