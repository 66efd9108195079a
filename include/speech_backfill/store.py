"""The store: where plans, raw results and tables live. A local folder or a container behind the same few verbs.

Paths are relative, with forward slashes; they never leave the root. Writes may be conditional: that is how a partition
becomes visible as a whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, NotFoundError, PreconditionError

from speech_backfill.accounts import StorageAccounts
from speech_backfill.errors import AudioUriError, SettingsError, StoreConflict, StoreError


@dataclass(frozen=True, slots=True)
class Stored:
    """One object: its path in the store, its size and its ETag."""

    path: str
    size_bytes: int
    etag: str | None


@dataclass(frozen=True, slots=True)
class Store:
    """A root and the obstore store that serves it. *url* names it in messages and reports; it carries no secret."""

    url: str
    objects: Any
    local_root: Path | None = None

    @classmethod
    def open(cls, url: str, accounts: StorageAccounts | None = None) -> Store:
        """Open a local folder, file://…, memory:// or a container URI of one of *accounts*. Raises SettingsError."""
        if url.startswith("memory://"):
            from obstore.store import MemoryStore

            return cls(url, MemoryStore())
        if "://" not in url or url.startswith("file://"):
            from obstore.store import LocalStore

            root = (
                Path(unquote(urlsplit(url).path) if url.startswith("file://") else url).expanduser().resolve()
            )
            root.mkdir(parents=True, exist_ok=True)
            return cls(str(root), LocalStore(str(root)), root)
        try:
            place = (accounts or StorageAccounts(())).locate(url)
        except AudioUriError as error:
            raise SettingsError(
                "SPEECH_BACKFILL_STORE", error.problem, "Correct the URL, or add the account's connection."
            ) from error
        return cls(place.url.rstrip("/"), place.account.container(place.container, place.path.rstrip("/")))

    def get(self, path: str) -> bytes:
        """The whole object; for small ones. Raises StoreError, FileNotFoundError if it is not there."""
        _checked(path)
        try:
            return bytes(obstore.get(self.objects, path).bytes())
        except (NotFoundError, FileNotFoundError) as error:
            raise FileNotFoundError(path) from error
        except Exception as error:  # obstore raises one class a fault; the reader needs one message
            raise StoreError("read", path, _said(error)) from error

    def get_versioned(self, path: str) -> tuple[bytes, str | None] | None:
        """The object and its ETag, or None where there is none."""
        _checked(path)
        try:
            answer = obstore.get(self.objects, path)
            return bytes(answer.bytes()), answer.meta.get("e_tag")
        except (NotFoundError, FileNotFoundError):
            return None
        except Exception as error:
            raise StoreError("read", path, _said(error)) from error

    def put(self, path: str, data: bytes) -> None:
        """Write the object, replacing what was there."""
        _checked(path)
        try:
            obstore.put(self.objects, path, data)
        except Exception as error:
            raise StoreError("write", path, _said(error)) from error

    def create(self, path: str, data: bytes) -> bool:
        """Write the object unless it exists; False where it did."""
        _checked(path)
        try:
            obstore.put(self.objects, path, data, mode="create")
        except AlreadyExistsError:
            return False
        except Exception as error:
            raise StoreError("write", path, _said(error)) from error
        return True

    def replace(self, path: str, data: bytes, *, expected_etag: str | None) -> None:
        """Write only if the object still has *expected_etag* (None: is not there). Raises StoreConflict.

        A local folder has no conditional write; there a lock file stands in for it.
        """
        if expected_etag is None:
            if not self.create(path, data):
                raise StoreConflict(path)
            return
        if self.local_root is not None:
            _replace_locally(self, path, data, expected_etag)
            return
        _checked(path)
        try:
            obstore.put(self.objects, path, data, mode={"e_tag": expected_etag})
        except (PreconditionError, NotFoundError) as error:
            raise StoreConflict(path) from error
        except Exception as error:
            raise StoreError("write", path, _said(error)) from error

    def upload(self, source: Path, path: str) -> None:
        """Write a local file, in parts where it is large; readers see the old object or the new one, never half."""
        _checked(path)
        try:
            obstore.put(self.objects, path, source)
        except Exception as error:
            raise StoreError("write", path, _said(error)) from error

    def download(self, path: str, target: Path) -> None:
        """Stream the object into the local file *target*. Raises FileNotFoundError if it is not there."""
        _checked(path)
        try:
            answer = obstore.get(self.objects, path)
            with target.open("wb") as out:
                for piece in answer.stream(min_chunk_size=4 * 1024 * 1024):
                    out.write(piece)
        except (NotFoundError, FileNotFoundError) as error:
            raise FileNotFoundError(path) from error
        except Exception as error:
            raise StoreError("read", path, _said(error)) from error

    def copy(self, source: str, target: str) -> None:
        """Copy within the store, at the server where it is a container."""
        _checked(source)
        _checked(target)
        try:
            obstore.copy(self.objects, source, target)
        except (NotFoundError, FileNotFoundError) as error:
            raise FileNotFoundError(source) from error
        except Exception as error:
            raise StoreError("copy", source, _said(error)) from error

    def list(self, prefix: str) -> Iterator[Stored]:
        """Objects below the folder *prefix*, page by page."""
        if prefix:
            _checked(prefix)
        try:
            for page in obstore.list(self.objects, prefix=prefix or None, chunk_size=1000):
                for meta in page:
                    yield Stored(meta["path"], meta["size"], meta.get("e_tag"))
        except Exception as error:
            raise StoreError("list", prefix, _said(error)) from error

    def exists(self, path: str) -> bool:
        """Whether the object is there."""
        _checked(path)
        try:
            obstore.head(self.objects, path)
        except (NotFoundError, FileNotFoundError):
            return False
        except Exception as error:
            raise StoreError("look at", path, _said(error)) from error
        return True

    def delete(self, path: str) -> None:
        """Remove the object; no error where it is gone already."""
        _checked(path)
        try:
            obstore.delete(self.objects, path)
        except (NotFoundError, FileNotFoundError):
            return
        except Exception as error:
            raise StoreError("delete", path, _said(error)) from error


def _checked(path: str) -> str:
    if path.startswith("/") or any(step in {"", ".", ".."} for step in path.rstrip("/").split("/")):
        raise StoreError("accept", path, "a path inside the store is relative and has no empty, . or .. step")
    return path


def _said(error: Exception) -> str:
    """The first line of an obstore error without any query string: it may quote the URL it asked for."""
    import re

    return re.sub(r"\?\S*", "?…", str(error).strip().split("\n", 1)[0])[:300]


def _replace_locally(store: Store, path: str, data: bytes, expected_etag: str) -> None:
    """Compare and swap on a local folder: a lock file beside the object, then the same check and an atomic rename."""
    import fcntl
    import os

    assert store.local_root is not None
    target = store.local_root / path
    # Named by a digest: the object's own name may be as long as the file system allows.
    name = blake2b(target.name.encode(), digest_size=8).hexdigest()
    lock = target.with_name(f".{name}.lock")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        current = store.get_versioned(path)
        if current is None or current[1] != expected_etag:
            raise StoreConflict(path)
        draft = target.with_name(f".{name}.{os.getpid()}.draft")
        draft.write_bytes(data)
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        shutil.move(draft, target)
