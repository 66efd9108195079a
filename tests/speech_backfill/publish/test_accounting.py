"""Which outcome a file is published with, held against a plain model, however few files are put together at once."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_backfill import paths
from speech_backfill import relations as bounded
from speech_backfill.errors import UnexplainedFiles
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.model import Outcome, Shard
from speech_backfill.plan.frozen import MANIFEST
from speech_backfill.publish import outcomes as publishing
from speech_backfill.reconcile import load_outcomes
from speech_backfill.relations import parquet, relations
from speech_backfill.store import Store
from speech_backfill.tables.outcomes import OutcomesWriter
from speech_backfill.tables.parquet import ROW_GROUP_BYTES, ParquetFile
from speech_backfill.tables.rows import OutcomeRow
from speech_backfill.tables.schema import OUTCOMES

FILES = st.integers(0, 3).map("file-{}".format)
PLAN = "a1b2"


@dataclass(frozen=True)
class Came:
    """One outcome row of a shard."""

    round: int
    shard: int
    file_id: str
    outcome: Outcome
    attempt: int | None
    chunk_id: str

    @property
    def row(self) -> OutcomeRow:
        """As the merge writes it; its message says which it is, and there is nothing that publishing has to mend."""
        return OutcomeRow(
            file_id=self.file_id,
            audio_url=f"https://a/{self.file_id}",
            outcome=self.outcome,
            error_code=None if self.outcome is Outcome.TRANSCRIBED else "Timeout",
            error_message=repr((self.round, self.shard, self.attempt, self.chunk_id)),
            can_retry=self.outcome is not Outcome.TRANSCRIBED,
            attempt=self.attempt,
            chunk_id=self.chunk_id,
        )

    @property
    def rank(self) -> tuple[Any, ...]:
        """The smallest counts."""
        none = self.attempt is None
        late = (self.outcome is not Outcome.TRANSCRIBED, -self.round, self.shard)
        return (*late, none, -(self.attempt or 0), self.chunk_id)


CAME = st.lists(
    st.builds(
        Came,
        round=st.integers(0, 2),
        shard=st.sampled_from([0, 1, 12]),
        file_id=FILES,
        outcome=st.sampled_from(Outcome),
        attempt=st.none() | st.integers(1, 12),
        chunk_id=st.sampled_from("ab"),
    ),
    unique_by=lambda one: (one.file_id, one.rank),
    min_size=3,
    max_size=20,
)

PRIOR = st.lists(
    st.builds(
        OutcomeRow,
        file_id=FILES,
        audio_url=st.just("https://a/before"),
        outcome=st.sampled_from(Outcome),
        error_message=st.just("before"),
        can_retry=st.booleans(),
        transcribed_in=st.none() | st.just("another day"),
        part=st.none() | st.just("older-r0-s0000"),
    ),
    unique_by=lambda one: one.file_id,
    min_size=2,
)

LINES = st.lists(
    st.tuples(FILES, st.sampled_from(["submit", "submit", "carried", "elsewhere", "refused"])),
    unique_by=lambda one: one[0],
    min_size=2,
)


@dataclass(frozen=True)
class Shards:
    """As much of a ledger as reading outcomes asks for."""

    numbers: frozenset[tuple[int, int]]

    def rounds(self, _: str) -> int:
        return 1 + max((round_ for round_, _ in self.numbers), default=-1)

    def shards(self, plan_id: str, round_: int) -> list[Shard]:
        return [
            Shard(plan_id, "day", round_, index, 1, 1) for at, index in sorted(self.numbers) if at == round_
        ]


@contextmanager
def loaded(came: Sequence[Came]) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """A connection with the view `latest` of the shards' rows, and its folder."""
    numbers = frozenset((one.round, one.shard) for one in came)
    store = Store.open("memory://")
    with tempfile.TemporaryDirectory() as name, relations(Path(name)) as connection:
        for round_, shard in numbers:
            with OutcomesWriter(Path(name) / "written.parquet") as writer:
                for one in came:
                    if (one.round, one.shard) == (round_, shard):
                        writer.add(one.row)
            stem = paths.shard_folder(PLAN, round_, shard)
            store.upload(Path(name) / "written.parquet", f"{stem}/outcomes.parquet")
            parts = {"outcomes": {"path": f"{stem}/outcomes.parquet", "rows": 0, "bytes": 0}}
            store.put(f"{stem}/merged.json", json.dumps({"parts": parts}).encode())
        ledger = cast("Ledger", Shards(numbers))
        assert load_outcomes(connection, ledger, store, PLAN, Path(name)) == []
        yield connection, Path(name)


def counted(came: Sequence[Came]) -> dict[str, Came]:
    """The plain model of `latest`."""
    return {one.file_id: one for one in sorted(came, key=lambda one: one.rank, reverse=True)}


@settings(deadline=None, max_examples=60)
@given(came=CAME)
def test_a_transcript_counts_before_the_latest_round_and_every_file_once(came: list[Came]) -> None:
    with loaded(came) as (connection, _):
        rows = connection.execute("SELECT file_id, round, shard, error_message FROM latest").fetchall()
    expected = counted(came).values()
    assert sorted(rows) == sorted(
        (one.file_id, one.round, one.shard, one.row.error_message) for one in expected
    )


def final(
    lines: Sequence[tuple[str, str]], latest: dict[str, Came], prior: dict[str, OutcomeRow]
) -> list[tuple[Any, ...]]:
    """The plain model of what is published: file, outcome, message, can_retry, transcribed_in, part."""
    rows: list[tuple[Any, ...]] = []
    for file_id, disposition in lines:
        now, before = latest.get(file_id), prior.get(file_id)
        done = before is not None and before.outcome is Outcome.TRANSCRIBED
        if disposition == "refused":
            rows.append((file_id, "failed", "refused", False, None, None))
        elif disposition == "elsewhere":
            rows.append((file_id, "transcribed", None, False, "there", None))
        elif disposition == "submit" and now is not None and not (now.row.can_retry and done):
            part = None if now.row.can_retry else f"{PLAN}-r{now.round}-s{now.shard:04}"
            rows.append((file_id, now.outcome, now.row.error_message, now.row.can_retry, None, part))
        elif before is not None and (disposition == "carried" or (now is not None and done)):
            kept = (
                before.outcome,
                before.error_message,
                before.can_retry,
                before.transcribed_in,
                before.part,
            )
            rows.append((file_id, *kept))
        else:
            rows.append((file_id, None))
    return rows


@settings(deadline=None, max_examples=60)
@given(
    came=CAME,
    before=PRIOR,
    lines=LINES,
    whole=st.sampled_from([True, True, True, False]),
    at_once=st.integers(1, 5),
)
def test_every_file_is_published_with_the_outcome_that_counts(
    came: list[Came], before: list[OutcomeRow], lines: list[tuple[str, str]], whole: bool, at_once: int
) -> None:
    expected = final(lines, counted(came), {one.file_id: one for one in before})
    if whole:  # Most manifests that are drawn name a file of which nothing is known; leave those files out.
        lines = [line for line, row in zip(lines, expected, strict=True) if row[1] is not None]
        expected = [row for row in expected if row[1] is not None]
    with loaded(came) as (connection, folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounded, "_MOST_POSITIONS", at_once)
        patch.setattr(bounded, "_SLICE", 1)
        with OutcomesWriter(folder / "before.parquet") as writer:
            for one in before:
                writer.add(one)
        with pq.ParquetWriter(folder / "none.parquet", OUTCOMES):
            pass
        there = folder / ("before.parquet" if before else "none.parquet")
        connection.execute(f"CREATE VIEW prior AS SELECT * FROM read_parquet('{there}')")
        manifest = [
            {
                "position": position,
                "file_id": file_id,
                "audio_url": f"https://a/{file_id}",
                "disposition": disposition,
                "transcribed_in": "there" if disposition == "elsewhere" else None,
                "error_message": "refused" if disposition == "refused" else None,
            }
            for position, (file_id, disposition) in enumerate(lines)
        ]
        pq.write_table(pa.Table.from_pylist(manifest, MANIFEST), folder / "manifest.parquet")
        connection.execute(
            f"CREATE VIEW manifest AS SELECT * FROM read_parquet('{folder / 'manifest.parquet'}')"
        )
        if any(one[1] is None for one in expected):
            with pytest.raises(UnexplainedFiles):
                publishing.account(connection, plan_id=PLAN, partition="day")
            return
        publishing.account(connection, plan_id=PLAN, partition="day")
        connection.execute("INSERT INTO moved VALUES ('older-r0-s0000', 'a1b2-k0001')")
        written = publishing.write_outcomes(connection, folder / "final.parquet")
        if not lines:
            assert written is None
            return
        with pq.ParquetFile(folder / "final.parquet") as file:
            table, groups = file.read(), file.num_row_groups
    assert table.schema.equals(OUTCOMES)
    assert groups == -(-len(lines) // at_once)
    names = ("file_id", "outcome", "error_message", "can_retry", "transcribed_in", "part")
    rows = [tuple(row[name] for name in names) for row in table.to_pylist()]
    moved = {"older-r0-s0000": "a1b2-k0001"}
    assert rows == [(*row[:-1], moved.get(row[-1], row[-1])) for row in expected]
    assert table["manifest_position"].to_pylist() == list(range(len(lines)))


def test_a_file_that_the_manifest_names_twice_is_not_published() -> None:
    once = Came(0, 0, "file-0", Outcome.TRANSCRIBED, 1, "a")
    with loaded([once, replace(once, file_id="file-1")]) as (connection, _):
        connection.register("none", pa.Table.from_batches([], OUTCOMES))
        connection.execute("CREATE VIEW prior AS SELECT * FROM none")
        twice = [
            {"position": position, "file_id": "file-0", "audio_url": "https://a/0", "disposition": "submit"}
            for position in range(2)
        ]
        connection.register("manifest", pa.Table.from_pylist(twice, MANIFEST))
        with pytest.raises(UnexplainedFiles, match="2 rows for 1 files"):
            publishing.account(connection, plan_id=PLAN, partition="day")


def test_batches_become_full_row_groups_and_none_is_empty(tmp_path: Path) -> None:
    def batch(*ids: str) -> pa.RecordBatch:
        columns = [
            pa.array(ids, one.type)
            if one.name == "file_id"
            else pa.repeat(pa.scalar("" if pa.types.is_string(one.type) else None, one.type), len(ids))
            if one.name != "can_retry"
            else pa.repeat(pa.scalar(value=False), len(ids))
            for one in OUTCOMES
        ]
        return pa.RecordBatch.from_arrays(columns, names=OUTCOMES.names)

    file = ParquetFile("outcomes", tmp_path / "x.parquet", row_group_rows=3, row_group_bytes=ROW_GROUP_BYTES)
    file.write_batches([batch("a", "b"), batch(), batch("c", "d"), batch("e"), batch()])
    assert file.close() is not None
    with pq.ParquetFile(tmp_path / "x.parquet") as read:
        groups = [read.read_row_group(n)["file_id"].to_pylist() for n in range(read.num_row_groups)]
    assert groups == [["a", "b", "c", "d"], ["e"]]
    small = ParquetFile("outcomes", tmp_path / "y.parquet", row_group_rows=1000, row_group_bytes=1)
    small.write_batches([batch("a"), batch("b")])
    assert small.close() is not None
    assert pq.read_metadata(tmp_path / "y.parquet").num_row_groups == 2
    empty = ParquetFile("outcomes", tmp_path / "z.parquet", row_group_rows=3, row_group_bytes=1)
    empty.write_batches([batch()])
    assert empty.close() is None


@contextmanager
def wide(rows: int, *, size_bytes: int) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """A manifest whose rows carry so many bytes of the source's own, each of them transcribed now."""
    with tempfile.TemporaryDirectory() as name, relations(Path(name)) as connection:
        folder = Path(name)
        with pq.ParquetWriter(folder / "manifest.parquet", MANIFEST, compression="zstd") as writer:
            for first in range(0, rows, 1000):
                some = [
                    {
                        "position": number,
                        "file_id": f"{number:032x}",
                        "audio_url": f"https://a/{number}",
                        "disposition": "submit",
                        "manifest_columns": [("notes", f"{number:09}" * (size_bytes // 9))],
                    }
                    for number in range(first, min(rows, first + 1000))
                ]
                writer.write_table(pa.Table.from_pylist(some, MANIFEST))
        pq.ParquetWriter(folder / "none.parquet", OUTCOMES).close()
        for view, file in (("manifest", "manifest.parquet"), ("prior", "none.parquet")):
            connection.execute(f"CREATE VIEW {view} AS SELECT * FROM read_parquet({parquet(folder / file)})")
        columns = ", ".join(f'"{name}"' for name in OUTCOMES.names)
        connection.execute(
            f"""CREATE VIEW latest AS SELECT 0 AS round, 0 AS shard, {columns}
                     FROM (SELECT file_id, 'transcribed' AS outcome, false AS can_retry FROM manifest)
                     LEFT JOIN (SELECT * EXCLUDE (outcome, can_retry) FROM prior) USING (file_id)"""
        )
        yield connection, folder


def test_files_with_wide_columns_of_their_own_are_put_together_in_the_same_memory() -> None:
    """200 MB of the source's columns: as many rows as of narrow ones would not fit."""
    with wide(33_000, size_bytes=6_000) as (connection, folder):
        publishing.account(connection, plan_id=PLAN, partition="day")
        written = publishing.write_outcomes(connection, folder / "final.parquet")
    assert written is not None
    assert written.rows == 33_000
