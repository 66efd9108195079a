"""Download result files from where the service keeps them. Shows them neither key nor bearer, and holds no more than a bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, assert_never

from speech_backfill.speech.connection import Timeouts
from speech_backfill.speech.errors import (
    NotSent,
    ResultExpired,
    ResultNotFound,
    ResultTooLarge,
    ServiceUnavailable,
    SpeechServiceError,
    Throttled,
    UnreadableAnswer,
)

MAX_RESULT_BYTES = 256 * 1024 * 1024
"""About a hundred hours of audio with the times of every word."""

_ACTION = "give a result file"


@dataclass(frozen=True, slots=True)
class Content:
    """The file, whole."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """Another status than 200."""

    http_status: int


@dataclass(frozen=True, slots=True)
class TooLarge:
    """More bytes than were allowed."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The connection did not stand, or broke before the file was whole. *detail* quotes no URL."""

    detail: str
    sent: bool
    """Whether the request may have left."""


@dataclass(frozen=True, slots=True)
class NoAddress:
    """The link is none that can be asked."""


Answer = Content | Refused | TooLarge | NoAnswer | NoAddress


class BlobHost(Protocol):
    """Where result files lie."""

    async def get(self, url: str, *, max_bytes: int) -> Answer:
        """Ask once, with nothing but the link. Raises nothing."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


class ResultDownloads:
    """Plain HTTP to the blob host: the link's own SAS is all that it gets."""

    def __init__(
        self,
        resource_name: str,
        *,
        timeouts: Timeouts,
        max_bytes: int = MAX_RESULT_BYTES,
        blob_host: BlobHost | None = None,
    ) -> None:
        """*blob_host* stands in for the network in tests."""
        self._name = resource_name
        self._timeouts = timeouts
        self._max_bytes = max_bytes
        self._host = blob_host

    async def aclose(self) -> None:
        """Close every connection."""
        if self._host is not None:
            await self._host.aclose()

    async def fetch(self, content_url: str) -> bytes:
        """One try at one file. A 404 is ResultNotFound: shortly after success it may yet appear."""
        answer = await self._opened().get(content_url, max_bytes=self._max_bytes)
        match answer:
            case Content(body=body):
                return body
            case Refused(http_status=status):
                raise self._failed(status, content_url)
            case TooLarge():
                raise ResultTooLarge(resource=self._name, url=content_url, max_bytes=self._max_bytes)
            case NoAnswer(detail=detail, sent=sent):
                unanswered = ServiceUnavailable if sent else NotSent
                raise unanswered(resource=self._name, action=_ACTION, detail=detail)
            case NoAddress():
                raise UnreadableAnswer(
                    resource=self._name, action=_ACTION, detail="its link is no web address"
                )
            case other:
                assert_never(other)

    def _opened(self) -> BlobHost:
        """The connections, opened for the first file: whoever only waits or submits never loads their library."""
        if self._host is None:
            from speech_backfill.speech.blob_host import KeptConnections

            self._host = KeptConnections(self._timeouts)
        return self._host

    def _failed(self, status: int, url: str) -> SpeechServiceError:
        match status:
            case 401 | 403:
                return ResultExpired(resource=self._name, url=url, detail=str(status))
            case 404:
                return ResultNotFound(resource=self._name, url=url)
            case 429:
                return Throttled(
                    resource=self._name, action=_ACTION, retry_after_seconds=None, detail="the blob host"
                )
            case status if status >= 500 or status == 408:
                return ServiceUnavailable(resource=self._name, action=_ACTION, detail=str(status))
            case _:
                return UnreadableAnswer(
                    resource=self._name, action=_ACTION, detail=f"the blob host answered {status}"
                )
