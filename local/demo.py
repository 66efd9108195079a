"""`make demo`: the shipped recordings, or a folder of the user's own, transcribed from end to end on this machine.

It starts what does not run yet, and stops what it started. Its exit status is 0 only if everything was right.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from local import azurite, dag_run, emulator, ports, published
from local.airflow import ApiError
from local.checkout import Checkout, this_checkout
from local.errors import DemoFailedError, LocalStackError, NoRecordingsError, indented
from local.expected import ExpectedChannel, Outcome, Verdict, judge, read_expected
from local.processes import end_on_signals, uninterrupted
from local.stack import RECORDINGS_CONTAINER, STORE_CONTAINER, Stack, lock, say
from local.upload import SUFFIXES, Uploaded, audio_files, shipped_recordings

STORE = f"az://{STORE_CONTAINER}/"
SHOWN_TRANSCRIPTS = 6


@dataclass(frozen=True)
class Task:
    """What is to be transcribed: *files* below *prefix* of the container, for *partition*."""

    partition: str
    prefix: str
    files: Sequence[tuple[Path, str]]
    expected: Sequence[ExpectedChannel]
    """Nothing for a folder of the user's own."""

    @property
    def source(self) -> str:
        """The DAG's source."""
        return f"az://{RECORDINGS_CONTAINER}/{self.prefix}"


def shipped(checkout: Checkout) -> Task:
    """The project's own recordings, whose text is known."""
    return Task(
        "demo", "calls/", shipped_recordings(checkout), read_expected(checkout.recordings / "expected.csv")
    )


def own(folder: Path) -> Task:
    """The recordings below *folder*; raises NoRecordingsError. The folder's path makes the prefix and the partition."""
    folder = folder.expanduser().resolve()
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    files = [(path, f"own/{name}/{path.relative_to(folder).as_posix()}") for path in audio_files(folder)]
    if not files:
        raise NoRecordingsError(folder, SUFFIXES)
    return Task(f"own-{name}", f"own/{name}/", files, ())


def run(checkout: Checkout, audio: Path | None, environment: Mapping[str, str]) -> None:
    """The whole demo; raises LocalStackError where something was not right."""
    task = own(audio) if audio else shipped(checkout)
    began = time.monotonic()
    with lock(checkout):
        stack = Stack(checkout, environment, say)
        started: list[str] = []
        try:
            started = stack.start()
            say(
                f"demo     the stack is ready after {time.monotonic() - began:.0f} s: {stack.airflow.address}"
            )
            transcribe(stack, task, timeout_seconds=float(environment.get("DEMO_TIMEOUT_SECONDS") or 1800))
        finally:
            with uninterrupted():
                stopped = stack.stop(started)
            if stopped:
                say(f"stack    stopped {', '.join(stopped)}")
    say(
        f"demo     all was right; it took {time.monotonic() - began:.0f} s. `make up` starts the stack for the browser."
    )


def transcribe(stack: Stack, task: Task, *, timeout_seconds: float) -> None:
    """Upload, run the DAG, show what it published, and judge it; raises DemoFailedError."""
    connection_string = azurite.connection_string(stack.ports.azurite)
    uploaded = stack.upload(task.files)
    say(
        f"demo     {uploaded.files} recordings in {task.source}, {uploaded.new} of them new ({uploaded.bytes:,} bytes)"
    )
    submitted_before = emulator.submitted(stack.ports.speech)
    api = stack.airflow.api
    dag_run.wait_for_dag(api, timeout_seconds=120)
    run_id = dag_run.start(api, dag_run.configuration(task.source, task.partition))
    say(f"demo     started {dag_run.DAG_ID}, run {run_id}\n")
    heard_before = emulator.heard_seconds(stack.ports.speech)

    def heard_now() -> str:
        return f"{emulator.heard_seconds(stack.ports.speech) - heard_before:.0f} s of audio heard"

    ended = dag_run.follow(api, run_id, say, also=heard_now, timeout_seconds=timeout_seconds)
    submitted = emulator.submitted(stack.ports.speech) - submitted_before
    if ended.state != "success":
        logs = dag_run.failed_task_logs(api, ended)
        raise DemoFailedError(
            [f"the run {run_id} ended as {ended.state}\n{indented(logs)}"], stack.checkout.logs
        )

    report = published.latest_report(connection_string, STORE_CONTAINER, task.partition)
    outcomes = published.outcomes(STORE, task.partition, published.storage_options(stack.ports.azurite))
    show_report(report)
    verdict = judge(task.expected, outcomes) if task.expected else judge_own(task, outcomes)
    problems = list(verdict.problems)
    if report is None:
        problems.append("there is no run report in the store")
    show_transcripts(task, outcomes, verdict)
    show_totals(outcomes, verdict, submitted)
    memory = Memory(stack.checkout.stack / "demo.json")
    problems += unneeded_transcriptions(memory, task, uploaded, submitted)
    show_tables(stack, task)
    if problems:
        raise DemoFailedError(problems, stack.checkout.logs)
    memory.add(task.partition)


def judge_own(task: Task, outcomes: Mapping[str, Outcome]) -> Verdict:
    """Nobody knows what the user's recordings say, but each must have an outcome, and a failure must have a reason."""
    problems = [f"{name} is not in the table outcomes" for _, name in task.files if name not in outcomes]
    for name, outcome in outcomes.items():
        if outcome.outcome != "transcribed" and not outcome.reason:
            problems.append(f"{name} is {outcome.outcome}, but without a reason")
    return Verdict({}, problems)


class Memory:
    """The partitions that the demo has got right before, kept beside the stack's state and as long as it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def partitions(self) -> list[str]:
        """Those partitions."""
        try:
            return [str(name) for name in json.loads(self._path.read_text())]
        except (OSError, ValueError):
            return []

    def add(self, partition: str) -> None:
        """Remember one more."""
        self._path.write_text(json.dumps(sorted({*self.partitions(), partition})))


def unneeded_transcriptions(memory: Memory, task: Task, uploaded: Uploaded, submitted: int) -> list[str]:
    """A problem where recordings that were transcribed before, and have not changed, were submitted again."""
    if submitted and not uploaded.new and task.partition in memory.partitions():
        return [
            f"{submitted} transcriptions were submitted, though every recording had been transcribed before"
        ]
    return []


# --- what is shown -----------------------------------------------------------------------------


def show_report(report: tuple[str, str] | None) -> None:
    """The run report as the run wrote it."""
    if report is not None:
        name, text = report
        say(f"\n--- run report: {STORE}{name}\n\n{text.strip()}\n")


def show_transcripts(task: Task, outcomes: Mapping[str, Outcome], verdict: Verdict) -> None:
    """Some transcripts beside what was said, or all texts of the user's own recordings; then the failures."""
    say("--- transcripts\n")
    if task.expected:
        for row in chosen(task.expected, verdict):
            errors = verdict.channels[row.path, row.channel]
            say(f"{row.path}, channel {row.channel}: {errors.errors} of {errors.words} words wrong")
            say(f"    said   {row.text}\n    heard  {heard(outcomes, row)}\n")
    else:
        for name, outcome in sorted(outcomes.items()):
            if outcome.outcome == "transcribed":
                texts = [
                    f"    channel {channel}  {text}"
                    for channel, text in sorted(outcome.texts.items())
                    if text
                ]
                say("\n".join([name.removeprefix(task.prefix), *(texts or ["    (nobody speaks)"]), ""]))
    for name, outcome in sorted(outcomes.items()):
        if outcome.outcome != "transcribed":
            say(f"{name}: {outcome.outcome}\n    {outcome.reason or '(no reason)'}\n")


def chosen(expected: Sequence[ExpectedChannel], verdict: Verdict) -> list[ExpectedChannel]:
    """Rows worth showing: both channels of the first call, the one heard worst, and the first others."""
    spoken = [row for row in expected if row.text]
    calls = {row.path for row in spoken if row.channel > 0}
    first_call = next((row.path for row in spoken if row.path in calls), "")
    worst = max(spoken, key=lambda row: verdict.channels[row.path, row.channel].rate)
    wanted = [row for row in spoken if row.path == first_call]
    wanted += [row for row in [worst, *spoken] if row not in wanted]
    # The first others may hold the worst one again.
    return list(dict.fromkeys(wanted))[:SHOWN_TRANSCRIPTS]


def heard(outcomes: Mapping[str, Outcome], row: ExpectedChannel) -> str:
    """What the tables say of one channel."""
    outcome = outcomes.get(row.path)
    return outcome.texts.get(row.channel, "(nothing)") if outcome else "(not in the tables)"


def show_totals(outcomes: Mapping[str, Outcome], verdict: Verdict, submitted: int) -> None:
    """The counts, the word error rate and what was submitted."""
    counts = Counter(outcome.outcome for outcome in outcomes.values())
    listed = ", ".join(f"{counts[name]} {name}" for name in ("transcribed", "failed", "missing"))
    say(f"--- totals\n\nrecordings       {len(outcomes)}: {listed}")
    if verdict.channels:
        errors = verdict.word_errors
        say(
            f"word error rate  {errors.rate:.1%}: {errors.errors} of {errors.words} words on {len(verdict.channels)} channels"
        )
    say(f"submitted        {submitted} transcriptions in this run")


def show_tables(stack: Stack, task: Task) -> None:
    """Where the tables lie and how they are read."""
    say(
        f"tables           {STORE}tables/ in Azurite ({azurite.endpoint(stack.ports.azurite)}), "
        f"partition {task.partition}; its files are in {stack.checkout.stack / 'azurite'}\n"
        "                 to read them: make up, then make tables (TABLE=outcomes, words, phrases)\n"
    )


def main(arguments: Sequence[str]) -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--audio", type=Path, help="a folder of recordings of your own")
    chosen_arguments = parser.parse_args(arguments)
    end_on_signals()
    try:
        run(this_checkout(), chosen_arguments.audio, os.environ)
    except (LocalStackError, ports.PortError, ApiError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped, and with it what was started. What was submitted is remembered.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
