"""What may be done about a failed file: try again, try elsewhere, or never. The one place that reads meaning into error codes.

Unknown codes are never tried again: a repeat costs money, and `reprocess` is there for the person who knows better.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ErrorClass(StrEnum):
    """What a further submission may do about an error."""

    AGAIN = "again"
    """It may pass, wherever it is tried."""
    ELSEWHERE = "elsewhere"
    """It may pass, and sooner at another resource if there is one."""
    NEVER = "never"
    """The same file with the same options ends the same way."""


class OurCode(StrEnum):
    """Error codes that we give, beside the service's own."""

    NOT_REPORTED = "NotReported"
    """Neither in the report nor among the results."""
    RESULT_NOT_FOUND = "ResultNotFound"
    """Listed, but its result file stayed away."""
    INVALID_RESULT = "InvalidResult"
    """Its result file can't be read, also when it is downloaded once more."""
    RESULTS_PURGED = "ResultsPurged"
    """The service did not know the transcription any more when its results were to be fetched."""
    OVERDUE = "Overdue"
    """The transcription was past its deadline and was given up."""
    TRANSCRIPTION_FAILED = "TranscriptionFailed"
    """The transcription failed as a whole and said nothing of this file."""
    OVER_BUDGET = "OverBudget"
    """It was not submitted: the budget did not allow it."""


UNREAD = frozenset({OurCode.NOT_REPORTED, OurCode.RESULT_NOT_FOUND, OurCode.INVALID_RESULT})
"""The service ended it and we have not read what became of the file: it may yet be got at while the service keeps it."""


@dataclass(frozen=True, slots=True)
class KnownError:
    """An error code, its class, and what that rests on."""

    code: str
    error_class: ErrorClass
    evidence: str


_AGAIN, _ELSEWHERE, _NEVER = ErrorClass.AGAIN, ErrorClass.ELSEWHERE, ErrorClass.NEVER

KNOWN = (
    # The service in trouble.
    KnownError("Internal", _ELSEWHERE, "Microsoft's Ingestion Client retries it (TranscriptionProcessor)"),
    KnownError("InternalServerError", _ELSEWHERE, "ErrorCode of the 2025-10-15 specification, the body of a 500"),
    KnownError("InternalCommunicationFailed", _ELSEWHERE, "ErrorCode of the specification: between its own parts"),
    KnownError("ServiceUnavailable", _ELSEWHERE, "ErrorCode of the specification, the body of a 503"),
    KnownError("PipelineError", _ELSEWHERE, "ErrorCode of the specification; the name is all there is to go by"),
    KnownError("UnexpectedError", _ELSEWHERE, "DetailedErrorCode of the specification: nobody at fault but the service"),
    KnownError("Timeout", _AGAIN, "Microsoft's Ingestion Client retries it"),
    KnownError("Transient", _AGAIN, "Microsoft's Ingestion Client retries it"),
    # Reading the source: a fresh SAS is minted at every submission.
    KnownError("InvalidUri", _AGAIN, "Microsoft's Ingestion Client retries it; seen where a download failed"),
    KnownError("InvalidRecordingsUri", _AGAIN, "DetailedErrorCode of the specification, InvalidUri by another name"),
    # The audio, or what was asked of it.
    KnownError("InvalidData", _NEVER, "seen for what can't be decoded, and for stereo with diarization"),
    KnownError("InvalidAudioFormat", _NEVER, "DetailedErrorCode of the specification since 2025-10-15"),
    KnownError("EmptyAudioFile", _NEVER, "DetailedErrorCode of the specification since 2025-10-15"),
    KnownError("BadChannelConfiguration", _NEVER, "DetailedErrorCode of the specification since 2025-10-15"),
    KnownError("InvalidChannelSpecification", _NEVER, "DetailedErrorCode of the specification since 2025-10-15"),
    KnownError("InvalidChannels", _NEVER, "DetailedErrorCode of the specification"),
    KnownError("AudioLengthLimitExceeded", _NEVER, "DetailedErrorCode of the specification since 2025-10-15"),
    KnownError("LimitExceeded", _NEVER, "seen for audio too long for diarization, 240 minutes"),
    KnownError("NoLanguageIdentified", _NEVER, "DetailedErrorCode of the specification since 2025-10-15"),
    KnownError("MultipleLanguagesIdentified", _NEVER, "DetailedErrorCode of the specification since 2025-10-15"),
    KnownError("Unknown", _NEVER, "the report says failed and gives no code"),
    # Ours.
    KnownError(OurCode.NOT_REPORTED, _AGAIN, "nothing was said against the file"),
    KnownError(OurCode.RESULT_NOT_FOUND, _AGAIN, "the service says that the file itself is well"),
    KnownError(OurCode.INVALID_RESULT, _AGAIN, "seen as truncation; the next answer may be whole"),
    KnownError(OurCode.OVERDUE, _ELSEWHERE, "a region in trouble shows as transcriptions that do not end"),
    KnownError(OurCode.OVER_BUDGET, _AGAIN, "never submitted, so nothing is known against it"),
    KnownError(OurCode.RESULTS_PURGED, _NEVER, "transcribed and paid; paying again is for a person or a setting to say"),
    KnownError(OurCode.TRANSCRIPTION_FAILED, _NEVER, "failed alone, without a reason"),
)  # fmt: skip

PASSING_MESSAGE = "authentication failed"
"""Of "Authentication failed for recordings URI", under codes that differ: the SAS had ended before the file was read."""

_CLASSES = {one.code.lower(): one.error_class for one in KNOWN}


def codes_of(wanted: ErrorClass) -> list[str]:
    """The known codes of a class."""
    return [one.code for one in KNOWN if one.error_class is wanted]


def error_class(code: str | None, message: str | None) -> ErrorClass:
    """The class of a failure of *code* with *message*."""
    known = _CLASSES.get((code or "").lower(), ErrorClass.NEVER)
    if known is ErrorClass.NEVER and PASSING_MESSAGE in (message or "").lower():
        return ErrorClass.AGAIN
    return known


def can_retry(
    code: str | None, message: str | None, *, alone: bool = True, resubmit_purged: bool = False
) -> bool:
    """Whether a further submission may cure a failure of *code* with *message*.

    *alone* is false where the service blamed a whole transcription of several files: then any of them may be good.
    *resubmit_purged* is the setting of that name.
    """
    if not alone:
        return True
    if code == OurCode.RESULTS_PURGED:
        return resubmit_purged
    return error_class(code, message) is not ErrorClass.NEVER
