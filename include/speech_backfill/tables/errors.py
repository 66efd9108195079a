"""The errors of the tables: what can't be named, found or read; writing never invents one for a single audio file."""

from __future__ import annotations

from collections.abc import Iterable

from speech_backfill.errors import SpeechBackfillError

_SHOWN = 10


class TableError(SpeechBackfillError):
    """A table can't be named, found or read."""


class InvalidPartitionKey(TableError):
    """A partition key that can't become a directory."""

    def __init__(self, key: str, problem: str) -> None:
        """Name the *key* and its *problem*."""
        super().__init__(
            f"Partition key {key[:80]!r} can't name a directory: {problem}. Nothing was written. Choose another key."
        )
        self.key = key


class UnknownTable(TableError):
    """No table of that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        """Name the table asked for and the *known* ones."""
        super().__init__(f"There is no table {name!r}. Ask for one of {', '.join(known)}.")


class UnknownColumn(TableError):
    """A table has no such column."""

    def __init__(self, table: str, names: Iterable[str], known: Iterable[str]) -> None:
        """Name the *table*, the unknown column *names* and the *known* ones."""
        super().__init__(f"Table {table} has no column {', '.join(names)}. It has {', '.join(known)}.")


class PartitionNotPublished(TableError):
    """A partition was asked for by name and is not published."""

    def __init__(self, keys: Iterable[str], published: Iterable[str]) -> None:
        """Name the *keys* that are not published and those that are."""
        there = sorted(published)
        more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
        names = ", ".join(there[:_SHOWN]) + more if there else "none"
        super().__init__(
            f"Partition {', '.join(keys)} is not published. Published: {names}. "
            "Run its backfill to the end, or leave the partition out to read all that are published."
        )


class UnreadablePartitionFile(TableError):
    """The file that says which parts of a partition are published can't be used."""

    def __init__(self, path: str, problem: str) -> None:
        """Name the *path* in the store and the *problem*."""
        super().__init__(
            f"{path} can't be used: {problem}. Nothing was changed. "
            "If it was written by a newer version, read it with that version; otherwise bring back what is spoilt or gone from a "
            "backup of the store, for publishing again needs it too."
        )
        self.path = path


class NothingPublished(TableError):
    """A store without a single published partition."""

    def __init__(self, root: str) -> None:
        """Name the store's *root*."""
        super().__init__(
            f"No partition is published in {root}. Check the store's path or URL (it is the folder that holds tables/), "
            "or run a backfill to its end first."
        )
