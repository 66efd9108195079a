"""The events that our triggers fire, written and read in one place. A payload that is not one is refused, never guessed.

Airflow stores and logs events in full: they hold ids, statuses and counts only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from speech_backfill.errors import SpeechBackfillError
from speech_backfill.model import TranscriptionRef
from speech_backfill.watch.decide import Seen

VERSION = 1


class MalformedEvent(SpeechBackfillError):
    """A task was resumed with something that none of our triggers sends."""

    def __init__(self, kind: str, problem: str) -> None:
        """*kind* is the event that was expected."""
        super().__init__(
            f"The task was resumed with an event that is no {kind} event ({problem}). Nothing was concluded from it; "
            "transcriptions go on at the service. Clear this task to wait again."
        )


@dataclass(frozen=True, slots=True)
class SeenTranscription:
    """One transcription and what was last seen of it; None: never seen."""

    ref: TranscriptionRef
    seen: Seen | None


@dataclass(frozen=True, slots=True)
class TranscriptionsEvent:
    """A wait is over: every transcription waited for, and which of them were given up."""

    transcriptions: tuple[SeenTranscription, ...]
    overdue: tuple[TranscriptionRef, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for Airflow."""
        return {
            "kind": "transcriptions",
            "version": VERSION,
            "transcriptions": [
                _written(one.ref) | {"status": one.seen.value if one.seen else None}
                for one in self.transcriptions
            ],
            "overdue": [_written(one) for one in self.overdue],
        }

    @classmethod
    def read(cls, payload: object) -> Self:
        """Read what `to_dict` wrote; raises MalformedEvent for anything else."""
        values = _opened(payload, "transcriptions")
        try:
            return cls(
                tuple(
                    SeenTranscription(_read(one), Seen(one["status"]) if one["status"] is not None else None)
                    for one in values["transcriptions"]
                ),
                tuple(_read(one) for one in values["overdue"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MalformedEvent("transcriptions", f"{type(error).__name__}: {error}") from error

    def refs(self, seen: Seen) -> tuple[TranscriptionRef, ...]:
        """Those that were last seen as *seen*."""
        return tuple(one.ref for one in self.transcriptions if one.seen is seen)


@dataclass(frozen=True, slots=True)
class RoomEvent:
    """There may be room: *ended* transcriptions have ended, or, where there are none, the moment has come."""

    ended: tuple[TranscriptionRef, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for Airflow."""
        return {"kind": "room", "version": VERSION, "ended": [_written(one) for one in self.ended]}

    @classmethod
    def read(cls, payload: object) -> Self:
        """Read what `to_dict` wrote; raises MalformedEvent for anything else."""
        values = _opened(payload, "room")
        try:
            return cls(tuple(_read(one) for one in values["ended"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MalformedEvent("room", f"{type(error).__name__}: {error}") from error


def _opened(payload: object, kind: str) -> Mapping[str, Any]:
    if not isinstance(payload, Mapping):
        raise MalformedEvent(kind, f"it is a {type(payload).__name__}")
    if payload.get("kind") != kind:
        raise MalformedEvent(kind, f"its kind is {payload.get('kind')!r}")
    if payload.get("version") != VERSION:
        raise MalformedEvent(kind, f"its version is {payload.get('version')!r}, ours is {VERSION}")
    return payload


def _written(ref: TranscriptionRef) -> dict[str, str]:
    return {"resource": ref.resource, "transcription_id": ref.transcription_id}


def _read(values: Mapping[str, Any]) -> TranscriptionRef:
    resource, transcription_id = values["resource"], values["transcription_id"]
    if not isinstance(resource, str) or not isinstance(transcription_id, str):
        raise TypeError("resource and transcription_id must be text")
    return TranscriptionRef(resource, transcription_id)
