"""Wait for transcriptions, whoever submitted them, without holding a worker. Changes nothing at the service."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from azure_speech.events import TranscriptionsEvent
from azure_speech.links import SpeechResourceLink
from azure_speech.retry import retry_policy
from speech_backfill.errors import SettingsError
from speech_backfill.model import TranscriptionRef
from speech_backfill.settings import Settings
from speech_backfill.watch.decide import Seen

if TYPE_CHECKING:
    from airflow.sdk import Context


class TranscriptionsSensor(BaseSensorOperator):
    """Wait until all *transcriptions* have ended, or the deadline has passed; return how they ended, in numbers.

    Always deferrable: the wait is one trigger for all of them. Poke arguments of other sensors (mode, poke_interval,
    timeout) have no effect here. A cleared or retried task waits anew, with a deadline of its own.

    Returns ``{"succeeded": n, "failed": n, "gone": n, "overdue": [{"resource": …, "transcription_id": …}, …]}``.
    Gone means that the service does not know a transcription any more: its time to live has ended.

    :param transcriptions: ids of transcriptions (or their addresses), or ``{"resource": connection id,
        "transcription_id": id}`` as SubmitTranscriptionsOperator returns them (templated)
    :param azure_speech_conn_id: the connection of ids that come without one (templated)
    :param deadline_hours: how long to wait; default: SPEECH_BACKFILL_DEADLINE_HOURS, or until the last of the
        transcriptions is due, where they say so and it is later
    :param poll_interval_seconds: default: SPEECH_BACKFILL_POLL_INTERVAL_SECONDS
    :param first_look_seconds: default: SPEECH_BACKFILL_FIRST_LOOK_SECONDS
    :param fail_on_failed: whether a transcription that failed, is gone or is overdue fails the task. Off by default:
        what became of each audio file is told by its report, and a failed transcription has one too.
    """

    template_fields: Sequence[str] = ("transcriptions", "azure_speech_conn_id")
    operator_extra_links = (SpeechResourceLink(),)
    ui_color = "#e8f1d7"

    def __init__(
        self,
        *,
        transcriptions: Sequence[str | Mapping[str, Any]],
        azure_speech_conn_id: str = "azure_speech_default",
        deadline_hours: float | None = None,
        poll_interval_seconds: float | None = None,
        first_look_seconds: float | None = None,
        fail_on_failed: bool = False,
        **kwargs: Any,
    ) -> None:
        """Nothing is read before the task runs."""
        kwargs.setdefault("retry_policy", retry_policy())
        kwargs.setdefault("map_index_template", "{{ task.label }}")
        super().__init__(**kwargs)
        self.transcriptions = transcriptions
        self.azure_speech_conn_id = azure_speech_conn_id
        self.deadline_hours = deadline_hours
        self.poll_interval_seconds = poll_interval_seconds
        self.first_look_seconds = first_look_seconds
        self.fail_on_failed = fail_on_failed

    @property
    def label(self) -> str:
        """What a person reads beside the mapped task."""
        try:
            refs = self._refs()
        except (SettingsError, TypeError):
            return "nothing that can be waited for"
        places = ", ".join(dict.fromkeys(one.resource for one in refs))
        return f"{len(refs)} transcription{'' if len(refs) == 1 else 's'} · {places or 'nowhere'}"

    @property
    def speech_conn_ids(self) -> tuple[str, ...]:
        """The connections waited at, for the task's link."""
        return tuple({one.resource: None for one in self._refs()})

    def execute(self, context: Context) -> dict[str, Any]:
        """Defer at once; with nothing to wait for, return."""
        from azure_speech.triggers.transcriptions import TranscriptionsTrigger

        refs = self._refs()
        if not refs:
            self.log.info("No transcriptions to wait for.")
            return _summary(TranscriptionsEvent(()))
        settings = Settings.from_environment(os.environ)
        now = time.time()
        if self.deadline_hours is not None:
            deadline_at = now + self.deadline_hours * 3600
        else:
            deadline_at = max(now + settings.deadline_hours * 3600, self._due_at())
        grouped: dict[str, list[str]] = {}
        for one in refs:
            grouped.setdefault(one.resource, []).append(one.transcription_id)
        self.log.info("Waiting for %s, for %.1f hours at the most.", self.label, (deadline_at - now) / 3600)
        raise TaskDeferred(
            trigger=TranscriptionsTrigger(
                transcriptions=grouped,
                deadline_at=deadline_at,
                poll_interval_seconds=_given(self.poll_interval_seconds, settings.poll_interval_seconds),
                first_look_seconds=_given(self.first_look_seconds, settings.first_look_seconds),
            ),
            method_name="resume",
        )

    def resume(self, context: Context, event: object) -> dict[str, Any]:
        """Conclude from the event alone."""
        ended = TranscriptionsEvent.read(event)
        summary = _summary(ended)
        self.log.info(
            "%d succeeded, %d failed, %d gone, %d overdue",
            summary["succeeded"],
            summary["failed"],
            summary["gone"],
            len(summary["overdue"]),
        )
        for word in (Seen.FAILED, Seen.GONE):
            for ref in ended.refs(word):
                self.log.warning("%s %s: %s", ref.resource, ref.transcription_id, word.value)
        for ref in ended.overdue:
            self.log.warning(
                "%s %s has not ended by the deadline. It was left alone and may end yet.",
                ref.resource,
                ref.transcription_id,
            )
        bad = summary["failed"] + summary["gone"] + len(summary["overdue"])
        if self.fail_on_failed and bad:
            raise AirflowFailException(
                f"{bad} of {len(ended.transcriptions)} transcriptions did not succeed: {summary['failed']} failed, "
                f"{summary['gone']} are gone, {len(summary['overdue'])} are overdue. Nothing was changed at the service. "
                "The log names them; clear this task to wait again."
            )
        return summary

    def _refs(self) -> tuple[TranscriptionRef, ...]:
        """What to wait for, each once, in the order given. Raises SettingsError for what is no transcription."""
        if isinstance(self.transcriptions, str | Mapping):
            raise SettingsError("transcriptions", "it is no list", "Give a list, of one element perhaps.")
        return tuple(dict.fromkeys(self._ref(one) for one in self.transcriptions))

    def _due_at(self) -> float:
        """When the last of them is given up, as SubmitTranscriptionsOperator says it; 0 where nobody says."""
        said = (one.get("due_at") for one in self.transcriptions if isinstance(one, Mapping))
        return max((float(one) for one in said if isinstance(one, int | float)), default=0.0)

    def _ref(self, one: object) -> TranscriptionRef:
        match one:
            case str() if one.strip():
                return TranscriptionRef(self.azure_speech_conn_id, _bare_id(one))
            case {"transcription_id": str(transcription_id), **rest} if transcription_id.strip():
                return TranscriptionRef(
                    str(rest.get("resource") or self.azure_speech_conn_id), _bare_id(transcription_id)
                )
            case _:
                raise SettingsError(
                    "transcriptions",
                    f"an element of type {type(one).__name__} names no transcription",
                    'Give ids, or {"resource": connection id, "transcription_id": id}.',
                )


def _bare_id(text: str) -> str:
    """The id in an id or in a transcription's address."""
    return text.strip().split("?", 1)[0].rstrip("/").rpartition("/")[2]


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def _summary(event: TranscriptionsEvent) -> dict[str, Any]:
    return {
        "succeeded": len(event.refs(Seen.SUCCEEDED)),
        "failed": len(event.refs(Seen.FAILED)),
        "gone": len(event.refs(Seen.GONE)),
        "overdue": [
            {"resource": one.resource, "transcription_id": one.transcription_id} for one in event.overdue
        ],
    }
