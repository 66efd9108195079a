"""Plans and chunks for ledger tests, as plain as they come."""

from __future__ import annotations

from speech_backfill.ledger.ledger import Ledger, NewPlacement
from speech_backfill.ledger.records import ChunkRecord, PartitionRecord, Placement, PlanRecord, PlanState
from speech_backfill.model import TranscriptionOptions

URL = "https://acct.blob.core.windows.net/audio/{}.wav"
ALL = ("", "￿")


def chunk(
    name: str,
    *,
    audio_ms: int = 1000,
    partition: str = "day",
    url: str | None = None,
    residency: str = "",
) -> ChunkRecord:
    place = url or URL.format(name)
    return ChunkRecord(name, partition, TranscriptionOptions(), 1, 10, audio_ms, place, place, residency)


def plan(
    plan_id: str = "p1", *, partition: str = "day", run_key: str = "run", **changes: object
) -> PlanRecord:
    values = {
        "plan_id": plan_id,
        "partition": partition,
        "run_key": run_key,
        "state": PlanState.OPEN,
        "created_at": 1.0,
        "files": 1,
        "budget_ms": None,
    }
    values |= changes
    if values["budget_ms"] is not None:
        values.setdefault("budget", partition)
    return PlanRecord(**values)  # type: ignore[arg-type]


def committed(
    ledger: Ledger, plan_id: str, *chunks: ChunkRecord, attempts: int = 1, **changes: object
) -> list[Placement]:
    """Commit a plan of *chunks*, each in a shard of its own, and return its placements."""
    record = plan(plan_id, **changes)
    new = [
        NewPlacement(one, shard=number, ordinal=number, attempt=attempts) for number, one in enumerate(chunks)
    ]
    ledger.commit_plan(record, new, claims=ledger.claims(record.partition), bounds=ALL)
    return ledger.placements(plan_id, 0)


def published(plan_id: str, *, partition: str = "day", version: int = 1) -> PartitionRecord:
    return PartitionRecord(partition, version, plan_id, 50.0, 1, 1, 0, 0, 0, "a", "z")
