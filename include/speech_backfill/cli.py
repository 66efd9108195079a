"""The command line: `python -m speech_backfill.cli plan | run | status | report | budget | migrate | rebuild-ledger`. The pipeline without Airflow.

The only module of the core that reads the environment and the clock. Settings are SPEECH_BACKFILL_* variables (see
docs/CONFIGURATION.md), credentials as credentials.py says. Exit status: 0 done, 1 failed with a message, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from speech_backfill import credentials, paths
from speech_backfill.errors import SettingsError, SpeechBackfillError, StoreError
from speech_backfill.ledger.budgets import Budgets
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import Budget
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.model import PROFANITY_MODES, PUNCTUATION_MODES, TranscriptionOptions
from speech_backfill.pipeline import Pipeline
from speech_backfill.plan.request import PlanRequest
from speech_backfill.run import run_partition
from speech_backfill.settings import Settings, budget_hours
from speech_backfill.store import Store

DEFAULT_LEDGER = "sqlite:///speech_backfill_ledger.db"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit status."""
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO if parsed.verbose else logging.WARNING, format="%(levelname)s %(message)s"
    )
    try:
        status: int = parsed.command(parsed)
    except SpeechBackfillError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except sa.exc.SQLAlchemyError as error:
        # Without the statement and its parameters, which follow on further lines.
        print(
            f"error: The ledger failed ({str(error).splitlines()[0]}). Nothing is lost: check that it is up, then run the "
            "same command again.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print(
            "Interrupted. Nothing is lost: run the same command again and it goes on from here.",
            file=sys.stderr,
        )
        return 130
    return status


def _settings() -> Settings:
    return Settings.from_environment(os.environ)


def _ledger(settings: Settings) -> Ledger:
    return Ledger.open(settings.ledger or DEFAULT_LEDGER, time.time)


def _pipeline(*, resources_needed: bool) -> Pipeline:
    settings = _settings()
    resources = credentials.resources(os.environ)
    if resources_needed and not resources:
        raise SettingsError(
            "SPEECH_BACKFILL_RESOURCE_<NAME>_ENDPOINT",
            "no Speech resource is described",
            "Set it and …_KEY for at least one.",
        )
    return Pipeline.open(
        settings,
        ledger_url=settings.ledger or DEFAULT_LEDGER,
        accounts=credentials.accounts(os.environ),
        resources=resources,
    )


def _request(parsed: argparse.Namespace, settings: Settings) -> PlanRequest:
    options = TranscriptionOptions(
        locale=parsed.locale or settings.locale,
        candidate_locales=tuple(parsed.candidate_locales),
        max_speakers=parsed.max_speakers,
        channels=tuple(parsed.channels) or None,
        word_times=parsed.word_times,
        display_word_times=parsed.word_times,
        profanity=parsed.profanity,
        punctuation=parsed.punctuation,
        model=parsed.model,
    )
    return PlanRequest(
        partition=parsed.partition,
        run_key=parsed.run_key,
        source=parsed.source or "",
        options=options,
        uri_column=settings.uri_column,
        include_globs=_listed(settings.include_globs),
        exclude_globs=_listed(settings.exclude_globs),
        budget_hours=budget_hours(parsed.budget_hours, parsed.budget_money, settings),
        budget_name=parsed.budget_name,
        residency=parsed.residency,
        dry_run=parsed.dry_run,
        only_failed=parsed.only_failed,
        reprocess=parsed.reprocess,
    )


def _plan(parsed: argparse.Namespace) -> int:
    pipeline = _pipeline(resources_needed=False)
    summary = pipeline.plan(_request(parsed, pipeline.settings))
    print(json.dumps(summary.to_dict(), indent=1) if parsed.json else summary.text)
    return 0


def _run(parsed: argparse.Namespace) -> int:
    pipeline = _pipeline(resources_needed=not parsed.dry_run)
    report = run_partition(
        pipeline, _request(parsed, pipeline.settings), tell=lambda line: print(line, flush=True)
    )
    if report is None:
        return 0
    print(json.dumps(report.to_dict(), indent=1) if parsed.json else report.markdown)
    if report.shortfall is not None:
        raise report.shortfall
    return 0


def _status(parsed: argparse.Namespace) -> int:
    ledger = _ledger(_settings())
    if parsed.partition:
        plan = ledger.latest_plan(parsed.partition)
        if plan is None:
            print(
                f"Partition {parsed.partition} was never planned. Plan it: speech_backfill.cli plan --partition {parsed.partition} …"
            )
            return 1
        print(
            f"{plan.partition}: plan {plan.plan_id}, {plan.state}, {plan.files:,} files, made {_when(plan.created_at)}"
        )
        for record in Submissions(ledger).of_plan(plan.plan_id):
            print(
                f"  {record.token}  {record.state:<9}  {record.status or '-':<10}  {record.resource}  {record.transcription_id or '-'}"
            )
        return 0
    print(
        f"{'partition':<24} {'version':>7} {'files':>10} {'transcribed':>11} {'failed':>8} {'missing':>8}  published"
    )
    for one in ledger.partitions():
        print(
            f"{one.partition:<24} {one.version:>7} {one.files:>10,} {one.transcribed:>11,} {one.failed:>8,} {one.missing:>8,}  "
            f"{_when(one.published_at)}"
        )
    return 0


def _report(parsed: argparse.Namespace) -> int:
    settings = _settings()
    published = _ledger(settings).partition(parsed.partition)
    if published is None:
        print(
            f"Partition {parsed.partition} is not published. See `status --partition {parsed.partition}`.",
            file=sys.stderr,
        )
        return 1
    store = Store.open(settings.require_store(), credentials.accounts(os.environ))
    path = paths.report(parsed.partition, published.plan_id, "json" if parsed.json else "md")
    try:
        print(store.get(path).decode())
    except FileNotFoundError as error:
        raise StoreError(
            "read", path, "it is not there, although the ledger knows the publication"
        ) from error
    return 0


def _budget(parsed: argparse.Namespace) -> int:
    settings = _settings()
    budgets = Budgets(_ledger(settings))
    if parsed.name is not None:
        hours = budget_hours(parsed.hours, parsed.money, settings)
        if hours is None and not parsed.none:
            raise SettingsError("budget", "no limit is given", "Give --hours, --money or --none.")
        budgets.set(Budget(parsed.name, None if hours is None else int(hours * 3_600_000)))
    found = [one for one in budgets.all() if parsed.name in {None, one.name}]
    print(f"{'budget':<32} {'audio hours':>12} {'spent':>12} {'left':>12}  set by")
    for one in found:
        limit = "none" if one.limit_ms is None else f"{one.limit_ms / 3_600_000:,.2f}"
        left = "" if one.limit_ms is None else f"{max(0, one.limit_ms - one.spent_ms) / 3_600_000:,.2f}"
        print(
            f"{one.name:<32} {limit:>12} {one.spent_ms / 3_600_000:>12,.2f} {left:>12}  {one.set_by}, {_when(one.set_at)}"
        )
    return 0


def _migrate(_: argparse.Namespace) -> int:
    _ledger(_settings())
    print("The ledger is at its newest schema.")
    return 0


def _rebuild_ledger(_: argparse.Namespace) -> int:
    rebuilt = _pipeline(resources_needed=True).rebuild_ledger()
    print(rebuilt.text)
    return 0


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="speech_backfill.cli", description="Transcribe partitions of audio files, without Airflow."
    )
    parser.add_argument("--verbose", action="store_true", help="log every remote action")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    for name, command, says in (
        ("plan", _plan, "plan a partition and print what it would cost; pays for nothing"),
        ("run", _run, "plan, submit, wait, merge, reconcile, repair and publish a partition"),
    ):
        one = commands.add_parser(name, help=says, description=says)
        one.set_defaults(command=command)
        one.add_argument(
            "source",
            nargs="?",
            help="manifest (.csv .jsonl .parquet .txt) or container prefix, as path or URI",
        )
        one.add_argument("--partition", required=True, help="name of the partition in the tables")
        one.add_argument(
            "--run-key",
            default="cli",
            help="names this run; only --reprocess looks at it: a new key pays again",
        )
        one.add_argument("--locale", help="default: the setting")
        one.add_argument(
            "--candidate-locales",
            nargs="*",
            default=[],
            metavar="LOCALE",
            help="identify the language among these",
        )
        one.add_argument("--max-speakers", type=int, help="tell speakers apart (mono audio)")
        one.add_argument(
            "--channels", nargs="*", type=int, default=[], help="channels to transcribe; default: 0 and 1"
        )
        one.add_argument("--word-times", action="store_true", help="times of every word")
        one.add_argument("--profanity", choices=PROFANITY_MODES, default="Masked")
        one.add_argument("--punctuation", choices=PUNCTUATION_MODES, default="DictatedAndAutomatic")
        one.add_argument("--model", help="URI of a custom or base model")
        one.add_argument("--budget-hours", type=float, help="audio hours that may be submitted")
        one.add_argument("--budget-money", type=float, help="the same as a sum, at the price in the settings")
        one.add_argument(
            "--budget-name", default="", help="share the budget of this name; default: the partition's own"
        )
        one.add_argument("--residency", default="", help="only resources with this tag may have the files")
        one.add_argument(
            "--dry-run",
            action="store_true",
            help="plan and submit nothing; print the estimate, and keep it in the store",
        )
        one.add_argument(
            "--only-failed", action="store_true", help="what is failed or missing in the published partition"
        )
        one.add_argument("--reprocess", action="store_true", help="submit (and pay for) done files again")
        one.add_argument("--json", action="store_true", help="print JSON")

    status = commands.add_parser(
        "status", help="what is published, or how a partition's transcriptions stand"
    )
    status.set_defaults(command=_status)
    status.add_argument("--partition")

    report = commands.add_parser("report", help="the run report of a published partition")
    report.set_defaults(command=_report)
    report.add_argument("partition")
    report.add_argument("--json", action="store_true", help="print JSON")

    says = "list the budgets and what of them is spent, or set one"
    budget = commands.add_parser("budget", help=says, description=says)
    budget.set_defaults(command=_budget)
    budget.add_argument("name", nargs="?", help="set this one; without a name all are listed")
    budget.add_argument("--hours", type=float, help="audio hours that may be submitted")
    budget.add_argument("--money", type=float, help="the same as a sum, at the price in the settings")
    budget.add_argument("--none", action="store_true", help="no limit any more")

    migrate = commands.add_parser("migrate", help="bring the ledger's schema to its newest state")
    migrate.set_defaults(command=_migrate)

    says = "add to a lost or restored ledger what the service and the store still know; pays for nothing"
    rebuild = commands.add_parser("rebuild-ledger", help=says, description=says)
    rebuild.set_defaults(command=_rebuild_ledger)
    return parser


if __name__ == "__main__":
    sys.exit(main())
