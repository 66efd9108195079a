"""The store's own memory of submissions: a small mark for each, left before the request. Never removed.

The ledger knows what it submitted. The marks tell that a ledger is not the one it should be: new, restored from a backup,
or one of two on the same store. What another ledger has marked is looked for at the service before it is submitted.
"""

from __future__ import annotations

import msgspec

from speech_backfill import paths
from speech_backfill.errors import StoreConflict, StoreError
from speech_backfill.ledger.records import TranscriptionRecord
from speech_backfill.store import Store


class Mark(msgspec.Struct, frozen=True):
    """Somebody was about to submit this attempt. Times are seconds since 1970, UTC."""

    resource: str
    intent_at: float
    """When the intent was written: the same for a ledger row all its life, another in another ledger."""
    posts: int
    """How many submissions the ledger row counted with this one."""
    at: float


def leave_mark(
    store: Store, record: TranscriptionRecord, *, now: float, heeded: Mark | None = None
) -> Mark | None:
    """Mark that *record* is about to be submitted. Returns a mark that this ledger does not know of, and leaves it there.

    One that was *heeded* is replaced, unless it has moved since: then StoreConflict.
    """
    path = paths.mark(record.chunk_id, record.attempt)
    mine = msgspec.json.encode(Mark(record.resource, record.intent_at, record.posts + 1, now))
    if store.create(path, mine):
        return None
    found = store.get_versioned(path)
    there = None if found is None else read_mark(path, found[0])
    if there is None or (there.intent_at == record.intent_at and there.posts <= record.posts):
        # Ours, of an earlier try, or gone: nobody else has the lease on this row, but another ledger may come just now.
        if found is None:
            store.put(path, mine)
        else:
            store.replace(path, mine, expected_etag=found[1])
        return None
    if heeded is None:
        return there
    if there != heeded:
        raise StoreConflict(path)
    assert found is not None
    store.replace(path, mine, expected_etag=found[1])
    return None


def read_mark(path: str, content: bytes) -> Mark:
    """The mark in *content*. Raises StoreError where it can't be read."""
    try:
        return msgspec.json.decode(content, type=Mark)
    except msgspec.MsgspecError as error:
        raise StoreError("read", path, f"its content is spoilt ({error})") from error
