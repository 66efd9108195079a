"""Download result files from where the service keeps them. Shows them neither key nor bearer, and holds no more than a bound."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx

from speech_backfill.speech.connection import Timeouts, tls
from speech_backfill.speech.errors import (
    NotSent,
    ResultExpired,
    ResultNotFound,
    ResultTooLarge,
    ServiceUnavailable,
    Throttled,
    UnreadableAnswer,
)

MAX_RESULT_BYTES = 256 * 1024 * 1024
"""About a hundred hours of audio with the times of every word."""

_ACTION = "give a result file"


class ResultDownloads:
    """Plain HTTP to the blob host: the link's own SAS is all that it gets."""

    def __init__(
        self,
        resource_name: str,
        *,
        timeouts: Timeouts,
        max_bytes: int = MAX_RESULT_BYTES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """*transport* stands in for the network in tests."""
        self._name = resource_name
        self._max_bytes = max_bytes
        timeout = httpx.Timeout(timeouts.download_seconds, connect=timeouts.connect_seconds)
        limits = httpx.Limits(max_connections=256, max_keepalive_connections=64)
        self._http = httpx.AsyncClient(
            timeout=timeout, limits=limits, follow_redirects=False, transport=transport, verify=tls()
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def fetch(self, content_url: str) -> bytes:
        """One try at one file. A 404 is ResultNotFound: shortly after success it may yet appear."""
        if urlsplit(content_url).scheme not in {"http", "https"}:
            raise UnreadableAnswer(resource=self._name, action=_ACTION, detail="its link is no web address")
        try:
            async with self._http.stream("GET", content_url) as response:
                if response.status_code == 200:
                    return await self._read(response, content_url)
                raise self._failed(response.status_code, content_url)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            raise NotSent(resource=self._name, action=_ACTION, detail=type(error).__name__) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServiceUnavailable(
                resource=self._name, action=_ACTION, detail=type(error).__name__
            ) from error

    async def _read(self, response: httpx.Response, url: str) -> bytes:
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > self._max_bytes:
                raise ResultTooLarge(resource=self._name, url=url, max_bytes=self._max_bytes)
        return bytes(body)

    def _failed(self, status: int, url: str) -> Exception:
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
