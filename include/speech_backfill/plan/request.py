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
    audio_hours_estimated: bool
    """Whether some durations were estimated from sizes."""
    price: float
    task_instances: int
    dry_run: bool
    regions: tuple[RegionForecast, ...] = ()
    """Where the audio goes and when it is done there, as far as can be told; empty where no resource is known."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for an XCom or JSON."""
        return asdict(self)

    @property
    def text(self) -> str:
        """The summary for people."""
        about = "about " if self.audio_hours_estimated else ""
        rows = [
            f"Plan {self.plan_id} of partition {self.partition}{' (dry run: nothing was written)' if self.dry_run else ''}",
            f"  source            {self.source or 'the published partition'}",
            f"  audio files       {self.files:,} ({self.duplicates:,} duplicate lines left out)",
            f"  to submit         {self.to_submit:,} in {self.chunks:,} transcriptions, {self.shards:,} shards"
            + (f" ({self.under_way:,} files under way already)" if self.under_way else ""),
            f"  done before       {self.carried:,} here, {self.elsewhere:,} in other partitions",
            f"  refused           {self.refused:,}",
            f"  audio             {about}{self.audio_hours:,.2f} hours",
            f"  price             {about}{self.price:,.2f} (at the price in the settings, not verified with Azure)",
            *(f"  expected          {one.text}" for one in self.regions if one.hours),
            f"  task instances    {self.task_instances:,}",
        ]
        return "\n".join(rows)
