"""What the emulator remembers: transcriptions, their files and results, in SQLite; it decides nothing.

With a data folder every accepted transcription is committed before it is answered, so that a killed emulator
goes on where it was. Without one the same tables live in SQLite's private temporary file, which keeps memory
flat and disappears with the process. All calls come from the event loop's thread.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgspec

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS transcriptions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, resource TEXT NOT NULL, region TEXT NOT NULL,
    base_url TEXT NOT NULL, display_name TEXT NOT NULL, description TEXT, locale TEXT NOT NULL, model TEXT,
    project TEXT, custom_properties TEXT, properties TEXT NOT NULL, container_url TEXT, destination_url TEXT,
    status TEXT NOT NULL, created_at REAL NOT NULL, last_action_at REAL NOT NULL, starts_at REAL NOT NULL,
    visible_at REAL NOT NULL, ended_at REAL, purge_at REAL, error_code TEXT, error_message TEXT,
    duration_ms INTEGER, faults TEXT NOT NULL, has_report INTEGER NOT NULL, files_known INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS by_end ON transcriptions (purge_at) WHERE purge_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS files (
    transcription_id TEXT NOT NULL, position INTEGER NOT NULL, url TEXT NOT NULL, name TEXT NOT NULL,
    outcome TEXT, error_kind TEXT, error_message TEXT, duration_ms INTEGER, channels INTEGER, finished_at REAL,
    result BLOB, destination TEXT, size INTEGER);
CREATE UNIQUE INDEX IF NOT EXISTS by_transcription ON files (transcription_id, position);
CREATE TABLE IF NOT EXISTS accepted (
    id TEXT PRIMARY KEY, resource TEXT NOT NULL, display_name TEXT NOT NULL, created_at REAL NOT NULL,
    files INTEGER NOT NULL, billed_ms INTEGER NOT NULL DEFAULT 0, status TEXT NOT NULL DEFAULT 'NotStarted',
    ended_at REAL);
CREATE TABLE IF NOT EXISTS webhooks (id TEXT PRIMARY KEY, resource TEXT NOT NULL, body TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcription:
    """One transcription as stored; JSON texts stay text until somebody shows them."""

    seq: int = 0
    id: str
    resource: str
    region: str
    base_url: str
    display_name: str
    description: str | None
    locale: str
    model: str | None
    project: str | None
    custom_properties: str | None
    properties: str
    container_url: str | None
    destination_url: str | None
    status: str
    created_at: float
    last_action_at: float
    starts_at: float
    visible_at: float
    ended_at: float | None = None
    purge_at: float | None = None
    error_code: str | None = None
    error_message: str | None = None
    duration_ms: int | None = None
    faults: str = "[]"
    has_report: int = 1
    files_known: int = 1

    @property
    def finished(self) -> bool:
        """Whether the transcription has ended, either way."""
        return self.status in {"Succeeded", "Failed"}

    def __repr__(self) -> str:
        return f"Transcription(id={self.id!r}, resource={self.resource!r}, status={self.status!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioFile:
    """One audio file of a transcription and what became of it: `succeeded`, `failed`, `lost`, or None so far."""

    position: int
    url: str
    name: str
    outcome: str | None = None
    error_kind: str | None = None
    error_message: str | None = None
    duration_ms: int | None = None
    channels: int | None = None
    finished_at: float | None = None
    destination: str | None = None
    size: int | None = None

    def __repr__(self) -> str:
        return f"AudioFile(position={self.position}, name={self.name!r}, outcome={self.outcome!r})"


_COLUMNS = tuple(field.name for field in fields(Transcription) if field.name != "seq")
_SHOWN = ", ".join(field.name for field in fields(Transcription))
_FILE_SHOWN = ", ".join(field.name for field in fields(AudioFile))


class Store:
    """The tables and the questions asked of them."""

    def __init__(self, folder: Path | None) -> None:
        if folder is None:
            self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        else:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / "emulator.sqlite"
            # The tables hold submitted URLs with their SAS; SQLite gives its side files the same permissions.
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            # Two emulators on one folder would process everything twice.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_TABLES)
        # A folder that an earlier emulator has kept lacks what came later.
        if "ended_at" not in {row[1] for row in self._db.execute("PRAGMA table_info(accepted)")}:
            self._db.execute("ALTER TABLE accepted ADD COLUMN ended_at REAL")

    def close(self) -> None:
        """Close the database; what was committed stays."""
        self._db.close()

    # --- transcriptions ---------------------------------------------------------------------------

    def accept(self, row: Transcription, urls: Iterable[str], names: Iterable[str]) -> None:
        """Commit a transcription and its files, each with the name its result will have, as one."""
        marks = ", ".join(f":{name}" for name in _COLUMNS)
        files = [(row.id, at, url, name) for at, (url, name) in enumerate(zip(urls, names, strict=True))]
        with self._transaction():
            self._db.execute(
                f"INSERT INTO transcriptions ({', '.join(_COLUMNS)}) VALUES ({marks})",  # noqa: S608 - own names
                {name: getattr(row, name) for name in _COLUMNS},
            )
            self._insert_files(files)
            self._db.execute(
                "INSERT INTO accepted (id, resource, display_name, created_at, files) VALUES (?, ?, ?, ?, ?)",
                (row.id, row.resource, row.display_name, row.created_at, len(files)),
            )

    def find(self, resource: str, transcription_id: str) -> Transcription | None:
        """One transcription of a resource."""
        return next(self._select("resource = ? AND id = ?", resource, transcription_id), None)

    def of_resource(self, resource: str, now: float) -> list[Transcription]:
        """The transcriptions that a list shows now, oldest first."""
        return list(self._select("resource = ? AND visible_at <= ? ORDER BY seq", resource, now))

    def unfinished(self, region: str) -> list[Transcription]:
        """What a region still has to do, oldest first."""
        return list(self._select("region = ? AND status IN ('NotStarted', 'Running') ORDER BY seq", region))

    def change(self, transcription_id: str, **values: Any) -> None:
        """Set columns of one transcription."""
        unknown = set(values) - set(_COLUMNS)
        assert not unknown, unknown
        parts = ", ".join(f"{name} = :{name}" for name in values)
        query = f"UPDATE transcriptions SET {parts} WHERE id = :_id"  # noqa: S608 - own names
        self._db.execute(query, {**values, "_id": transcription_id})
        if "status" in values:
            self._db.execute(
                "UPDATE accepted SET status = ?, ended_at = ? WHERE id = ?",
                (values["status"], values.get("ended_at"), transcription_id),
            )

    def bill(self, transcription_id: str, duration_ms: int) -> None:
        """Note how much audio was paid for; the note outlives the transcription."""
        self._db.execute("UPDATE accepted SET billed_ms = ? WHERE id = ?", (duration_ms, transcription_id))

    def delete(self, transcription_id: str) -> None:
        """Forget a transcription with its files and results."""
        with self._transaction():
            self._db.execute("DELETE FROM files WHERE transcription_id = ?", (transcription_id,))
            self._db.execute("DELETE FROM transcriptions WHERE id = ?", (transcription_id,))

    def due_for_purge(self, now: float) -> list[Transcription]:
        """Transcriptions whose time to live is over."""
        return list(self._select("purge_at IS NOT NULL AND purge_at <= ?", now))

    def _select(self, where: str, *values: Any) -> Iterator[Transcription]:
        cursor = self._db.execute(f"SELECT {_SHOWN} FROM transcriptions WHERE {where}", values)  # noqa: S608 - own text
        names = [column[0] for column in cursor.description]
        return (Transcription(**dict(zip(names, row, strict=True))) for row in cursor.fetchall())

    # --- files ----------------------------------------------------------------------------------------

    def add_container_files(self, transcription_id: str, files: Iterable[tuple[str, str]]) -> None:
        """Record the blobs that a container turned out to hold, as pairs of URL and name."""
        rows = [
            (transcription_id, position, url, f"{name}.json") for position, (url, name) in enumerate(files)
        ]
        with self._transaction():
            self._db.execute("DELETE FROM files WHERE transcription_id = ?", (transcription_id,))
            self._insert_files(rows)
            self._db.execute("UPDATE transcriptions SET files_known = 1 WHERE id = ?", (transcription_id,))
            self._db.execute("UPDATE accepted SET files = ? WHERE id = ?", (len(rows), transcription_id))

    def files(self, transcription_id: str, *, pending: bool = False) -> list[AudioFile]:
        """The files of a transcription in input order, without their results."""
        only = " AND outcome IS NULL" if pending else ""
        query = f"SELECT {_FILE_SHOWN} FROM files WHERE transcription_id = ?{only} ORDER BY position"  # noqa: S608 - own text
        cursor = self._db.execute(query, (transcription_id,))
        names = [column[0] for column in cursor.description]
        return [AudioFile(**dict(zip(names, row, strict=True))) for row in cursor]

    def file(self, transcription_id: str, position: int) -> AudioFile | None:
        """One file of a transcription."""
        query = f"SELECT {_FILE_SHOWN} FROM files WHERE transcription_id = ? AND position = ?"  # noqa: S608 - own text
        cursor = self._db.execute(query, (transcription_id, position))
        names = [column[0] for column in cursor.description]
        row = cursor.fetchone()
        return None if row is None else AudioFile(**dict(zip(names, row, strict=True)))

    def finish_files(self, transcription_id: str, files: Sequence[AudioFile]) -> None:
        """Record what became of files, in one transaction."""
        with self._transaction():
            self._db.executemany(
                "UPDATE files SET outcome = ?, error_kind = ?, error_message = ?, duration_ms = ?, channels = ?,"
                " finished_at = ?, destination = ?, size = ? WHERE transcription_id = ? AND position = ?",
                [
                    (
                        file.outcome,
                        file.error_kind,
                        file.error_message,
                        file.duration_ms,
                        file.channels,
                        file.finished_at,
                        file.destination,
                        file.size,
                        transcription_id,
                        file.position,
                    )
                    for file in files
                ],
            )

    def put_result(self, transcription_id: str, position: int, content: bytes) -> None:
        """Keep the recognised phrases of one file."""
        self._db.execute(
            "UPDATE files SET result = ? WHERE transcription_id = ? AND position = ?",
            (zlib.compress(content), transcription_id, position),
        )

    def result(self, transcription_id: str, position: int) -> bytes | None:
        """The recognised phrases of one file, if they were kept."""
        row = self._db.execute(
            "SELECT result FROM files WHERE transcription_id = ? AND position = ?",
            (transcription_id, position),
        ).fetchone()
        return None if row is None or row[0] is None else zlib.decompress(row[0])

    def _insert_files(self, rows: Sequence[tuple[str, int, str, str]]) -> None:
        self._db.executemany(
            "INSERT INTO files (transcription_id, position, url, name) VALUES (?, ?, ?, ?)", rows
        )

    # --- counters, webhooks, small state -------------------------------------------------------------

    def accepted(self) -> list[dict[str, Any]]:
        """Every transcription ever accepted, deleted and purged ones included."""
        cursor = self._db.execute(
            "SELECT id, resource, display_name, created_at, files, billed_ms, status, ended_at FROM accepted ORDER BY rowid"
        )
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def webhooks(self, resource: str) -> list[dict[str, Any]]:
        """The webhooks of a resource, oldest first."""
        rows = self._db.execute("SELECT body FROM webhooks WHERE resource = ? ORDER BY rowid", (resource,))
        return [msgspec.json.decode(row[0], type=dict[str, Any]) for row in rows]

    def put_webhook(self, resource: str, hook: dict[str, Any]) -> None:
        """Insert or replace a webhook."""
        body = msgspec.json.encode(hook).decode()
        self._db.execute(
            "INSERT INTO webhooks (id, resource, body) VALUES (?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (hook["id"], resource, body),
        )

    def delete_webhook(self, resource: str, webhook_id: str) -> None:
        """Forget a webhook, if it is there."""
        self._db.execute("DELETE FROM webhooks WHERE resource = ? AND id = ?", (resource, webhook_id))

    def remembered(self, key: str) -> bytes | None:
        """A small value kept under a name."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def remember(self, key: str, value: bytes) -> None:
        """Keep a small value under a name."""
        self._db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    def clear(self) -> None:
        """Forget every transcription, file, webhook and count; the signing key stays."""
        with self._transaction():
            for table in ("transcriptions", "files", "accepted", "webhooks"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - own names

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db)


class _Transaction:
    """All or nothing, on a connection that otherwise commits every statement."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")
