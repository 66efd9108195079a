"""Every error the core raises, each with the message its reader needs: what happened, what state things are in, what to do.

SpeechBackfillError
├── SettingsError                 a setting is missing or out of range
│   ├── EndpointMoved             transcriptions stand at another endpoint than their connection's
│   └── ClockWrong                this worker's clock is far from the service's
├── ManifestError                 the source of a partition can't become a manifest
│   ├── SourceNotFound            no such manifest, container or prefix
│   ├── SourceRefused             the storage account refuses us
│   ├── EmptyManifest             there, readable, and without a single audio file
│   ├── MissingColumn             a table without a column of URIs
│   └── UnreadableManifest        not the format its name promises
├── AudioUriError                 one line can't become an audio file (the other lines go on)
├── OptionsError                  a locale, a channel list, … that the service would refuse
├── StoreError                    the store refuses or has changed under us
│   └── StoreConflict             a conditional write lost against another writer
├── SpeechServiceError            the Speech service's answers, see speech/errors.py
├── LedgerError
│   ├── LedgerUnavailable         can't be opened or migrated
│   └── UnknownPlan               a plan id that the ledger does not hold
├── NothingTaken                  no Speech resource has taken anything for longer than is waited
├── BudgetExhausted               a budget did not allow all of a partition
└── UnexplainedFiles              audio files without an outcome: the partition is not published
"""

from __future__ import annotations

from collections.abc import Mapping


class SpeechBackfillError(Exception):
    """The root of the tree; Airflow and the CLI catch it to print the message without a traceback."""


class SettingsError(SpeechBackfillError):
    """A setting is missing or out of range."""

    def __init__(self, setting: str, problem: str, remedy: str) -> None:
        """Name the *setting*, its *problem* and the *remedy*."""
        super().__init__(f"Setting {setting}: {problem}. Nothing was started. {remedy}")
        self.setting = setting


class EndpointMoved(SettingsError):
    """A connection points to another endpoint than the one that its transcriptions were submitted to."""

    def __init__(self, *, resource: str, token: str, submitted_to: str, now: str) -> None:
        """Name the *resource*, the transcription's *token* and both endpoints."""
        super().__init__(
            f"connection {resource}",
            f"{token} was submitted to {submitted_to}, but the connection points to {now} now, which does not know it",
            f"Point {resource} back to {submitted_to} until nothing of it is under way any more, give the other resource a "
            "connection of its own, then clear this task (or run the same command) again. Nothing was given up or submitted "
            "a second time.",
        )


class ClockWrong(SettingsError):
    """This machine's clock is so far from the service's that look-ups would miss what is there."""

    def __init__(self, *, resource: str, seconds: float, allowed: float) -> None:
        """How many *seconds* we are ahead of the service (negative: behind), and how far we may be."""
        super().__init__(
            "clock of this worker",
            f"it is {abs(seconds):,.0f} s {'ahead of' if seconds > 0 else 'behind'} that of resource {resource}, and "
            f"{allowed:,.0f} s are allowed: what was submitted could not be found again by its time",
            "Set the clock (NTP), then clear this task (or run the same command) again.",
        )


class ManifestError(SpeechBackfillError):
    """The source of a partition can't become a manifest; nothing was submitted."""


class SourceNotFound(ManifestError):
    """No such manifest, container or prefix."""

    def __init__(self, source: str, detail: str) -> None:
        """Name the *source* (without its query) and the *detail* of what was looked for."""
        super().__init__(
            f"{source} does not exist: {detail}. Nothing was planned or submitted. "
            "Correct the source or create it, then clear this task (or run the same command) again."
        )
        self.source = source


class SourceRefused(ManifestError):
    """The storage account refuses our credentials."""

    def __init__(self, source: str, detail: str) -> None:
        """Name the *source* (without its query) and what the account said in *detail*."""
        super().__init__(
            f"The storage account refuses access to {source}: {detail}. Nothing was planned or submitted. "
            "Check the storage connection's key, SAS (not expired, with read and list) or role "
            "(Storage Blob Data Reader), then clear this task (or run the same command) again."
        )
        self.source = source


class EmptyManifest(ManifestError):
    """The source is there and readable but holds no audio file."""

    def __init__(self, source: str, detail: str) -> None:
        """Name the *source* (without its query) and what was found instead in *detail*."""
        super().__init__(
            f"{source} holds no audio file: {detail}. Nothing was planned or submitted. "
            "Check the prefix and the globs, or the manifest's content."
        )
        self.source = source


class MissingColumn(ManifestError):
    """A manifest table has no column of URIs."""

    def __init__(self, source: str, wanted: tuple[str, ...], found: tuple[str, ...]) -> None:
        """Name the *source*, the accepted column names and the columns it has."""
        super().__init__(
            f"{source} has no column of audio URIs: expected one of {', '.join(wanted)}; found {', '.join(found) or 'none'}. "
            "Nothing was planned or submitted. Rename the column, or name it with the setting uri_column."
        )


class UnreadableManifest(ManifestError):
    """The manifest is not the format that its name promises."""

    def __init__(self, source: str, expected: str, problem: str) -> None:
        """Name the *source*, the *expected* format and the *problem* met."""
        super().__init__(
            f"{source} can't be read as {expected}: {problem}. Nothing was planned or submitted. "
            "Repair the file, or give it the suffix of its real format (.csv, .jsonl, .parquet, .txt)."
        )


class AudioUriError(SpeechBackfillError):
    """One manifest line can't become an audio file; it ends as failed, the other lines go on."""

    def __init__(self, code: str, problem: str) -> None:
        """*code* becomes the outcome's error_code, *problem* its error_message."""
        super().__init__(problem)
        self.code = code
        self.problem = problem


class OptionsError(SpeechBackfillError):
    """Options that the service would refuse, found before anything was sent."""

    def __init__(self, option: str, problem: str) -> None:
        """Name the *option* and its *problem*."""
        super().__init__(
            f"Option {option}: {problem}. Nothing was submitted with it. Correct it and start again."
        )
        self.option = option


class StoreError(SpeechBackfillError):
    """The store can't do what was asked."""

    def __init__(self, action: str, path: str, detail: str) -> None:
        """Name the *action*, the *path* inside the store and the *detail*."""
        super().__init__(
            f"The store could not {action} {path!r}: {detail}. What was published before stays as it was. "
            "Check the store's URL and credentials, then run the same step again."
        )
        self.path = path


class StoreConflict(StoreError):
    """A conditional write lost against another writer."""

    def __init__(self, path: str) -> None:
        """Name the contended *path*."""
        super().__init__("write", path, "another writer changed it first")


class LedgerError(SpeechBackfillError):
    """The ledger can't answer."""


class LedgerUnavailable(LedgerError):
    """The ledger can't be opened or migrated."""

    def __init__(self, where: str, detail: str) -> None:
        """Name *where* the ledger should be (no password) and the *detail*."""
        super().__init__(
            f"The ledger at {where} can't be used: {detail}. Nothing was submitted. "
            "Check SPEECH_BACKFILL_LEDGER and that the database is up; every step may be run again."
        )


class UnknownPlan(LedgerError):
    """A plan id that the ledger does not hold."""

    def __init__(self, plan_id: str) -> None:
        """Name the *plan_id*."""
        super().__init__(
            f"The ledger holds no plan {plan_id}. Nothing was submitted. Clear the plan task (or run `plan`) to make it again."
        )


class BudgetExhausted(SpeechBackfillError):
    """A budget did not allow all of a partition; what it allowed is published."""

    def __init__(
        self,
        *,
        partition: str,
        budget: str,
        limit_hours: float,
        spent_hours: float,
        files_left: int,
        hours_left: float,
    ) -> None:
        """All amounts are audio hours; *files_left* were not submitted."""
        super().__init__(
            f"Partition {partition}: {files_left:,} audio files (about {hours_left:,.2f} hours) were not submitted, because the "
            f"budget {budget!r} allows {limit_hours:,.2f} audio hours, of which {spent_hours:,.2f} are spent or under way. What "
            "was submitted is transcribed and published; the rest stands in outcomes as missing. To go on, trigger the DAG "
            "again (or run the command again) with a higher budget: only what is left is submitted."
        )


class UnexplainedFiles(SpeechBackfillError):
    """The outcomes do not add up to the manifest; the partition is not published."""

    def __init__(self, *, partition: str, files: int, explained: int, detail: str) -> None:
        """*files* stand in the manifest, *explained* have exactly one outcome; *detail* names the first offenders."""
        super().__init__(
            f"Partition {partition}: {files} audio files in the manifest, {explained} with exactly one outcome ({detail}). "
            "The partition was not published; what was published before stays visible. "
            "Clear the merge tasks of the shards named, then publish again."
        )


class SupersededPlan(SpeechBackfillError):
    """This run's plan was replaced by a newer one of the same partition; it must not submit any more."""

    def __init__(self, partition: str, plan_id: str) -> None:
        """Name both."""
        super().__init__(
            f"Partition {partition} was planned again since plan {plan_id}, so this run submits nothing more. "
            "What it submitted is taken over by the newer plan. Let the newer run go on; nothing needs to be done here."
        )


class NothingTaken(SpeechBackfillError):
    """Every resource that a shard's chunks may go to has been tried in vain for so long that waiting on is pointless."""

    def __init__(self, shard: str, *, hours: float, problems: Mapping[str, str]) -> None:
        """*shard* is its label, *hours* how long is waited, *problems* what was wrong last, by resource."""
        said = "; ".join(f"{resource}: {problem}" for resource, problem in sorted(problems.items()))
        super().__init__(
            f"{shard}: {' and '.join(sorted(problems))} could not be submitted to for {hours:g} hours and more ({said}). Nothing "
            "was submitted to what is in trouble; what was submitted before goes on and is not paid again. Mend what it names, "
            "or wait until the region is back, then clear this task (or run the same command) again."
        )


class NotSubmitted(SpeechBackfillError):
    """A chunk of the shard has no transcription."""

    def __init__(self, shard: str, chunk_id: str) -> None:
        """*shard* is its label."""
        super().__init__(
            f"{shard}: chunk {chunk_id} was not submitted, so there is nothing to merge. "
            "Clear the shard's submit task; what was submitted already is not paid again."
        )


class StillRunning(SpeechBackfillError):
    """A transcription has not ended and is within its deadline."""

    def __init__(self, shard: str, transcription_id: str, status: str) -> None:
        """*shard* is its label, *status* Azure's word."""
        super().__init__(
            f"{shard}: transcription {transcription_id} is {status}. Nothing was merged or lost. "
            "Clear the shard's wait task, or run this step again later."
        )


class StalePlan(SpeechBackfillError):
    """The partition was published by another plan since this one was made."""

    def __init__(self, *, partition: str, plan_id: str, based_on: int, visible: int) -> None:
        """Both versions by number."""
        super().__init__(
            f"Partition {partition}: plan {plan_id} was made when version {based_on} was visible; by now it is version "
            f"{visible}. This plan was not published; version {visible} stays visible and nothing paid for is lost. "
            "Clear the plan task (or run `plan` again): it carries over what both have."
        )
