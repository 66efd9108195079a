"""Marks of submissions in the store: a ledger replaces only its own, and one that it has heeded as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from speech_backfill import paths
from speech_backfill.errors import StoreConflict
from speech_backfill.ledger.records import TranscriptionRecord, TranscriptionState
from speech_backfill.marks import leave_mark, read_mark
from speech_backfill.store import Store

OURS = TranscriptionRecord(
    chunk_id="c1",
    attempt=1,
    token="t",
    plan_id="p1",
    resource="east",
    state=TranscriptionState.INTENDED,
    audio_ms=1,
    lease_owner="w",
    lease_until=99.0,
    intent_at=10.0,
    last_post_at=None,
    posts=0,
    submitted_at=None,
    adopted=False,
    transcription_id=None,
    status=None,
    ended_at=None,
    billed_ms=None,
    settled_at=None,
    problem=None,
)
THEIRS = replace(OURS, intent_at=7.0)


@pytest.fixture
def store() -> Store:
    return Store.open("memory://")


def test_what_another_ledger_has_marked_is_handed_out_and_left_until_it_was_heeded(store: Store) -> None:
    assert leave_mark(store, THEIRS, now=1.0) is None
    there = leave_mark(store, OURS, now=2.0)
    assert there is not None
    assert there.intent_at == THEIRS.intent_at
    assert leave_mark(store, OURS, now=3.0, heeded=there) is None
    path = paths.mark("c1", 1)
    assert read_mark(path, store.get(path)).intent_at == OURS.intent_at


def test_a_mark_that_has_moved_since_it_was_heeded_stops_the_submission(store: Store) -> None:
    """The other ledger is about to submit again: both would."""
    leave_mark(store, THEIRS, now=1.0)
    there = leave_mark(store, OURS, now=2.0)
    leave_mark(store, replace(THEIRS, posts=1), now=3.0)
    with pytest.raises(StoreConflict):
        leave_mark(store, OURS, now=4.0, heeded=there)


def test_our_own_mark_is_replaced_only_as_it_was_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another ledger marks between our look and our write."""
    leave_mark(store, OURS, now=1.0)
    get_versioned = Store.get_versioned

    def another_comes(self: Store, path: str) -> object:
        found = get_versioned(self, path)
        self.put(path, b'{"resource":"west","intent_at":7.0,"posts":1,"at":2.0}')
        return found

    monkeypatch.setattr(Store, "get_versioned", another_comes)
    with pytest.raises(StoreConflict):
        leave_mark(store, replace(OURS, posts=1), now=3.0)
