"""When the audio of a plan will be done, region by region: what stands before it there, and how fast the regions work.

An estimate for people: it takes the service at the speed that it showed lately and nobody else at work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from speech_backfill.errors import SettingsError
from speech_backfill.ledger.resources import Backlog, region_of
from speech_backfill.speech.resource import SpeechResource


@dataclass(frozen=True, slots=True)
class RegionForecast:
    """One region's part. Audio and time in hours."""

    region: str
    backlog_hours: float
    """Audio that stands before this plan's."""
    hours: float
    """This plan's audio that goes there."""
    speed: float
    """Audio hours in an hour."""
    learnt_from: int
    """Ends that the speed rests on; 0: it is assumed."""
    done_in_hours: float
    """When its part is done, from now."""

    @property
    def text(self) -> str:
        """One line for a person."""
        rests = f"as in the last {self.learnt_from}" if self.learnt_from else "assumed"
        before = f", {self.backlog_hours:,.2f} hours before it" if self.backlog_hours else ""
        return f"{self.region}: {self.hours:,.2f} hours done in {self.done_in_hours:,.2f} ({self.speed:,.1f} times real time, {rests}{before})"


def regions_of(resources: Sequence[SpeechResource]) -> dict[str, list[str]]:
    """The names of *resources* by region."""
    found: dict[str, list[str]] = {}
    for one in resources:
        found.setdefault(region_of(one.name, one.region), []).append(one.name)
    return found


def forecast(
    resources: Sequence[SpeechResource],
    backlogs: Sequence[Backlog],
    hours_by_residency: Mapping[str, float],
) -> tuple[RegionForecast, ...]:
    """Share the audio out so that all regions that may have it are done together; those with less choice come first.

    Raises SettingsError where no resource has a residency that files ask for.
    """
    known = {one.region: one for one in backlogs}
    load = {region: one.audio_ms / 3_600_000 for region, one in known.items()}
    share = dict.fromkeys(known, 0.0)
    allowed: dict[str, list[str]] = {}
    for residency in hours_by_residency:
        allowed[residency] = [
            region
            for region, names in regions_of(resources).items()
            if any(one.name in names and residency in {"", one.residency} for one in resources)
        ]
        if not allowed[residency]:
            raise SettingsError(
                "residency",
                f"files ask for {residency!r}, which no Speech resource has",
                "Give a connection that residency, or add one that has it.",
            )
    for residency in sorted(hours_by_residency, key=lambda one: (len(allowed[one]), one)):
        speeds = {region: known[region].speed.factor for region in allowed[residency]}
        for region, part in _level(hours_by_residency[residency], load, speeds).items():
            load[region] += part
            share[region] += part
    return tuple(
        RegionForecast(
            region=region,
            backlog_hours=one.audio_ms / 3_600_000,
            hours=share[region],
            speed=one.speed.factor,
            learnt_from=one.speed.ends,
            done_in_hours=load[region] / one.speed.factor,
        )
        for region, one in known.items()
    )


def _level(hours: float, load: Mapping[str, float], speeds: Mapping[str, float]) -> dict[str, float]:
    """Parts of *hours* for each region of *speeds* so that those which get any are done at the same time."""
    by_end = sorted(speeds, key=lambda region: load[region] / speeds[region])
    for count in range(len(by_end), 0, -1):
        used = by_end[:count]
        end = (hours + sum(load[one] for one in used)) / sum(speeds[one] for one in used)
        parts = {one: end * speeds[one] - load[one] for one in used}
        if min(parts.values()) >= 0:
            return parts
    return dict.fromkeys(by_end[:1], hours)
