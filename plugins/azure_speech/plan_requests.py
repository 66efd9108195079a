"""From a DAG run's form to a plan request. The form's fields are hostile until read here; a field we don't know is an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from speech_backfill.errors import SettingsError
from speech_backfill.model import TranscriptionOptions
from speech_backfill.settings import budget_hours

if TYPE_CHECKING:
    from speech_backfill.plan.request import PlanRequest
    from speech_backfill.settings import Settings


def checked_form(params: Mapping[str, Any], *, fields: Iterable[str]) -> dict[str, Any]:
    """The run's *params*, if all of them are *fields* of the DAG's form. Raises SettingsError for one that is not.

    Airflow takes unknown keys of a run's conf into its params without a word, so a slip such as `pefix` would plan the
    wrong thing.
    """
    known = set(fields)
    for name in params:
        if name not in known:
            raise SettingsError(
                f"run conf {name!r}", "the form has no such field", f"It has {', '.join(sorted(known))}."
            )
    return dict(params)


def daily_request(conf: Mapping[str, Any], settings: Settings, *, day: date, run_id: str) -> PlanRequest:
    """Plan one day: the source's template filled in with the partition's date. Raises SettingsError for a bad template."""
    from speech_backfill.plan.request import PlanRequest

    try:
        source = settings.daily_source.format(date=day)
    except (KeyError, ValueError, IndexError) as error:
        raise SettingsError(
            "SPEECH_BACKFILL_DAILY_SOURCE",
            f"{settings.daily_source!r} can't be filled in with a date ({error})",
            "Write it like az://recordings/calls/{date:%Y/%m/%d}/.",
        ) from error
    return PlanRequest(
        partition=day.isoformat(),
        run_key=run_id,
        source=source,
        options=_options(conf, settings),
        uri_column=settings.uri_column,
        include_globs=_listed(settings.include_globs),
        exclude_globs=_listed(settings.exclude_globs),
        budget_hours=_budget(conf, settings),
        budget_name=str(conf.get("budget_name") or "").strip(),
        residency=str(conf.get("residency") or "").strip(),
        dry_run=bool(conf.get("dry_run")),
        reprocess=bool(conf.get("reprocess")),
    )


def manifest_request(conf: Mapping[str, Any], settings: Settings, *, run_id: str) -> PlanRequest:
    """Plan what the form of speech_backfill_manifest asks for."""
    from speech_backfill.plan.request import PlanRequest

    partition = str(conf.get("partition") or "").strip()
    if not partition:
        raise SettingsError(
            "partition", "the form gives it no name", "Name the partition, for example support-2019."
        )
    source = str(conf.get("source") or "").strip()
    if "sig=" in source.partition("?")[2].lower():
        raise SettingsError(
            "source",
            "it carries a SAS, and Airflow keeps and shows a run's conf as it is",
            "Storage is entered by its connection: trigger again without what follows the question mark, delete this run, and "
            "let that SAS end.",
        )
    return PlanRequest(
        partition=partition,
        run_key=run_id,
        source=source,
        options=_options(conf, settings),
        uri_column=str(conf.get("uri_column") or settings.uri_column),
        include_globs=tuple(conf.get("include_globs") or ()) or _listed(settings.include_globs),
        exclude_globs=tuple(conf.get("exclude_globs") or ()) or _listed(settings.exclude_globs),
        budget_hours=_budget(conf, settings),
        budget_name=str(conf.get("budget_name") or "").strip(),
        residency=str(conf.get("residency") or "").strip(),
        dry_run=bool(conf.get("dry_run")),
        only_failed=bool(conf.get("only_failed")),
        reprocess=bool(conf.get("reprocess")),
    )


def repair_request(
    conf: Mapping[str, Any], settings: Settings, *, partition: str, run_id: str
) -> PlanRequest:
    """Plan what is failed or missing in a published partition and can be tried again."""
    from speech_backfill.plan.request import PlanRequest

    return PlanRequest(
        partition=partition,
        run_key=run_id,
        source="",
        budget_hours=_budget(conf, settings),
        budget_name=str(conf.get("budget_name") or "").strip(),
        residency=str(conf.get("residency") or "").strip(),
        dry_run=bool(conf.get("dry_run")),
        only_failed=True,
        reprocess=bool(conf.get("reprocess")),
    )


def _options(conf: Mapping[str, Any], settings: Settings) -> TranscriptionOptions:
    return TranscriptionOptions(
        locale=str(conf.get("locale") or settings.locale),
        candidate_locales=tuple(conf.get("candidate_locales") or ()),
        max_speakers=conf.get("max_speakers"),
        channels=tuple(conf["channels"]) if conf.get("channels") else None,
        word_times=bool(conf.get("word_times")),
        display_word_times=bool(conf.get("word_times")),
        profanity=conf.get("profanity") or "Masked",
        punctuation=conf.get("punctuation") or "DictatedAndAutomatic",
        model=conf.get("model") or None,
    )


def _budget(conf: Mapping[str, Any], settings: Settings) -> float | None:
    """The budget in audio hours. Raises SettingsError for one that is given twice, or in money without a price."""
    hours, money = conf.get("budget_hours"), conf.get("budget_money")
    return budget_hours(
        None if hours is None else float(hours), None if money is None else float(money), settings
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
