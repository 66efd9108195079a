"""What somebody asks of a plan, and what the plan answers by number."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from speech_backfill.model import TranscriptionOptions
from speech_backfill.plan.forecast import RegionForecast


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """One run's wish for one partition. *run_key* names the run, so that its re-runs are recognised."""

    partition: str
    run_key: str
    source: str
    """A manifest's URI or path, or a container with a prefix; empty with *only_failed*."""
    options: TranscriptionOptions = field(default_factory=TranscriptionOptions)
    """For files whose manifest row does not say otherwise."""
    uri_column: str = ""
    include_globs: tuple[str, ...] = ()
    exclude_globs: tuple[str, ...] = ()
    budget_hours: float | None = None
    """Audio hours that may be submitted for all plans of the same budget; None: as was said before, or no limit."""
    budget_name: str = ""
    """Plans that name the same budget share it; empty: the partition's own, if *budget_hours* are given."""
    residency: str = ""
    """Of files whose manifest row names none; empty: the setting."""
    dry_run: bool = False
    only_failed: bool = False
    """Plan what is failed or missing in the published partition; the source is not read again."""
    reprocess: bool = False
    """Submit again (and pay again for) what is transcribed already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSummary:
    """What was planned, by number. files = to_submit + carried + elsewhere + refused."""

    plan_id: str
    partition: str
    run_key: str
    source: str
    base_version: int
    """The published version that carried files come from; 0 where nothing was published."""
    files: int
    duplicates: int
    """Further lines with a URL that stood before; kept once."""
    to_submit: int
    under_way: int
    """Of those to submit: in a chunk that was submitted earlier and is not accounted for yet."""
    carried: int
    """Transcribed, or failed for good, in this partition before."""
    elsewhere: int
    """Transcribed in another partition before."""
    refused: int
    """Lines that can't be submitted; they end as failed, each with its reason."""
    chunks: int
    shards: int
    audio_hours: float
    """The best estimate; what is reserved of a budget is more where durations are not known."""
    audio_hours_estimated: bool
    """Whether some durations are neither in the manifest nor read from headers."""
    price: float
    """Of what is not under way already."""
    task_instances: int
    dry_run: bool
    # Younger than the first plans in a store, whose summaries lack them.
    regions: tuple[RegionForecast, ...] = ()
    """Where the audio goes and when it is done there, as far as can be told; empty where no resource is known."""
    audio_hours_under_way: float = 0.0
    """Of the hours: in chunks that were submitted or planned earlier. No region's hours here; they stand before them."""
    audio_hours_error: float = 0.0
    """Half the width of the 95 % interval, from the sample; what is guessed has an error that nobody knows."""
    audio_hours_guessed: float = 0.0
    """Of the hours: from sizes at fixed rates, on the long side."""
    durations_in_manifest: int = 0
    headers_asked: int = 0
    headers_read: int = 0
    durations_sampled: int = 0
    """Files estimated at the rate of their format's sample."""
    durations_guessed: int = 0
    """to_submit = durations_in_manifest + headers_read + durations_sampled + durations_guessed."""
    seconds_per_byte: dict[str, float] = field(default_factory=dict)
    """By format: what budgets reserve for files whose duration is not known; on the long side, see plan/estimate.py."""
    price_per_audio_hour: float = 0.0
    stored_at: str = ""
    """The path of this in the store; empty where a dry run could not write it. Of a plan, what it said the first time stays there."""
    price_basis: str = "the setting SPEECH_BACKFILL_PRICE_PER_AUDIO_HOUR, not verified with Azure"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for an XCom or JSON."""
        return asdict(self)

    @property
    def text(self) -> str:
        """The summary for people."""
        rows = [
            f"Plan {self.plan_id} of partition {self.partition}{' (dry run: nothing was planned)' if self.dry_run else ''}",
            f"  source            {self.source or 'the published partition'}",
            f"  audio files       {self.files:,} ({self.duplicates:,} duplicate lines left out)",
            f"  to submit         {self.to_submit:,} in {self.chunks:,} transcriptions, {self.shards:,} shards"
            + (f" ({self.under_way:,} files under way already)" if self.under_way else ""),
            f"  done before       {self.carried:,} here, {self.elsewhere:,} in other partitions",
            f"  refused           {self.refused:,}",
            f"  audio             {_about(self.audio_hours, self._error, unit=' h')} ({self._basis})"
            + (f", {_figure(self.audio_hours_under_way)} h of it under way" if self.under_way else ""),
            f"  price             {_about(self.price, self._price_error)} (at the price in the settings, not verified with Azure)",
            *(f"  expected          {one.text}" for one in self.regions if one.hours),
            f"  task instances    {self.task_instances:,}",
            *([f"  stored            {self.stored_at}"] if self.stored_at else []),
        ]
        return "\n".join(rows)

    @property
    def _error(self) -> float | None:
        """The hours' error; None where no sample says it."""
        return self.audio_hours_error if self.durations_sampled or not self.audio_hours_estimated else None

    @property
    def _price_error(self) -> float | None:
        return None if self._error is None else self._error * self.price_per_audio_hour

    @property
    def _basis(self) -> str:
        """Where the hours come from."""
        said = []
        if not self.audio_hours_estimated:
            sources = ["the manifest"] if self.durations_in_manifest or not self.headers_read else []
            if self.headers_read:
                sources.append(f"the headers of {self.headers_read:,} files")
            said.append(f"exact, from {' and '.join(sources)}")
        elif self.durations_sampled:
            of = self.to_submit - self.durations_in_manifest
            said.append(f"95 %, headers of {self.headers_read:,} of {of:,} files read")
            if self.durations_in_manifest:
                said.append(f"{self.durations_in_manifest:,} durations from the manifest")
            if self.durations_guessed:
                said.append(
                    f"{self.durations_guessed:,} files guessed from sizes, {_figure(self.audio_hours_guessed)} h of it"
                )
        elif self.durations_guessed < self.to_submit:
            said.append(
                f"{self.durations_guessed:,} of {self.to_submit:,} files guessed from sizes, {_figure(self.audio_hours_guessed)} h of it"
            )
        else:
            said.append("guessed from sizes")
        unread = self.headers_asked - self.headers_read
        if unread:
            said.append(f"{unread:,} of {self.headers_asked:,} headers could not be read")
        return "; ".join(said)


def _about(value: float, error: float | None, *, unit: str = "") -> str:
    """*value* with its error, where there is one."""
    if error is None:
        return f"about {_figure(value)}{unit}"
    return f"{_figure(value)}{unit}" + (f" ± {_figure(error)}{unit}" if error else "")


def _figure(value: float) -> str:
    """*value* with two decimals, with more where it is so small that they would not tell."""
    return f"{value:,.2f}" if not value or value >= 1 else f"{value:.4f}"
