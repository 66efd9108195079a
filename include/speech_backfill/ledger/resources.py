"""What the ledger knows of Speech resources: window, region and residency, whether one is set aside, and its requests' allowance.

Shared by all workers, so that what one has found out about a resource holds for everybody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from speech_backfill.ledger import schema
from speech_backfill.ledger.engine import insert_into
from speech_backfill.ledger.failures import FAILURES, failing, failing_until_its_last
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.occupancy import occupying
from speech_backfill.ledger.speeds import Speed, speeds

ASIDE_SECONDS = 60.0
LONGEST_ASIDE_SECONDS = 1800.0
"""How long a resource in trouble is left alone: doubled each time that it was tried again in vain."""

BURST_REQUESTS = 20
STEADY_REQUESTS_A_SECOND = 7.0
"""In any 10 seconds at most 20 + 70: the service's limit is 100 (quotas page), and the pollers' few come on top."""

_R = schema.resources


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a region still has to do, as far as this ledger knows, and how fast it works."""

    region: str
    resources: tuple[str, ...]
    unfinished: int
    audio_ms: int
    speed: Speed

    @property
    def seconds(self) -> float:
        """How long it will take."""
        return self.audio_ms / 1000 / self.speed.factor


class Resources:
    """The rows of the resources."""

    def __init__(self, ledger: Ledger) -> None:
        """Share *ledger*'s engine and clock."""
        self._engine = ledger.engine
        self._clock = ledger.clock

    def register(self, resource: str, *, window: int, region: str, residency: str = "") -> None:
        """Tell the ledger of a resource and its window of unfinished transcriptions."""
        values = {"window": window, "region": region, "residency": residency}
        same = sa.and_(*(_R.c[name] == value for name, value in values.items()))
        with self._engine.connect() as connection:
            if connection.execute(sa.select(_R.c.resource).where(_R.c.resource == resource, same)).first():
                return
        with self._engine.begin() as connection:
            insert = insert_into(self._engine, _R).values(resource=resource, **values)
            connection.execute(insert.on_conflict_do_update(index_elements=["resource"], set_=values))

    # --- health -----------------------------------------------------------------------------------

    def set_aside(self, resource: str, problem: str, *, seconds: float | None = None) -> float:
        """Submit nothing to *resource* for a while; returns until when.

        Without *seconds* it is in trouble: longer each time that it is tried again in vain. Whoever finds the same
        trouble while it is set aside already changes nothing. With *seconds* it throttles, which says that it works.
        """
        now = self._clock()
        with self._engine.begin() as connection:
            row = connection.execute(sa.select(_R).where(_R.c.resource == resource)).one_or_none()
            if row is None:
                return now
            if row.aside_until > now and seconds is None:
                return float(row.aside_until)
            troubles = 0 if seconds is not None else row.troubles + 1
            if seconds is None:
                seconds = _pause_seconds(troubles)
            connection.execute(
                _R.update()
                .where(_R.c.resource == resource)
                .values(aside_until=now + seconds, troubles=troubles, problem=problem[:1000])
            )
        return now + seconds

    def in_vain(self, resources: Collection[str], *, seconds: float) -> dict[str, str]:
        """Those of *resources* that have been tried in vain, again and again, for so long; and what was wrong last.

        Only time in which they were set aside counts: nobody may have wanted anything of them in between.
        """
        query = sa.select(_R.c.resource, _R.c.troubles, _R.c.problem).where(_R.c.resource.in_(resources))
        with self._engine.connect() as connection:
            return {
                row.resource: row.problem or ""
                for row in connection.execute(query)
                if row.troubles > 1 and sum(map(_pause_seconds, range(1, row.troubles))) >= seconds
            }

    def well(self, resource: str) -> None:
        """*resource* has answered as it should: what troubled it is over, unless it fails what it takes."""
        with self._engine.connect() as connection:
            ill = connection.execute(
                sa.select(_R.c.resource).where(_R.c.resource == resource, _R.c.problem.is_not(None))
            ).first()
            if ill is None or failing(connection, resource):
                return
        self._take_back(resource)

    def heed_end(self, resource: str) -> str | None:
        """A transcription of *resource* has ended: set it aside where it fails what it takes, and take it back where it did.

        Returns why it is set aside. One that is tried again and fails that too is left alone for longer.
        """
        with self._engine.connect() as connection:
            last = failing(connection, resource)
            works_again = last is None and failing_until_its_last(connection, resource)
        if works_again:
            self._take_back(resource)
        if last is None:
            return None
        problem = f"its last {FAILURES} transcriptions or more failed as a whole, the last one with {last}"
        self.set_aside(resource, problem)
        return problem

    def _take_back(self, resource: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                _R.update().where(_R.c.resource == resource).values(aside_until=0.0, troubles=0, problem=None)
            )

    # --- backlog ----------------------------------------------------------------------------------

    def backlogs(
        self,
        *,
        assumed_speed: float,
        by_region: Mapping[str, Sequence[str]] | None = None,
        linger_seconds: float = 0.0,
    ) -> list[Backlog]:
        """What each region has to do still: those that were registered, or those of *by_region* with their resources.

        What was given up at its deadline counts for *linger_seconds* more, unless it has been seen to end.
        """
        occupies = occupying(now=self._clock(), linger_seconds=linger_seconds)
        with self._engine.connect() as connection:
            wanted = regions(connection) if by_region is None else by_region
            return backlogs(connection, wanted, assumed_speed=assumed_speed, occupies=occupies)

    # --- requests ---------------------------------------------------------------------------------

    def allow(self, resource: str, requests: int) -> float:
        """Allow so many more requests now and return 0, or else the seconds after which to ask again.

        A resource that was never registered has no allowance to keep.
        """
        now = self._clock()
        cost = requests / STEADY_REQUESTS_A_SECOND
        latest = now + BURST_REQUESTS / STEADY_REQUESTS_A_SECOND
        following = sa.case((_R.c.allowance_at > now, _R.c.allowance_at), else_=now) + cost
        with self._engine.begin() as connection:
            allowed = connection.execute(
                _R.update()
                .where(_R.c.resource == resource, following <= latest)
                .values(allowance_at=following)
            ).rowcount
            if allowed:
                return 0.0
            at = connection.execute(sa.select(_R.c.allowance_at).where(_R.c.resource == resource)).scalar()
        return 0.0 if at is None else max(0.0, at + cost - latest)

    def pause(self, resource: str, seconds: float) -> None:
        """Allow nobody a request to *resource* for so long: it throttles."""
        at = self._clock() + seconds + BURST_REQUESTS / STEADY_REQUESTS_A_SECOND
        with self._engine.begin() as connection:
            connection.execute(
                _R.update().where(_R.c.resource == resource, _R.c.allowance_at < at).values(allowance_at=at)
            )


def _pause_seconds(troubles: int) -> float:
    """How long the resource is left alone the so-many-th time in a row."""
    return float(min(ASIDE_SECONDS * 2.0 ** min(troubles - 1, 20), LONGEST_ASIDE_SECONDS))


def regions(connection: sa.Connection) -> dict[str, list[str]]:
    """The known resources by region; all of a region share its queue."""
    found: dict[str, list[str]] = {}
    for row in connection.execute(sa.select(_R.c.resource, _R.c.region).order_by(_R.c.resource)):
        found.setdefault(region_of(row.resource, row.region), []).append(row.resource)
    return found


def region_of(resource: str, region: str) -> str:
    """A resource without a region is taken for one of its own."""
    return region or f"the region of {resource}"


def backlogs(
    connection: sa.Connection,
    by_region: Mapping[str, Sequence[str]],
    *,
    assumed_speed: float,
    occupies: sa.ColumnElement[bool],
) -> list[Backlog]:
    """What each region (with its resources) has to do still: the transcriptions that *occupies* holds for."""
    made = schema.transcriptions.c
    loads = {
        row.resource: (int(row.unfinished), int(row.audio_ms))
        for row in connection.execute(
            sa.select(
                made.resource,
                sa.func.count().label("unfinished"),
                sa.func.coalesce(sa.func.sum(made.audio_ms), 0).label("audio_ms"),
            )
            .where(occupies)
            .group_by(made.resource)
        )
    }
    learnt = speeds(connection, by_region, assumed=assumed_speed)
    return [
        Backlog(
            region,
            tuple(resources),
            sum(loads.get(one, (0, 0))[0] for one in resources),
            sum(loads.get(one, (0, 0))[1] for one in resources),
            learnt[region],
        )
        for region, resources in by_region.items()
    ]
