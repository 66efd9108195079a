"""What happens to Airflow in production, done to a real one in the middle of a run; all of it must end as a calm run does.

Each story harms the world, waits for the end, and returns what is wrong, which should be nothing. Where a story is about a
trap of Airflow's, it also checks that the trap was sprung.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from end_to_end.deployment import until
from faults.airflow_world import DAG, AirflowWorld, Ended

FALSE_FAILURE = "finished with state success, but the task instance's state attribute is"
"""What the scheduler writes when a trigger has fired before it has noted the deferral (Airflow 3.3.2)."""

ON_KILL = "This wait was ended"
"""What our triggers write when Airflow calls their on_kill."""

Tell = Callable[[AirflowWorld, Ended, int], list[str]]


@dataclass(frozen=True)
class Story:
    """One way to harm Airflow, over so many chunks."""

    name: str
    tell: Tell
    chunks: int
    quick_chunks: int | None = None
    """How many in `make test`; None: not played there."""


def killed_everywhere(world: AirflowWorld, calm: Ended, chunks: int) -> list[str]:
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
    return world.ended(run).differs(calm)


def triggers_fire_too_soon(world: AirflowWorld, calm: Ended, chunks: int) -> list[str]:
    """The scheduler stalls between a deferral and the moment it notes it: Airflow fails a healthy task, and its retry cures it."""
    run = world.begin(chunks=chunks)
    world.until_deferred(run, "transcribe.wait")
    with world.frozen("scheduler"):
        until(lambda: world.tasks(run, "transcribe.wait", "scheduled") or None, 60)
    ended = world.ended(run)
    sprung = FALSE_FAILURE in world.log("scheduler")
    return ended.differs(calm) + ([] if sprung else ["the scheduler has failed no healthy task"])


def a_triggerer_stalls(world: AirflowWorld, calm: Ended, chunks: int) -> list[str]:
    """Its triggers go to the other one; when it wakes up it ends them with on_kill, though nobody has acted."""
    run = world.begin(chunks=chunks, seconds_each=6.0)
    world.until_deferred(run, "transcribe.wait", 2)
    before = world.task_logs().count(ON_KILL)
    for stalled in ("triggerer", "triggerer-2"):
        world.freeze_for(stalled, 30).join()
    ended = world.ended(run)
    sprung = world.task_logs().count(ON_KILL) > before
    return ended.differs(calm) + ([] if sprung else ["no trigger was ended by on_kill"])


def cleared_before_the_old_trigger_ends(world: AirflowWorld, calm: Ended, chunks: int) -> list[str]:
    """The new attempt has begun, and met the same transcriptions, when the old trigger's on_kill comes."""
    run = world.begin(chunks=chunks, seconds_each=4.0)
    cleared = world.until_deferred(run, "transcribe.wait")[0]
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
    return ended.differs(calm) + ([] if sprung else ["the old trigger was not ended by on_kill"])


def every_triggerer_is_lost(world: AirflowWorld, calm: Ended, chunks: int) -> list[str]:
    """Both are killed; one is started later, and takes all waits over with their deadlines."""
    run = world.begin(chunks=chunks)
    world.until_deferred(run, "transcribe.wait")
    world.kill("triggerer")
    world.kill("triggerer-2")
    world.start("triggerer", "triggerer-2")
    return world.ended(run).differs(calm)


def the_scheduler_is_lost(world: AirflowWorld, calm: Ended, chunks: int) -> list[str]:
    """It is killed with its workers while tasks submit, and again while they merge."""
    run = world.begin(chunks=chunks)
    for task_id in ("transcribe.submit", "transcribe.merge"):
        until(lambda one=task_id: world.tasks(run, one, "running") or None, 240, every=0.1)
        world.kill("scheduler")
        world.start("scheduler")
    return world.ended(run).differs(calm)


def the_run_is_failed_and_triggered_anew(world: AirflowWorld, calm: Ended, chunks: int) -> list[str]:
    """Somebody marks the run as failed while the service works, and another run of the partition takes all of it over."""
    run = world.begin(chunks=chunks)
    world.until_accepted(chunks // 2)
    world.fail_run(run)
    where = f"/dags/{DAG}/dagRuns/{quote(run, safe='')}"
    conf = world.deployment.stack.airflow.api.get(where)["conf"]
    again = world.deployment.trigger(DAG, **conf)
    return world.ended(again).differs(calm)


STORIES = (
    Story("kill -9 of task, worker, triggerer, scheduler", killed_everywhere, 50, quick_chunks=12),
    Story("triggers fire too soon", triggers_fire_too_soon, 8, quick_chunks=4),
    Story("a triggerer stalls", a_triggerer_stalls, 12),
    Story("cleared before the old trigger ends", cleared_before_the_old_trigger_ends, 6, quick_chunks=3),
    Story("every triggerer is lost", every_triggerer_is_lost, 12),
    Story("the scheduler is lost, twice", the_scheduler_is_lost, 12),
    Story("run failed by hand, triggered anew", the_run_is_failed_and_triggered_anew, 12),
)


def calm_run(world: AirflowWorld, chunks: int) -> Ended:
    """A run that nobody harms."""
    ended = world.ended(world.begin(chunks=chunks))
    assert ended.state == "success"
    assert ended.accepted == chunks
    return ended
