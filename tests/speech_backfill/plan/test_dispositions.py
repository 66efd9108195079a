"""What is decided about every line, against a model that holds everything in dictionaries."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_backfill import paths
from speech_backfill import relations as bounded
from speech_backfill.plan import frozen
from speech_backfill.plan.chunks import claimed_here
from speech_backfill.plan.dispositions import decide
from speech_backfill.plan.lines import LINES
from speech_backfill.plan.prior import INDEX, load_elsewhere
from speech_backfill.relations import relations
from speech_backfill.store import Store
from speech_backfill.tables.schema import OUTCOMES

URLS = [f"https://acct/audio/{name}.wav" for name in "abcdef"]
ETAGS = ["e1", "e2"]


@dataclass(frozen=True)
class Line:
    """A line of the source; where it has an error, one that names a file or one that names none."""

    url: str
    etag: str
    error: str | None

    def file_id(self, number: int) -> str:
        """As `write_lines` has it: refused lines are each their own."""
        return f"{self.url} {self.etag}" if self.error is None else f"refused {number} {self.url}"


@dataclass(frozen=True)
class Before:
    """What was published of a URL before."""

    etag: str
    outcome: str
    can_retry: bool
    chunk_id: str | None


LINE = st.builds(
    Line,
    st.sampled_from(URLS),
    st.sampled_from(ETAGS),
    st.sampled_from([None, None, None, "FileNotFound", "InvalidLine"]),
)
BEFORE = st.one_of(
    st.builds(
        Before,
        st.sampled_from(ETAGS),
        st.just("transcribed"),
        st.just(False),
        st.sampled_from([None, "c1", "c2"]),
    ),
    st.builds(
        Before,
        st.sampled_from(ETAGS),
        st.sampled_from(["failed", "missing"]),
        st.booleans(),
        st.sampled_from([None, "c1", "c2"]),
    ),
)
IDS = st.sets(st.builds("{} {}".format, st.sampled_from(URLS), st.sampled_from(ETAGS)))

Row = tuple[str, str, str | None]
"""File id, disposition and the partition that it was transcribed in."""


def _model(
    lines: Sequence[Line],
    prior: Mapping[str, Before],
    own: set[str],
    others: Mapping[str, set[str]],
    *,
    reprocess: bool,
) -> tuple[list[Row], int]:
    """The manifest and the number of lines that repeat a URL."""
    seen: set[object] = set()
    kept: set[str] = set()
    rows: list[Row] = []
    repeats = 0
    for number, line in enumerate(lines):
        same = number if line.error == "InvalidLine" else line.url
        if same in seen:
            repeats += 1
            continue
        seen.add(same)
        before = prior.get(line.url)
        if line.error and before and before.outcome == "transcribed":
            continue
        kept.add(line.url)
        if before and (line.error or before.etag != line.etag):
            before = None
        file_id = line.file_id(number)
        elsewhere = min((one for one, ids in others.items() if file_id in ids), default=None)
        if line.error:
            disposition = "refused"
        elif reprocess and (before is None or before.chunk_id is None or before.chunk_id not in own):
            disposition = "submit"
        elif before and not before.can_retry:
            disposition = "carried"
        else:
            disposition = "elsewhere" if elsewhere else "submit"
        rows.append((file_id, disposition, elsewhere))
    for url, before in prior.items():
        if before.outcome == "transcribed" and url not in kept:
            rows.append((f"{url} {before.etag}", "carried", None))
    return rows, repeats


def _table(schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{name: one.get(name) for name in schema.names} for one in rows], schema)


def _load_others(connection: duckdb.DuckDBPyConnection, others: Mapping[str, set[str]], folder: Path) -> None:
    store = Store.open(str(folder / "store"))
    for name, ids in others.items():
        local = folder / "index.parquet"
        pq.write_table(_table(INDEX, [{"file_id": one} for one in sorted(ids)]), local)
        store.upload(local, paths.index(name, "plan"))
    # All that is asked of a ledger here, in an order that is not theirs.
    published = [
        SimpleNamespace(partition=one, plan_id="plan", first_url=URLS[0], last_url=URLS[-1])
        for one in sorted(others, reverse=True)
    ]
    ledger: Any = SimpleNamespace(partitions=lambda: published)
    load_elsewhere(connection, store, ledger, "here", folder, first_url=URLS[0], last_url=URLS[-1])


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(LINE, min_size=1, max_size=12),
    prior=st.dictionaries(st.sampled_from(URLS), BEFORE),
    own=st.sets(st.sampled_from(["c1", "c2"])),
    others=st.dictionaries(st.sampled_from(["monday", "friday", "here"]), IDS),
    reprocess=st.booleans(),
)
def test_every_line_and_every_file_known_before_is_decided_about_as_the_model_says(
    lines: list[Line],
    prior: dict[str, Before],
    own: set[str],
    others: dict[str, set[str]],
    reprocess: bool,
) -> None:
    with (
        tempfile.TemporaryDirectory() as name,
        relations(Path(name)) as connection,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(bounded, "_MOST_POSITIONS", 4)
        patch.setattr(bounded, "_SLICE", 2)
        folder = Path(name)
        source, target = folder / "lines.parquet", folder / "manifest.parquet"
        read = [
            {
                "line": 2 * number,
                "audio_url": one.url,
                "file_id": one.file_id(number),
                "options_id": "o",
                "residency": "",
                "error_code": one.error,
            }
            for number, one in enumerate(lines)
        ]
        pq.write_table(_table(LINES, read), source, row_group_size=3)
        known = [
            {
                "file_id": f"{url} {one.etag}",
                "audio_url": url,
                "outcome": one.outcome,
                "can_retry": one.can_retry,
                "chunk_id": one.chunk_id,
                "manifest_position": 3 * position,
            }
            for position, (url, one) in enumerate(prior.items())
        ]
        connection.register("prior", _table(OUTCOMES, known))
        connection.register("own", pa.table({"chunk_id": pa.array(sorted(own), pa.string())}))
        connection.execute(f"CREATE VIEW lines AS SELECT * FROM read_parquet('{source}')")
        _load_others(connection, others, folder)
        repeats = decide(connection, reprocess=reprocess)
        frozen.write_manifest(connection, source, target)
        made = pq.read_table(target).to_pylist()
    others.pop("here", None)
    rows = [(one["file_id"], one["disposition"], one["transcribed_in"]) for one in made]
    assert (rows, repeats) == _model(lines, prior, own, others, reprocess=reprocess)
    assert [one["position"] for one in made] == list(range(len(made)))


@settings(max_examples=40, deadline=None)
@given(
    wanted=st.sets(st.integers(0, 9)),
    carried=st.sets(st.integers(10, 14)),
    chunks=st.lists(st.lists(st.integers(0, 19), unique=True, max_size=5), max_size=8),
)
def test_a_file_that_is_claimed_is_the_first_chunk_s_that_holds_it(
    wanted: set[int], carried: set[int], chunks: list[list[int]]
) -> None:
    with duckdb.connect(config={"threads": 1}) as connection:
        manifest = [(str(one), "submit") for one in wanted] + [(str(one), "carried") for one in carried]
        columns = {
            "file_id": pa.array([one for one, _ in manifest], pa.string()),
            "disposition": pa.array([what for _, what in manifest], pa.string()),
        }
        connection.register("manifest", pa.table(columns))
        claimed: list[Any] = list(range(len(chunks)))

        def ids_of(chunk: Any) -> pa.Table:
            return pa.table({"file_id": pa.array([str(one) for one in chunks[chunk]], pa.string())})

        taken, under_way = claimed_here(connection, claimed, ids_of)
    left = set(wanted)
    holding = []
    for number, files in enumerate(chunks):
        if left & set(files):
            holding.append(number)
            left -= set(files)
    assert (taken, under_way) == (holding, len(wanted) - len(left))


COLLIDING = (
    "TEXTCOLLBYfGiJUETHQ4hAcKSMd5zYpgqf1YRDhkmxHkhPWptrkoyz28wnI9V0aHeAuaKnak",
    "TEXTCOLLBYfGiJUETHQ4hEcKSMd5zYpgqf1YRDhkmxHkhPWptrkoyz28wnI9V0aHeAuaKnak",
)
"""Two texts of one MD5, found by Marc Stevens (2024); blob names like them can be made."""


@pytest.mark.parametrize("refused", [None, "FileNotFound"])
def test_a_name_that_was_crafted_to_be_like_another_takes_nothing_away(
    tmp_path: Path, refused: str | None
) -> None:
    """Neither passes for a repeat of the other, nor a refused one for a file that was paid for before."""
    assert len({hashlib.md5(one.encode()).digest() for one in COLLIDING}) == 1
    with relations(tmp_path) as connection:
        rows = [
            {"line": number, "audio_url": one, "file_id": f"f{number}", "options_id": "o", "residency": ""}
            for number, one in enumerate(COLLIDING)
        ]
        rows[1]["error_code"] = refused  # type: ignore[assignment]
        before = {"file_id": "f0", "audio_url": COLLIDING[0], "outcome": "transcribed", "can_retry": False}
        connection.register("lines", _table(LINES, rows))
        connection.register("prior", _table(OUTCOMES, [before]))
        connection.register("own", pa.table({"chunk_id": pa.array([], pa.string())}))
        connection.execute("CREATE TABLE elsewhere (file UHUGEINT, transcribed_in VARCHAR)")
        assert decide(connection, reprocess=False) == 0
        found = connection.execute("SELECT line, disposition FROM decisions ORDER BY line").fetchall()
    assert found == [(0, "carried"), (1, "refused" if refused else "submit")]


def test_a_name_that_was_crafted_to_be_like_one_published_before_does_not_replace_it(tmp_path: Path) -> None:
    """The file that was paid for is no longer in the source; the other one there only has its MD5."""
    with relations(tmp_path) as connection:
        line = {"line": 0, "audio_url": COLLIDING[0], "file_id": "f0", "options_id": "o", "residency": ""}
        before = {"file_id": "f1", "audio_url": COLLIDING[1], "outcome": "transcribed", "can_retry": False}
        before["manifest_position"] = 7
        connection.register("lines", _table(LINES, [line]))
        connection.register("prior", _table(OUTCOMES, [before]))
        connection.register("own", pa.table({"chunk_id": pa.array([], pa.string())}))
        connection.execute("CREATE TABLE elsewhere (file UHUGEINT, transcribed_in VARCHAR)")
        decide(connection, reprocess=False)
        assert connection.execute("SELECT line, disposition FROM decisions").fetchall() == [(0, "submit")]
        assert connection.execute("SELECT audio_url FROM from_prior").fetchall() == [(COLLIDING[1],)]
