"""What happens to Airflow in production, done to a real one in the middle of a run; all of it must end as a calm run does.

Each story harms the world and waits for the end. Where it is about a trap of Airflow's, it also looks whether the trap was
sprung: a story that did not happen shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import quote

from end_to_end.deployment import until
from faults.airflow_world import DAG, DAILY, DAY, AirflowWorld, Ended
from faults.matrix import Verdict

FALSE_FAILURE = "finished with state success, but the task instance's state attribute is"
"""What the scheduler writes when a trigger has fired before it has noted the deferral (Airflow 3.3.2)."""

ON_KILL = "This wait was ended"
"""What our triggers write when Airflow calls their on_kill."""

Tell = Callable[[AirflowWorld, int], "Told"]


@dataclass(frozen=True)
class Told:
    """What a story came to."""

    ended: Ended
    untold: str = ""
    """What should have happened in it and did not."""

    def verdict(self, name: str, calm: Ended) -> Verdict:
        """Judge it by a calm run of the same files."""
        ended = self.ended
        problems = [self.untold] if self.untold else []
        if ended.state != "success":
            problems.append(f"the run ended as {ended.state}")
        if ended.unknown:
            problems.append(f"the ledger does not know {ended.unknown}")
        if ended.billed_audio_seconds != calm.billed_audio_seconds:
            problems.append(
                f"{ended.billed_audio_seconds} s billed, {calm.billed_audio_seconds} in a calm run"
            )
        differing = [name for name, digest in calm.tables.items() if ended.tables[name] != digest]
        if differing:
            problems.append(f"tables that differ from a calm run's: {', '.join(differing)}")
        twice = sum(count - 1 for count in ended.duplicates.values())
        return Verdict(
            name,
            duplicates=max(twice, ended.accepted - calm.accepted),
            lost=max(0, calm.outcomes["transcribed"] - ended.outcomes.get("transcribed", 0)),
            wrong_rows=len(differing),
            problems=tuple(problems),
        )


@dataclass(frozen=True)
class Story:
    """One way to harm Airflow, over so many chunks."""

    name: str
    tell: Tell
    chunks: int = 12
    quick: bool = False
    """Whether `make test` plays it too, over fewer."""
    calm: Callable[[AirflowWorld, int], Ended] | None = None
    """The calm run to compare it with, where that is not `calm_run`."""

    def told(self, world: AirflowWorld, chunks: int, calm: Ended, *, name: str = "") -> Verdict:
        """Tell it and judge what came of it; up to three times where what should have happened in it did not.

        Each is judged in full: only a run that was right in all else is told again.
        """
        for _ in range(2):
            told = self.tell(world, chunks)
            if not told.untold or not replace(told, untold="").verdict(self.name, calm).good:
                return told.verdict(name or self.name, calm)
        return self.tell(world, chunks).verdict(name or self.name, calm)


def killed_everywhere(world: AirflowWorld, chunks: int) -> Told:
    """SIGKILL of a task, a worker, a triggerer and the scheduler, a triggerer stalled for a minute, a deferred task cleared."""
    run = world.begin(chunks=chunks)
    world.kill_worker(run, "transcribe.submit", whole=False)
    world.until_deferred(run, "transcribe.wait")
    world.kill("triggerer")
    stalled = world.freeze_for("triggerer-2", 60 if chunks >= 50 else 25)
    world.start("triggerer")
    cleared = world.until_deferred(run, "transcribe.wait")[0]
    world.clear(run, "transcribe.wait", cleared["map_index"])
    world.kill_worker(run, "transcribe.submit", whole=True)
    world.until_accepted(chunks // 2)
    world.kill("scheduler")
    world.start("scheduler")
    world.kill_worker(run, "transcribe.merge", whole=True)
    stalled.join()
    return Told(world.ended(run))


def triggers_fire_too_soon(world: AirflowWorld, chunks: int) -> Told:
    """The scheduler stalls between a deferral and the moment it notes it: Airflow fails a healthy task, and its retry cures it."""
    run = world.begin(chunks=chunks)
    world.until_deferred(run, "transcribe.wait")
    with world.frozen("scheduler"):
        until(lambda: world.tasks(run, "transcribe.wait", "scheduled") or None, 60)
    ended = world.ended(run)
    sprung = FALSE_FAILURE in world.log("scheduler")
    return Told(ended, "" if sprung else "the scheduler has failed no healthy task")


def a_triggerer_stalls(world: AirflowWorld, chunks: int) -> Told:
    """Its triggers go to the other one; when it wakes up it ends them with on_kill, though nobody has acted."""
    run = world.begin(chunks=chunks, seconds_each=6.0)
    world.until_deferred(run, "transcribe.wait", 2)
    before = world.task_logs().count(ON_KILL)
    for stalled in ("triggerer", "triggerer-2"):
        world.freeze_for(stalled, 30).join()
    ended = world.ended(run)
    sprung = world.task_logs().count(ON_KILL) > before
    return Told(ended, "" if sprung else "no trigger was ended by on_kill")


def cleared_before_the_old_trigger_ends(world: AirflowWorld, chunks: int) -> Told:
    """The new attempt has begun, and met the same transcriptions, when the old trigger's on_kill comes."""
    run = world.begin(chunks=chunks, seconds_each=4.0)
    cleared = world.until_triggered(run, "transcribe.wait")
    before = world.task_logs().count(ON_KILL)
    with world.frozen("triggerer"), world.frozen("triggerer-2"):
        world.clear(run, "transcribe.wait", cleared["map_index"])

        def begun_anew() -> bool | None:
            again = [
                one
                for one in world.tasks(run, "transcribe.wait", "deferred")
                if one["map_index"] == cleared["map_index"] and one["try_number"] > cleared["try_number"]
            ]
            return True if again else None

        until(begun_anew, 60)
    ended = world.ended(run)
    sprung = world.task_logs().count(ON_KILL) > before
    return Told(ended, "" if sprung else "the old trigger was not ended by on_kill")


def every_triggerer_is_lost(world: AirflowWorld, chunks: int) -> Told:
    """Both are killed; one is started later, and takes all waits over with their deadlines."""
    run = world.begin(chunks=chunks)
    world.until_deferred(run, "transcribe.wait")
    world.kill("triggerer")
    world.kill("triggerer-2")
    world.start("triggerer", "triggerer-2")
    return Told(world.ended(run))


def the_scheduler_is_lost(world: AirflowWorld, chunks: int) -> Told:
    """It is killed with its workers while tasks submit, and again while they merge."""
    run = world.begin(chunks=chunks)
    for task_id in ("transcribe.submit", "transcribe.merge"):
        until(lambda one=task_id: world.tasks(run, one, "running") or None, 240, every=0.1)
        world.kill("scheduler")
        world.start("scheduler")
    return Told(world.ended(run))


def the_run_is_failed_and_triggered_anew(world: AirflowWorld, chunks: int) -> Told:
    """Somebody marks the run as failed while the service works, and another run of the partition takes all of it over."""
    run = world.begin(chunks=chunks)
    world.until_accepted(chunks // 2)
    world.fail_run(run)
    where = f"/dags/{DAG}/dagRuns/{quote(run, safe='')}"
    conf = world.deployment.stack.airflow.api.get(where)["conf"]
    again = world.deployment.trigger(DAG, **conf)
    return Told(world.ended(again))


def a_failed_day_is_reprocessed(world: AirflowWorld, chunks: int) -> Told:
    """A day's run is failed while the service works; `backfill create --reprocess-behavior failed` makes another run beside it."""
    run = world.begin_day(chunks=chunks)
    world.until_accepted(chunks // 2)
    world.fail_run(run, dag_id=DAILY)
    again = world.backfill("failed")
    told = Told(world.ended(again, dag_id=DAILY, partition=DAY))
    return told if again != run else Told(told.ended, "Airflow ran the same run again")


def calm_run(world: AirflowWorld, chunks: int) -> Ended:
    """A run that nobody harms."""
    return _calm(world.ended(world.begin(chunks=chunks)), chunks)


def calm_day(world: AirflowWorld, chunks: int) -> Ended:
    """A day that nobody harms."""
    return _calm(world.ended(world.begin_day(chunks=chunks), dag_id=DAILY, partition=DAY), chunks)


def _calm(ended: Ended, chunks: int) -> Ended:
    assert ended.state == "success"
    assert ended.accepted == chunks
    return ended


STORIES = (
    Story("kill -9 of task, worker, triggerer, scheduler", killed_everywhere, chunks=50, quick=True),
    Story("triggers fire too soon", triggers_fire_too_soon, quick=True),
    Story("a triggerer stalls", a_triggerer_stalls),
    Story("cleared before the old trigger ends", cleared_before_the_old_trigger_ends, quick=True),
    Story("every triggerer is lost", every_triggerer_is_lost),
    Story("the scheduler is lost, twice", the_scheduler_is_lost),
    Story("run failed by hand, triggered anew", the_run_is_failed_and_triggered_anew),
    Story("failed day, reprocessed", a_failed_day_is_reprocessed, calm=calm_day),
)
