"""Submit the chunks of one shard; wait without a worker where there is no room. Decides nothing: the core does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from azure_speech.links import SpeechResourceLink
from azure_speech.retry import is_final, retry_policy
from speech_backfill.errors import SpeechBackfillError
from speech_backfill.model import Shard, TranscriptionRef

if TYPE_CHECKING:
    from airflow.sdk import Context

    from speech_backfill.pipeline import Pipeline
    from speech_backfill.submit import NotYet, Submitted


class SubmitTranscriptionsOperator(BaseOperator):
    """Submit every chunk of *shard* that is not submitted yet, and return where the transcriptions are.

    It may run any number of times, on any worker: what is submitted already is met again in the ledger, and what may
    have been submitted is looked for at the service first.

    Returns a list of ``{"resource": …, "transcription_id": …, "due_at": …}``; due is when it is given up if it has not
    ended, in seconds since 1970.

    :param shard: a shard as plain values, see speech_backfill.model.Shard (templated)
    """

    template_fields: Sequence[str] = ("shard",)
    template_fields_renderers = {"shard": "json"}  # noqa: RUF012  # Airflow's own attribute, a dict by its contract
    operator_extra_links = (SpeechResourceLink(),)
    ui_color = "#d7e8f7"

    def __init__(self, *, shard: Mapping[str, Any], **kwargs: Any) -> None:
        """Nothing is read before the task runs."""
        kwargs.setdefault("retry_policy", retry_policy())
        kwargs.setdefault("map_index_template", "{{ task.label }}")
        super().__init__(**kwargs)
        self.shard = shard
        self.speech_conn_ids: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What a person reads beside the mapped task: `map_index_template="{{ task.label }}"`."""
        return Shard.from_dict(self.shard).label

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Submit what there is room for; go on later where there is more."""
        shard = Shard.from_dict(self.shard)
        try:
            pipeline = self.pipeline()
            self.speech_conn_ids = tuple(one.name for one in pipeline.resources)
            answer = pipeline.submit(shard)
        except SpeechBackfillError as error:
            if is_final(error):
                raise AirflowFailException(str(error)) from error
            raise
        return self._concluded(answer, shard, pipeline)

    def resume(self, context: Context, event: object) -> list[dict[str, Any]]:
        """Go on after a wait. The event only woke us: what is true stands in the ledger and at the service."""
        from azure_speech.events import RoomEvent

        room = RoomEvent.read(event)
        self.log.info(
            "%s: going on, %s",
            self.label,
            f"{len(room.ended)} transcriptions have ended" if room.ended else "the moment has come",
        )
        return self.execute(context)

    def pipeline(self) -> Pipeline:
        """The core, from connections and settings."""
        from azure_speech.environment import core_pipeline

        return core_pipeline()

    def _concluded(
        self, answer: Submitted | NotYet, shard: Shard, pipeline: Pipeline
    ) -> list[dict[str, Any]]:
        from azure_speech.triggers.room import RoomTrigger
        from speech_backfill.submit import Submitted

        if isinstance(answer, Submitted):
            self.log.info("%s: %d transcriptions", shard.label, len(answer.refs))
            if answer.stopped:
                self.log.warning(
                    "%s: %d transcriptions do not fit the budget and are not submitted; what was submitted goes on",
                    shard.label,
                    answer.stopped,
                )
            return [
                {
                    "resource": one.resource,
                    "transcription_id": one.transcription_id,
                    "due_at": answer.due_at.get(one),
                }
                for one in answer.refs
            ]
        self.log.info(
            "%s: not all submitted yet (%s); again in %.0f s at the latest%s",
            shard.label,
            answer.reason,
            max(0.0, answer.until - pipeline.ledger.clock()),
            f", or when {answer.ends} of {len(answer.waiting_for)} transcriptions have ended"
            if answer.waiting_for
            else "",
        )
        raise TaskDeferred(
            trigger=RoomTrigger(
                transcriptions=by_resource(answer.waiting_for),
                until=answer.until,
                ends=answer.ends,
                poll_interval_seconds=pipeline.settings.poll_interval_seconds,
                first_look_seconds=pipeline.settings.first_look_seconds,
            ),
            method_name="resume",
        )


def by_resource(refs: Sequence[TranscriptionRef]) -> dict[str, list[str]]:
    """Ids at each resource, as triggers take them."""
    grouped: dict[str, list[str]] = {}
    for one in refs:
        grouped.setdefault(one.resource, []).append(one.transcription_id)
    return grouped
