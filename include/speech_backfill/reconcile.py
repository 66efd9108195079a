"""Reconcile a round: every audio file of the manifest against the merged outcomes, and a repair of what may be cured.

Runs as often as wanted: files that a repair chunk holds already are not cut again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from speech_backfill import paths
from speech_backfill.chunk_files import ChunkedFile, read_chunk, write_chunk
from speech_backfill.ledger.ledger import Ledger, NewPlacement
from speech_backfill.ledger.records import TranscriptionState
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.model import Shard
from speech_backfill.plan.cut import CutFile, cut, shard_of
from speech_backfill.plan.planner import chunk_record
from speech_backfill.relations import batches, relations
from speech_backfill.settings import Settings
from speech_backfill.store import Store
from speech_backfill.tables.schema import OUTCOMES

_MAX_REPAIR_SHARDS = 16
"""A repair is a small part of its run; so are its task instances."""


@dataclass(frozen=True, slots=True)
class MergedShard:
    """A shard of a round and whether its merge has come to its end."""

    shard: Shard
    merged: bool


def merged_shards(ledger: Ledger, store: Store, plan_id: str, round_: int) -> list[MergedShard]:
    """The shards of a round; one counts as merged once its merged.json is there."""
    return [
        MergedShard(one, store.exists(f"{paths.shard_folder(plan_id, round_, one.index)}/merged.json"))
        for one in ledger.shards(plan_id, round_)
    ]


def load_outcomes(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, store: Store, plan_id: str, folder: Path
) -> list[Shard]:
    """Make the table `merged`: outcome rows of all rounds with columns round and shard; returns shards not merged."""
    connection.register("no_outcomes", OUTCOMES.empty_table())
    connection.execute(
        "CREATE TABLE merged AS SELECT *, 0::INTEGER AS round, 0::INTEGER AS shard FROM no_outcomes"
    )
    unmerged = []
    for round_ in range(ledger.rounds(plan_id)):
        for one in merged_shards(ledger, store, plan_id, round_):
            if not one.merged:
                unmerged.append(one.shard)
                continue
            stem = paths.shard_folder(plan_id, round_, one.shard.index)
            local = folder / f"outcomes-{round_}-{one.shard.index}.parquet"
            described = json.loads(store.get(f"{stem}/merged.json"))["parts"]
            if "outcomes" not in described:
                continue
            store.download(described["outcomes"]["path"], local)
            connection.execute(
                "INSERT INTO merged BY NAME SELECT *, ?::INTEGER AS round, ?::INTEGER AS shard "
                "FROM read_parquet(?, hive_partitioning = false)",
                [round_, one.shard.index, str(local)],
            )
            local.unlink()
    # A file may come back in several rounds, and a late result beside its repair: a transcript wins, then the latest
    # round. One row for each file, whatever happened.
    connection.execute(
        """CREATE TABLE latest AS SELECT * EXCLUDE (rank) FROM (
             SELECT *, row_number() OVER (
               PARTITION BY file_id ORDER BY (outcome = 'transcribed') DESC, round DESC, shard, attempt DESC) AS rank
             FROM merged) WHERE rank = 1"""
    )
    return unmerged


def load_manifest(connection: duckdb.DuckDBPyConnection, store: Store, plan_id: str, folder: Path) -> None:
    """Make the view `manifest`: the frozen manifest of the plan."""
    local = folder / "manifest.parquet"
    store.download(paths.manifest(plan_id), local)
    connection.execute(f"CREATE VIEW manifest AS SELECT * FROM read_parquet('{local}')")  # noqa: S608  our own path


@dataclass(frozen=True, slots=True)
class Reconciler:
    """The pieces that reconciling needs; `reconcile` is its verb."""

    ledger: Ledger
    store: Store
    settings: Settings

    def reconcile(self, plan_id: str, round_: int) -> list[Shard]:
        """Plan round *round_* + 1 from the outcomes so far and return its shards; none where nothing can be cured.

        Files of shards that are not merged are left alone: they may well be transcribed.
        """
        following = round_ + 1
        plan = self.ledger.plan(plan_id)
        with (
            tempfile.TemporaryDirectory(prefix="speech-backfill-reconcile-") as name,
            relations(Path(name)) as connection,
        ):
            folder = Path(name)
            load_manifest(connection, self.store, plan_id, folder)
            load_outcomes(connection, self.ledger, self.store, plan_id, folder)
            self._load_repaired(connection, plan_id, following)
            placed = self.ledger.placements(plan_id, following)
            new = list(
                self._repairs(
                    connection, plan.partition, start_shard=1 + max((p.shard for p in placed), default=-1)
                )
            )
            self._settle_given_up(plan_id, {one.chunk.chunk_id for one in new})
        attempts = self.ledger.next_attempts(one.chunk.chunk_id for one in new)
        self.ledger.add_round(
            plan_id,
            following,
            [
                NewPlacement(one.chunk, one.shard, one.ordinal, self._attempt(plan_id, one, attempts))
                for one in new
            ],
        )
        return self.ledger.shards(plan_id, following)

    def _attempt(self, plan_id: str, one: NewPlacement, attempts: dict[str, int]) -> int:
        """A repair chunk with the content of an earlier round's chunk is that chunk's next attempt."""
        earlier = [
            placement.attempt
            for round_ in range(self.ledger.rounds(plan_id))
            for placement in self.ledger.placements(plan_id, round_)
            if placement.chunk.chunk_id == one.chunk.chunk_id
        ]
        return max([attempts[one.chunk.chunk_id], *(attempt + 1 for attempt in earlier)])

    def _load_repaired(self, connection: duckdb.DuckDBPyConnection, plan_id: str, following: int) -> None:
        """Make the table `repaired`: ids of files that stand in a chunk of the following round already."""
        connection.execute("CREATE TABLE repaired (file_id VARCHAR)")
        for placement in self.ledger.placements(plan_id, following):
            ids = [one.file_id for one in read_chunk(self.store, placement.chunk.chunk_id)]
            connection.register("placed", pa.table({"file_id": pa.array(ids, pa.string())}))
            connection.execute("INSERT INTO repaired SELECT file_id FROM placed")
            connection.unregister("placed")

    def _repairs(
        self, connection: duckdb.DuckDBPyConnection, partition: str, *, start_shard: int
    ) -> Iterator[NewPlacement]:
        """Chunks of the files that may be cured. Files of a transcription that failed as a whole are halved."""
        query = """
            SELECT m.options_id, m.file_id, m.audio_url, m.etag, m.size_bytes, m.duration_ms, l.chunk_id
            FROM manifest m JOIN latest l USING (file_id) ANTI JOIN repaired r USING (file_id)
            WHERE m.disposition = 'submit' AND l.outcome <> 'transcribed' AND l.can_retry
            ORDER BY m.options_id, m.position
        """
        rows: list[CutFile] = []
        chunk_of: dict[str, str] = {}
        for batch in batches(connection, query):
            for options_id, file_id, url, etag, size_bytes, duration_ms, chunk_id in zip(
                *(batch.column(number).to_pylist() for number in range(7)), strict=True
            ):
                rows.append(CutFile(options_id, ChunkedFile(file_id, url, etag, size_bytes, duration_ms)))
                chunk_of[options_id] = chunk_id
        options = self.ledger.options_of_chunks(list(chunk_of.values()))
        chunks = list(cut(rows, files_per_chunk=self.settings.files_per_transcription))
        for number, one in enumerate(chunks):
            write_chunk(self.store, one.chunk_id, list(one.files))
            record = chunk_record(
                one, partition=partition, options=options[chunk_of[one.options_id]], settings=self.settings
            )
            shard = start_shard + shard_of(number, chunks=len(chunks), max_shards=_MAX_REPAIR_SHARDS)
            yield NewPlacement(record, shard=shard, ordinal=number, attempt=1)

    def _settle_given_up(self, plan_id: str, chunk_ids: set[str]) -> None:
        """What was given up has its outcome; its chunk may be attempted again."""
        submissions = Submissions(self.ledger)
        for record in submissions.of_plan(plan_id):
            if record.state is TranscriptionState.GIVEN_UP and record.chunk_id in chunk_ids:
                submissions.settle(record)
