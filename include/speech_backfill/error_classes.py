"""Which failed files may be tried again. The one place that reads meaning into error codes.

Sources: Microsoft's Ingestion Client retries InvalidUri, Internal, Timeout and Transient; the other codes stand in the
DetailedErrorCode list of the 2025-10-15 specification or were seen in reports. Unknown codes are not tried again: a
repeat costs money, and `reprocess` is there for the person who knows better.
"""

from __future__ import annotations

from enum import StrEnum

_AGAIN = frozenset(
    {
        "internal",
        "internalservererror",
        "internalcommunicationfailed",
        "serviceunavailable",
        "timeout",
        "transient",
        "unexpectederror",
        "pipelineerror",
        "invaliduri",
        "invalidrecordingsuri",
        "invalidresult",
        "overdue",
        "notreported",
        "resultnotfound",
        "resultspurged",
        "resulttoolate",
    }
)


class OurCode(StrEnum):
    """Error codes that we give, beside the service's own."""

    NOT_REPORTED = "NotReported"
    """Neither in the report nor among the results."""
    RESULT_NOT_FOUND = "ResultNotFound"
    """Listed, but its result file stayed away."""
    INVALID_RESULT = "InvalidResult"
    """Its result file can't be read."""
    RESULTS_PURGED = "ResultsPurged"
    """The service did not know the transcription any more when its results were to be fetched."""
    OVERDUE = "Overdue"
    """The transcription was past its deadline and was given up."""
    TRANSCRIPTION_FAILED = "TranscriptionFailed"
    """The transcription failed as a whole and said nothing of this file."""


def can_retry(code: str | None, message: str | None, *, alone: bool = True) -> bool:
    """Whether a further submission may cure a failure of *code* with *message*.

    *alone* is false where the service blamed a whole transcription of several files: then any of them may be good.
    """
    if not alone:
        return True
    if code is not None and code.lower() in _AGAIN:
        return True
    return "authentication failed" in (message or "").lower()
