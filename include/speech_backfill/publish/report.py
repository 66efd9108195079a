"""The run report: what became of every audio file, what it cost, where the tables lie. JSON for machines, Markdown for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from speech_backfill.chunk_files import ChunkedFile
from speech_backfill.durations import NO_RATES, audio_ms
from speech_backfill.error_classes import OurCode
from speech_backfill.errors import BudgetExhausted
from speech_backfill.ledger.budgets import BudgetState
from speech_backfill.ledger.records import PlanRecord, TranscriptionRecord, TranscriptionState
from speech_backfill.relations import batches, one_row
from speech_backfill.settings import Settings

_REASONS = 50
"""Reasons listed at the most; the outcomes table has them all."""

_MOST_FREQUENT = """
WITH reasons AS (
    SELECT outcome, coalesce(error_code, '') AS code, error_message AS message, count(*) AS files, bool_or(can_retry) AS can_retry
    FROM final WHERE outcome <> 'transcribed' GROUP BY 1, 2, 3 ORDER BY files DESC, 1, 2, coalesce(any_value(error_message), '') LIMIT ?
)
SELECT r.outcome, r.code, coalesce(r.message, ''), r.files, r.can_retry, min(f.audio_url)
FROM final f JOIN reasons r
    ON r.outcome = f.outcome AND r.code = coalesce(f.error_code, '') AND r.message IS NOT DISTINCT FROM f.error_message
GROUP BY r.outcome, r.code, r.message, r.files, r.can_retry ORDER BY 4 DESC, 1, 2, 3
"""
"""Reasons may be as many as files, so only those that are listed are asked for an example."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why some files failed or are missing."""

    outcome: str
    error_code: str
    error_message: str
    files: int
    can_retry: bool
    example: str
    """One of the files."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """files = transcribed + failed + missing, counted from the published outcomes."""

    partition: str
    plan_id: str
    version: int
    published_at: float
    seconds: float
    """From plan to publication."""
    files: int
    transcribed: int
    failed: int
    missing: int
    can_retry: int
    transcribed_now: int
    """Of those transcribed: by this plan."""
    transcriptions: int
    submitted_now: int
    """Of the transcriptions: put on the wire by this plan; the others were taken over from earlier plans."""
    adopted: int
    """Found at the service after a lost answer, not paid again."""
    given_up: int
    duplicates: int
    """Second transcriptions of the same chunk that were found; each was paid."""
    billed_audio_hours: float
    """As the service measured the transcriptions that no earlier report has counted, whoever submitted them."""
    price: float
    resources: dict[str, int]
    """Transcriptions by resource."""
    tables: dict[str, int]
    """Rows by table."""
    store: str
    reasons: tuple[Reason, ...]
    duplicate_audio_hours: float = 0.0
    """What the second transcriptions have cost, as far as they had ended."""
    purged: int = 0
    """Files that were transcribed and paid for, but whose results the service had deleted before they were fetched."""
    purged_audio_hours: float = 0.0
    """The audio of these files, from the manifest or estimated from its size."""
    purged_price: float = 0.0
    """What it would cost to have them transcribed again."""
    budget: str | None = None
    """The name of the budget that counts for this plan."""
    budget_hours: float | None = None
    """Its limit in audio hours; None: no limit."""
    budget_spent_hours: float = 0.0
    """What of it was spent when this was written, by all plans that share it."""
    over_budget: int = 0
    """Files that were not submitted, because the budget did not allow it."""
    over_budget_audio_hours: float = 0.0
    """Their audio, from the manifest or estimated."""

    @property
    def shortfall(self) -> BudgetExhausted | None:
        """The error that says what the budget left over; None where it allowed everything."""
        if not self.over_budget or self.budget is None:
            return None
        return BudgetExhausted(
            partition=self.partition,
            budget=self.budget,
            limit_hours=self.budget_hours or 0.0,
            spent_hours=self.budget_spent_hours,
            files_left=self.over_budget,
            hours_left=self.over_budget_audio_hours,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @property
    def markdown(self) -> str:
        """The report for people."""
        when = datetime.fromtimestamp(self.published_at, UTC)
        lines = [
            f"# Partition {_cell(self.partition)}",
            "",
            f"Published {when:%Y-%m-%d %H:%M:%S} UTC as version {self.version}, {self.seconds:,.0f} s after the plan `{self.plan_id}`.",
            "",
            "| audio files | transcribed | failed | missing | can be tried again |",
            "|---:|---:|---:|---:|---:|",
            f"| {self.files:,} | {self.transcribed:,} | {self.failed:,} | {self.missing:,} | {self.can_retry:,} |",
            "",
            (
                f"{self.transcribed_now:,} files were transcribed by this plan, in {self.submitted_now:,} of its {self.transcriptions:,} "
                f"transcriptions ({', '.join(f'{name}: {count:,}' for name, count in sorted(self.resources.items())) or 'none'}). "
                f"{self.billed_audio_hours:,.3f} audio hours, {self.price:,.2f} at the price in the settings (not verified with Azure)."
            ),
        ]
        if self.adopted or self.given_up or self.duplicates:
            lines += [
                "",
                (
                    f"Adopted after a lost answer: {self.adopted:,}. Given up: {self.given_up:,}. Submitted twice: {self.duplicates:,} "
                    f"({self.duplicate_audio_hours:,.3f} audio hours paid again)."
                ),
            ]
        if self.purged:
            lines += [
                "",
                (
                    f"The service had deleted the results of {self.purged:,} files before they were fetched. To have them transcribed "
                    f"again takes about {self.purged_audio_hours:,.3f} audio hours, {self.purged_price:,.2f}: run the repair with "
                    "*reprocess*, or set SPEECH_BACKFILL_RESUBMIT_PURGED for the runs to come."
                ),
            ]
        if self.budget is not None and self.budget_hours is not None:
            lines += [
                "",
                f"Budget {_cell(self.budget)}: {self.budget_spent_hours:,.3f} of {self.budget_hours:,.3f} audio hours spent.",
            ]
        if self.over_budget:
            lines += [
                "",
                (
                    f"**{self.over_budget:,} files, about {self.over_budget_audio_hours:,.3f} audio hours, were not submitted: the budget "
                    "does not allow them.** Trigger the DAG again with a higher budget, and only these are submitted."
                ),
            ]
        if self.reasons:
            lines += ["", "| outcome | reason | files | again? | for example |", "|---|---|---:|---|---|"]
            lines += [
                f"| {one.outcome} | {_cell(one.error_code)}: {_cell(one.error_message)} | {one.files:,} "
                f"| {'yes' if one.can_retry else 'no'} | {_cell(one.example)} |"
                for one in self.reasons
            ]
        lines += ["", "| table | rows |", "|---|---:|"]
        lines += [f"| {name} | {rows:,} |" for name, rows in self.tables.items()]
        lines += ["", f"The tables lie in `{self.store}` under `tables/`.", ""]
        return "\n".join(lines)


def build(
    connection: duckdb.DuckDBPyConnection,
    *,
    plan: PlanRecord,
    version: int,
    now: float,
    transcriptions: Sequence[TranscriptionRecord],
    duplicates: int,
    duplicate_ms: int,
    tables: dict[str, int],
    settings: Settings,
    store: str,
    budget: BudgetState | None = None,
    seconds_per_byte: Mapping[str, float] = NO_RATES,
) -> RunReport:
    """Count the table `final` and the plan's *transcriptions*; unknown durations as the plan's *seconds_per_byte* have them."""
    by = dict(connection.execute("SELECT outcome, count(*) FROM final GROUP BY 1").fetchall())
    can_retry, transcribed_now = one_row(
        connection,
        """SELECT count(*) FILTER (WHERE can_retry),
                  count(*) FILTER (WHERE outcome = 'transcribed' AND disposition = 'submit') FROM final""",
    )
    rows = connection.execute(_MOST_FREQUENT, [_REASONS]).fetchall()
    purged, purged_ms = _audio_of(connection, OurCode.RESULTS_PURGED, settings, seconds_per_byte)
    over, over_ms = _audio_of(connection, OurCode.OVER_BUDGET, settings, seconds_per_byte)
    again = purged_ms / 3_600_000
    # An attempt's cost stands in the report of the first publication that accounts for it, whoever submitted it.
    new = [one for one in transcriptions if one.settled_at is None or one.plan_id == plan.plan_id]
    billed = sum(one.billed_ms or 0 for one in new) / 3_600_000
    return RunReport(
        partition=plan.partition,
        plan_id=plan.plan_id,
        version=version,
        published_at=now,
        seconds=now - plan.created_at,
        files=sum(by.values()),
        transcribed=by.get("transcribed", 0),
        failed=by.get("failed", 0),
        missing=by.get("missing", 0),
        can_retry=int(can_retry),
        transcribed_now=int(transcribed_now),
        transcriptions=len(transcriptions),
        submitted_now=sum(one.plan_id == plan.plan_id for one in transcriptions),
        adopted=sum(one.adopted for one in new),
        given_up=sum(one.state is TranscriptionState.GIVEN_UP for one in new),
        duplicates=duplicates,
        billed_audio_hours=billed,
        price=billed * settings.price_per_audio_hour,
        resources=dict(Counter(one.resource for one in transcriptions)),
        tables=tables,
        store=store,
        reasons=tuple(Reason(*row) for row in rows),
        duplicate_audio_hours=duplicate_ms / 3_600_000,
        purged=purged,
        purged_audio_hours=again,
        purged_price=again * settings.price_per_audio_hour,
        budget=None if budget is None else budget.name,
        budget_hours=None if budget is None or budget.limit_ms is None else budget.limit_ms / 3_600_000,
        budget_spent_hours=0.0 if budget is None else budget.spent_ms / 3_600_000,
        over_budget=over,
        over_budget_audio_hours=over_ms / 3_600_000,
    )


def _audio_of(
    connection: duckdb.DuckDBPyConnection,
    code: OurCode,
    settings: Settings,
    seconds_per_byte: Mapping[str, float],
) -> tuple[int, int]:
    """How many files ended with *code*, and their audio in milliseconds."""
    query = """SELECT file_id, audio_url, audio_etag, size_bytes, manifest_duration_ms
               FROM final WHERE error_code = ?"""
    files, total_ms = 0, 0
    for batch in batches(connection, query, [code.value]):
        for row in batch.to_pylist():
            files += 1
            file = ChunkedFile(*row.values())
            total_ms += audio_ms(file, settings, seconds_per_byte=seconds_per_byte)
    return files, total_ms


def _cell(text: str) -> str:
    """*text* inside a Markdown table: it may come from a manifest or from the service, so it must not become markup."""
    plain = " ".join(text.split())
    for letter in "\\`*_[]<>|#":
        plain = plain.replace(letter, f"\\{letter}")
    return plain
