"""What the DAGs share: the tables' asset, defaults of every task, the form's fields, and the steps of one shard."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from airflow.sdk import Asset, Param, task, task_group

from azure_speech import steps
from azure_speech.operators.submit import SubmitTranscriptionsOperator
from azure_speech.retry import retry_policy
from azure_speech.sensors.transcriptions import TranscriptionsSensor

TABLES = Asset("speech_backfill_tables")
"""Told of each published partition, with its counts: schedule what reads the tables on it."""

DEFAULTS: dict[str, Any] = {
    "owner": "speech-backfill",
    "retries": 6,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=15),
    "retry_policy": retry_policy(),
}
"""Every step may be run again, so every step is; what only a person can mend is not (azure_speech/retry.py)."""

TAGS = ["speech-backfill", "azure"]


@task_group
def transcribe(shard: dict[str, Any]) -> None:
    """Submit, wait, merge: one shard. Shards do not wait for each other."""
    _shard_steps(shard)


@task_group
def repair(shard: dict[str, Any]) -> None:
    """Submit, wait, merge once more: one shard of what can be tried again."""
    _shard_steps(shard)


def _shard_steps(shard: dict[str, Any]) -> None:
    submitted = SubmitTranscriptionsOperator(task_id="submit", shard=shard)
    waited = TranscriptionsSensor(task_id="wait", transcriptions=cast("Any", submitted.output))

    @task(task_id="merge", map_index_template="{{ shard_label }}")
    def merge(shard: dict[str, Any]) -> dict[str, int]:
        """Download what the service made of the shard and write its part files."""
        return steps.merge(shard)

    waited >> merge(shard)


def options_form(**section: Any) -> dict[str, Param]:
    """How the audio is to be transcribed, for files whose manifest row does not say otherwise."""
    return {
        "locale": Param(
            None,
            type=["null", "string"],
            title="Locale",
            description="Main locale of the audio, such as en-US; empty: SPEECH_BACKFILL_LOCALE.",
            examples=["en-US", "en-GB", "de-DE", "es-ES", "fr-FR", "it-IT", "ja-JP", "pt-BR", "zh-CN"],
            **section,
        ),
        "residency": Param(
            None,
            type=["null", "string"],
            title="Residency",
            description="Only Speech resources with this tag may have the files; empty: SPEECH_BACKFILL_RESIDENCY.",
            **section,
        ),
        "candidate_locales": Param(
            [],
            type=["null", "array"],
            items={"type": "string"},
            title="Candidate locales",
            description="One a line. Identify the language among these; the main locale must be one of them. Empty: do not.",
            **section,
        ),
        "max_speakers": Param(
            None,
            type=["null", "integer"],
            minimum=2,
            maximum=35,
            title="Speakers at the most",
            description="Tell speakers apart (diarization, 2 to 35); the service wants mono audio then. Empty: do not.",
            **section,
        ),
        "channels": Param(
            [],
            type=["null", "array"],
            items={"type": "integer", "minimum": 0},
            title="Channels",
            description="JSON list of the channels to transcribe, such as [0]. Empty: the service's own choice, 0 and 1.",
            **section,
        ),
        "word_times": Param(
            False,
            type="boolean",
            title="Word times",
            description="Times and confidences of every word, in the table words.",
            **section,
        ),
        "profanity": Param(
            "Masked",
            type="string",
            enum=["None", "Removed", "Tags", "Masked"],
            title="Profanity",
            description="What becomes of swear words in the text for reading.",
            **section,
        ),
        "punctuation": Param(
            "DictatedAndAutomatic",
            type="string",
            enum=["None", "Dictated", "Automatic", "DictatedAndAutomatic"],
            title="Punctuation",
            description="Where the punctuation of the text for reading comes from.",
            **section,
        ),
        "model": Param(
            None,
            type=["null", "string"],
            title="Model",
            description="URI of a custom or base model; empty: the locale's default.",
            **section,
        ),
    }


def limits_form(**section: Any) -> dict[str, Param]:
    """What the run may cost."""
    return {
        "budget_hours": Param(
            None,
            type=["null", "number"],
            minimum=0,
            title="Budget (audio hours)",
            description="Submission stops before more audio than this is submitted; durations that no manifest gives are read from headers or estimated, on the safe side. Empty: no limit, or the one that the named budget has.",
            **section,
        ),
        "budget_money": Param(
            None,
            type=["null", "number"],
            minimum=0,
            title="Budget (money)",
            description="The same as a sum, at SPEECH_BACKFILL_PRICE_PER_AUDIO_HOUR, which is not verified with Azure. Give hours or money, not both.",
            **section,
        ),
        "budget_name": Param(
            None,
            type=["null", "string"],
            title="Budget's name",
            description="All runs that name the same budget share it, whenever they run: name one for a backfill over many days. Empty: the partition's own.",
            **section,
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run",
            description="Log what it would cost, and keep that in the store; plan and submit nothing.",
            **section,
        ),
    }


REPROCESS = Param(
    False,
    type="boolean",
    title="Reprocess",
    description="Submit, and pay for, what is transcribed already once more.",
    section="Limits",
)
