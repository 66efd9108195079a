"""Which parts of which partitions are published: reads the partition files that publish commits; it never lists parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from speech_backfill.tables.errors import NothingPublished, PartitionNotPublished, UnreadablePartitionFile
from speech_backfill.tables.layout import PARTITION_FILES_PREFIX, partition_file, partition_of_file
from speech_backfill.tables.schema import SCHEMA_VERSION


class _Listed(Protocol):
    @property
    def path(self) -> str: ...


class ReadableStore(Protocol):
    """What reading needs of a store."""

    @property
    def url(self) -> str:
        """The root, for messages."""
        ...

    def get(self, path: str) -> bytes:
        """The whole object; FileNotFoundError if it is not there."""
        ...

    def list(self, prefix: str) -> Iterator[_Listed]:
        """The objects below *prefix*."""
        ...


class PublishedPart(msgspec.Struct, frozen=True):
    """One Parquet file of a published partition; *path* is relative to the store's root."""

    path: str
    rows: int
    bytes: int


class PublishedPartition(msgspec.Struct, frozen=True):
    """The content of a partition file: all parts of one partition, as they became visible together."""

    schema_version: int
    partition: str
    version: int
    tables: dict[str, list[PublishedPart]]
    plan_id: str | None = None

    def parts(self, table: str) -> Sequence[PublishedPart]:
        """The table's parts; none when the partition has no row of it."""
        return self.tables.get(table, ())


def read_partition_file(path: str, content: bytes) -> PublishedPartition:
    """What the partition file at *path* says. Raises UnreadablePartitionFile where it is spoilt."""
    try:
        return msgspec.json.decode(content, type=PublishedPartition)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadablePartitionFile(path, f"it is not what publish writes ({error})") from None


@dataclass(frozen=True, slots=True)
class PublishedTables:
    """The published partitions of a store."""

    store: ReadableStore

    def keys(self) -> list[str]:
        """The keys of all published partitions, sorted."""
        paths = (one.path for one in self.store.list(PARTITION_FILES_PREFIX))
        return sorted(key for key in map(partition_of_file, paths) if key is not None)

    def chosen(self, partition: str | Sequence[str] | None) -> list[PublishedPartition]:
        """The partitions asked for, in that order; all of them for None. Raises an error for one that is not published."""
        wanted = [partition] if isinstance(partition, str) else partition
        if wanted is None:
            published = self.keys()
            if not published:
                raise NothingPublished(self.store.url)
            return [self.read(key) for key in published]
        found, absent = [], []
        for key in dict.fromkeys(wanted):
            try:
                found.append(self.read(key))
            except FileNotFoundError:
                absent.append(key)
        if absent:
            raise PartitionNotPublished(absent, self.keys())
        return found

    def read(self, key: str) -> PublishedPartition:
        """One partition's parts, as of now. FileNotFoundError where it is not published."""
        path = partition_file(key)
        read = read_partition_file(path, self.store.get(path))
        if read.schema_version > SCHEMA_VERSION:
            raise UnreadablePartitionFile(
                path,
                f"its tables have schema version {read.schema_version}, this version reads up to {SCHEMA_VERSION}",
            )
        return read
