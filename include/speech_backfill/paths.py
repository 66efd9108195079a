"""The only place that spells a path inside the store.

chunks/<2 hex>/<chunk id>.json.zst           the files of a chunk; content-addressed, never changed
plans/<plan id>/manifest.parquet             the frozen manifest
plans/<plan id>/plan.json                    what was planned, by number; written last
work/<plan id>/r<round>/s<shard>/…           part files of a merged shard, invisible to readers of the tables
raw/<chunk id>-<attempt>.ndjson.zst          the service's JSON, one object for each transcription
kept/<chunk id>-<attempt>.json               how it ended, where that was kept before its shard could be merged (keep.py)
submissions/<2 hex>/<chunk id>-<attempt>.json   that an attempt was about to be submitted (marks.py)
options/<options id>.json                    the options that files were planned with
tables/<table>/partition=<key>/…             the published tables (tables/layout.py)
tables/_partitions/<key>.json                which part files are published
index/<key>/<plan id>.parquet                ids of the files a published version holds, for plans of other partitions
reports/<key>/<plan id>.json | .md           run reports
estimates/<key>/<run key>.json               what the last dry run of that key has found, by number
"""

from __future__ import annotations

from hashlib import blake2b

from speech_backfill.tables.errors import InvalidPartitionKey
from speech_backfill.tables.layout import quoted

KEPT_ENDS = "kept/"


def chunk_file(chunk_id: str) -> str:
    """The files of a chunk."""
    return f"chunks/{chunk_id[:2]}/{chunk_id}.json.zst"


def manifest(plan_id: str) -> str:
    """The frozen manifest of a plan."""
    return f"plans/{plan_id}/manifest.parquet"


def plan_summary(plan_id: str) -> str:
    """What was planned, by number."""
    return f"plans/{plan_id}/plan.json"


def shard_folder(plan_id: str, round_: int, shard: int) -> str:
    """The folder of a shard's part files."""
    return f"work/{plan_id}/r{round_}/s{shard:04d}"


def part_name(plan_id: str, round_: int, shard: int) -> str:
    """The deterministic stem of a shard's part files, unique among a partition's parts."""
    return f"{plan_id}-r{round_}-s{shard:04d}"


def raw_results(chunk_id: str, attempt: int) -> str:
    """The service's JSON of one transcription."""
    return f"raw/{chunk_id}-{attempt}.ndjson.zst"


def kept_end(chunk_id: str, attempt: int) -> str:
    """How a transcription ended and what its report said, kept until its plan is published."""
    return f"{KEPT_ENDS}{chunk_id}-{attempt}.json"


def mark(chunk_id: str, attempt: int) -> str:
    """That an attempt at a chunk was about to be submitted."""
    return f"submissions/{chunk_id[:2]}/{chunk_id}-{attempt}.json"


def options(options_id: str) -> str:
    """The options under their id, for whoever has lost the ledger."""
    return f"options/{options_id}.json"


def indexes(partition: str) -> str:
    """The folder of the partition's indexes."""
    return f"index/{quoted(partition)}/"


def index(partition: str, plan_id: str) -> str:
    """Ids of the files whose rows the version that *plan_id* published holds."""
    return f"{indexes(partition)}{plan_id}.parquet"


def report(partition: str, plan_id: str, suffix: str) -> str:
    """A run report."""
    return f"reports/{quoted(partition)}/{plan_id}.{suffix}"


def estimate(partition: str, run_key: str) -> str:
    """What a dry run has found. A run key that can't be a name, for it is too long, say, stands there as its digest."""
    try:
        name = quoted(run_key)
    except InvalidPartitionKey:
        name = blake2b(run_key.encode(), digest_size=12).hexdigest()
    return f"estimates/{quoted(partition)}/{name}.json"
