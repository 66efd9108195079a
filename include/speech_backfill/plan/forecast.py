"""When the audio of a plan will be done, region by region: what stands before it there, and how fast the regions work.

An estimate for people: it takes the service at the speed that it showed lately and nobody else at work, and lets what others
have planned go first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from speech_backfill.errors import SettingsError
from speech_backfill.ledger.resources import Backlog, region_of
from speech_backfill.speech.resource import SpeechResource

NOTHING: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RegionForecast:
    """One region's part. Audio and time in hours."""

    region: str
    backlog_hours: float
    """Audio that stands before this plan's: with the service, or planned by others to go there."""
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
    *,
    others_hours: Mapping[str, float] = NOTHING,
) -> tuple[RegionForecast, ...]:
    """Share the audio out so that all regions that may have it are done together; those with less choice come first.

    What other plans have still to submit, *others_hours* by residency, goes before it. Raises SettingsError where no resource has
    a residency that files ask for; others' files that may go nowhere are in nobody's way.
    """
    known = {one.region: one for one in backlogs}
    load = {region: one.audio_ms / 3_600_000 for region, one in known.items()}
    allowed = {one: _allowed(resources, one) for one in {*hours_by_residency, *others_hours}}
    for residency in hours_by_residency:
        if not allowed[residency]:
            raise SettingsError(
                "residency",
                f"files ask for {residency!r}, which no Speech resource has",
                "Give a connection that residency, or add one that has it.",
            )

    speeds = {region: one.speed.factor for region, one in known.items()}
    for region, part in _shares(others_hours, allowed, load, speeds).items():
        load[region] += part
    share = _shares(hours_by_residency, allowed, load, speeds)
    return tuple(
        RegionForecast(
            region=region,
            backlog_hours=load[region],
            hours=share[region],
            speed=one.speed.factor,
            learnt_from=one.speed.ends,
            done_in_hours=(load[region] + share[region]) / one.speed.factor,
        )
        for region, one in known.items()
    )


def _allowed(resources: Sequence[SpeechResource], residency: str) -> list[str]:
    """The regions that have a resource for files of *residency*."""
    return [
        region
        for region, names in regions_of(resources).items()
        if any(one.name in names and residency in {"", one.residency} for one in resources)
    ]


def _shares(
    hours_by_residency: Mapping[str, float],
    allowed: Mapping[str, Sequence[str]],
    load: Mapping[str, float],
    speeds: Mapping[str, float],
) -> dict[str, float]:
    """What each region gets of the hours, on top of its *load*; those that no region is *allowed* are nobody's."""
    share = dict.fromkeys(load, 0.0)
    able = [one for one in hours_by_residency if allowed[one]]
    for residency in sorted(able, key=lambda one: (len(allowed[one]), one)):
        regions = allowed[residency]
        filled = {region: load[region] + share[region] for region in regions}
        parts = _level(hours_by_residency[residency], filled, {region: speeds[region] for region in regions})
        for region, part in parts.items():
            share[region] += part
    return share


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
