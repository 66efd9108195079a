"""Every knob of the core in one frozen dataclass: default, allowed range, unit in the name.

Read from environment variables named SPEECH_BACKFILL_<FIELD>, by the Airflow shell and the CLI alike.
docs/CONFIGURATION.md is generated from this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from speech_backfill.errors import SettingsError

PREFIX = "SPEECH_BACKFILL_"

CLI_PREFIXES = (f"{PREFIX}RESOURCE_", f"{PREFIX}ACCOUNT_")
"""Variables of the command line's credentials (Airflow has connections instead): see credentials.py."""


def _knob(default: Any, says: str, *, low: float | None = None, high: float | None = None) -> Any:
    """A field with its sentence and range beside it, so documentation and check share one source."""
    return field(default=default, metadata={"says": says, "low": low, "high": high})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this installation behaves. Raises SettingsError where a value is out of its range."""

    # Where things live
    store: str = _knob(
        "",
        "Where tables, plans and raw results live: a local folder, file://…, az://container/prefix, abfs(s)://container@account.dfs.core.windows.net/prefix. Required.",
    )
    ledger: str = _knob(
        "",
        "SQLAlchemy URL of the ledger; empty: SQLite beside AIRFLOW_HOME (or in the working folder for the CLI).",
    )
    speech_connections: str = _knob(
        "azure_speech_default",
        "Comma-separated Airflow connections of type azure_speech, one for each Speech resource.",
    )
    storage_connections: str = _knob(
        "wasb_default",
        "Comma-separated Airflow connections of type wasb; their accounts are the only ones that audio and manifests may come from. The first is the default account of az://container/… URIs.",
    )
    source_access: str = _knob(
        "sas",
        "How the service reads audio: `sas` (a read SAS is minted for each file at submission) or `identity` (plain URLs; the Speech resource's system-assigned identity has Storage Blob Data Reader).",
    )
    # The nightly backfill
    daily_source: str = _knob(
        "az://recordings/calls/{date:%Y/%m/%d}/",
        "Source of speech_backfill_daily: a container URI whose prefix is a template over the partition's date.",
    )
    include_globs: str = _knob(
        "",
        "Comma-separated globs a blob's path below the prefix must match (any of them); empty: the suffixes of the audio formats the service lists.",
    )
    exclude_globs: str = _knob("", "Comma-separated globs that leave a blob out.")
    locale: str = _knob("en-US", "Default locale.")
    uri_column: str = _knob(
        "",
        "Name of the manifest's column of audio URIs; empty: the first of uri, url, audio_url, audio_filepath, path, file.",
    )
    # Cutting
    files_per_transcription: int = _knob(
        1000, "Audio files in one transcription, the service's limit.", low=1, high=1000
    )
    max_shards: int = _knob(
        48, "Shards of a partition at the most; each costs three task instances.", low=1, high=500
    )
    max_file_bytes: int = _knob(1_000_000_000, "Larger audio files are refused before submission.", low=1)
    hours_per_transcription: float = _knob(
        120.0,
        "Audio hours in one transcription at the most: a region works on one at a time, for about a fifth of its audio.",
        low=0.01,
    )
    bytes_per_transcription: int = _knob(
        50_000_000_000, "Bytes of audio in one transcription at the most.", low=1
    )
    residency: str = _knob(
        "",
        "Residency of files whose manifest row names none: only Speech resources of the same residency may have them. Empty: any.",
    )
    # Submitting
    submit_timeout_seconds: float = _knob(
        60.0,
        "How long a submission may wait for its answer; must be shorter than lease_seconds.",
        low=1,
        high=600,
    )
    lease_seconds: float = _knob(180.0, "How long a worker holds a chunk while submitting it.", low=2)
    lookup_grace_seconds: float = _knob(
        120.0,
        "How long after a lost answer the service's list must have had to show a transcription before it counts as never accepted.",
        low=0,
    )
    lookup_skew_seconds: float = _knob(
        86_400.0,
        "How far the service's clock and those of workers may be apart when a transcription is looked for; a worker that is further off submits nothing.",
        low=0,
    )
    time_to_live_hours: int = _knob(
        168,
        "How long the service keeps a transcription and its results after it has ended. Where a shard takes longer than a quarter of it, what has ended is kept in the store until it is merged.",
        low=6,
        high=744,
    )
    sas_hours: float = _knob(
        96.0, "Life of the read SAS sent with a submission; must outlive the service's queue.", low=1
    )
    audio_speed: float = _knob(
        5.0,
        "Audio hours that a region is assumed to work through in one hour, until enough transcriptions have ended there.",
        low=0.01,
    )
    # Waiting
    poll_interval_seconds: float = _knob(
        60.0,
        "Seconds between two looks at a resource; the service advises against more than one a minute.",
        low=0.2,
    )
    first_look_seconds: float = _knob(
        30.0,
        "Seconds before the first look after a deferral; under 10 Airflow 3.3 can mark a healthy task failed.",
        low=0,
    )
    deadline_hours: float = _knob(
        48.0,
        "How long a transcription may take before it is given up and its files are repaired, on top of what its region is expected to need for it and for what stands before it there; and for how long resources that can't be reached, or answer with errors only, are tried again before submit tasks fail.",
        low=0.001,
    )
    gone_after_seconds: float = _knob(
        120.0,
        "How long after its submission a transcription that the service says it does not know counts as not visible yet, not as gone.",
        low=0,
    )
    # Accounting
    price_per_audio_hour: float = _knob(
        0.18, "Price of an audio hour in your currency, for estimates only; not verified with Azure.", low=0
    )
    assumed_bytes_per_second: float = _knob(
        0.0,
        "Assumed size of a second of audio where neither manifest nor headers give a duration; 0: by format, on the safe side for budgets.",
        low=0,
    )
    probe_files: int = _knob(
        400,
        "Audio files whose headers a plan reads at the most where the manifest gives no duration, a few small requests each; of more files a sample is drawn, and the error stated. 0: none, durations are guessed from sizes.",
        low=0,
        high=10_000,
    )
    repair_rounds: int = _knob(
        1,
        "How often files that can be tried again are submitted again within one CLI run (a DAG run has one round).",
        low=0,
        high=10,
    )
    resubmit_purged: bool = _knob(
        default=False,
        says="Submit again, and pay again for, files whose results the service had deleted before they were fetched.",
    )
    keep_raw_results: bool = _knob(
        default=True,
        says="Keep the service's JSON as one compressed object for each transcription. `False`: none past the publication.",
    )
    delete_at_service: bool = _knob(
        default=True, says="Delete ended transcriptions at the service once their partition is published."
    )
    download_concurrency: int = _knob(16, "Result files downloaded at once.", low=1, high=256)

    def __post_init__(self) -> None:
        for one in fields(self):
            value, low, high = getattr(self, one.name), one.metadata["low"], one.metadata["high"]
            if (low is not None and value < low) or (high is not None and value > high):
                raise SettingsError(
                    PREFIX + one.name.upper(),
                    f"{value} is not within {low} … {high if high is not None else 'any'}",
                    "Correct it.",
                )
        if self.submit_timeout_seconds >= self.lease_seconds:
            raise SettingsError(
                PREFIX + "LEASE_SECONDS",
                "it must be longer than submit_timeout_seconds, or two workers could submit one chunk",
                "Raise it.",
            )
        if self.source_access not in {"sas", "identity"}:
            raise SettingsError(
                PREFIX + "SOURCE_ACCESS", f"{self.source_access!r} is neither sas nor identity", "Correct it."
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the settings that *environment* names; an unknown SPEECH_BACKFILL_ name is an error, for it is a typing slip."""
        known = {PREFIX + one.name.upper(): one for one in fields(cls)}
        values: dict[str, Any] = {}
        for name, text in environment.items():
            if not name.startswith(PREFIX) or name.startswith(CLI_PREFIXES):
                continue
            if name not in known:
                raise SettingsError(name, "no such setting", f"There are {', '.join(sorted(known))}.")
            if text != "":
                values[known[name].name] = _parse(name, text, type(known[name].default))
        return cls(**values)

    def require_store(self) -> str:
        """The store's URL; raises SettingsError where none is set."""
        if not self.store:
            raise SettingsError(
                f"{PREFIX}STORE", "it is not set", "Set it to a folder or az://container/prefix."
            )
        return self.store

    @property
    def linger_seconds(self) -> float:
        """How long what was given up at its deadline still counts as worked on: as long again."""
        return self.deadline_hours * 3600

    @property
    def speech_connection_ids(self) -> tuple[str, ...]:
        """The connections of the Speech resources, in order."""
        return _listed(self.speech_connections)

    @property
    def storage_connection_ids(self) -> tuple[str, ...]:
        """The connections of the storage accounts, in order."""
        return _listed(self.storage_connections)


def budget_hours(hours: float | None, money: float | None, settings: Settings) -> float | None:
    """A budget in audio hours, given as such or as a sum at the price in the settings. Raises SettingsError."""
    if money is None:
        return hours
    if hours is not None:
        raise SettingsError("budget", "it is given in hours and in money", "Give one of them.")
    if settings.price_per_audio_hour <= 0:
        raise SettingsError(
            f"{PREFIX}PRICE_PER_AUDIO_HOUR",
            "a budget in money needs a price above 0",
            "Set it, or give the budget in hours.",
        )
    return money / settings.price_per_audio_hour


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _parse(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in {"true", "false", "1", "0", "yes", "no"}:
            raise SettingsError(name, f"{text!r} is neither true nor false", "Correct it.")
        return text.lower() in {"true", "1", "yes"}
    try:
        return kind(text)
    except ValueError as error:
        raise SettingsError(name, f"{text!r} is no {kind.__name__}", "Correct it.") from error


def described() -> list[tuple[str, str, str, str]]:
    """(variable, default, range, sentence) for every setting, in reading order: the source of docs/CONFIGURATION.md."""
    rows = []
    for one in fields(Settings):
        low, high = one.metadata["low"], one.metadata["high"]
        allowed = (
            ""
            if low is None and high is None
            else f"{'' if low is None else low} … {'' if high is None else high}"
        )
        default = "" if one.default is MISSING else str(one.default)
        rows.append((PREFIX + one.name.upper(), default, allowed, one.metadata["says"]))
    return rows
