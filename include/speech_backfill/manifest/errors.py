"""The errors that only reading a source can raise, beside the ManifestErrors of the core's tree.

ManifestError
├── UnusableSource        no source at all: unknown account, unknown scheme, a local folder
└── SourceUnreachable     the storage account does not answer
"""

from __future__ import annotations

from speech_backfill.errors import ManifestError


class UnusableSource(ManifestError):
    """The text given as a source names nothing that could be read."""

    def __init__(self, source: str, problem: str) -> None:
        """Name the *source* (without its query) and the *problem*."""
        super().__init__(
            f"{source!r} can't be a source: {problem}. Nothing was planned or submitted. "
            "Give a manifest (a local path or a blob's URI, ending in .csv, .jsonl, .parquet or .txt) "
            "or az://container/prefix/ of a configured storage account."
        )
        self.source = source


class SourceUnreachable(ManifestError):
    """The storage account does not answer, or not in a way that can be understood."""

    def __init__(self, source: str, detail: str) -> None:
        """Name the *source* (without its query) and what happened in *detail*."""
        super().__init__(
            f"The storage account does not answer for {source}: {detail}. Nothing was planned or submitted. "
            "Check the account's endpoint in the storage connection, the network and that the account is up, "
            "then clear this task (or run the same command) again."
        )
        self.source = source
