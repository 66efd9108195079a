"""The errors of reading one result file or one report; none of them ever concerns another file."""

from __future__ import annotations

from speech_backfill.errors import SpeechBackfillError


class InvalidResultFile(SpeechBackfillError):
    """One result file can't be read. Nothing of it reached a table."""

    def __init__(self, reason: str) -> None:
        """*reason* says what is wrong with the bytes; it never quotes them, for they may hold a SAS."""
        super().__init__(
            f"A result file can't be read: {reason}. None of its rows were written; every other file goes on. "
            "Its audio file ends as failed with this reason and can be submitted again by a repair."
        )
        self.reason = reason


class InvalidReport(SpeechBackfillError):
    """A transcription's report can't be read. The result files are still good on their own."""

    def __init__(self, reason: str) -> None:
        """*reason* says what is wrong with the bytes; it never quotes them, for they may hold a SAS."""
        super().__init__(
            f"A transcription's report can't be read: {reason}. Its result files were not touched; audio files "
            "without a result file end as missing instead of failed, and a repair submits them again."
        )
        self.reason = reason
