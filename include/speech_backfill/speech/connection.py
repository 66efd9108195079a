"""HTTP to one Speech resource: sends one request, sorts what comes back into an answer or a typed error.

Repeats nothing and follows no redirect. Key and bearer go to the resource's own host only.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any, assert_never
from urllib.parse import urlsplit, urlunsplit

import httpx

from speech_backfill.model import Clock
from speech_backfill.speech.api import Refusal, parse_refusal
from speech_backfill.speech.errors import (
    AnswerLost,
    ForeignLink,
    NotFound,
    NotSent,
    RequestRefused,
    ServiceUnavailable,
    SpeechServiceError,
    Throttled,
    Unauthorized,
)
from speech_backfill.speech.resource import EntraToken, SpeechKey, SpeechResource

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken

_NEVER_STOOD = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
"""httpx raises these before the first byte of a request leaves."""

_TOKEN_RENEWED_BEFORE_SECONDS = 300.0

# httpx logs whole URLs with their queries. Nobody needs those lines.
for _chatty in ("httpx", "httpcore"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each kind of call may take. A list of files is slow at a transcription of a thousand."""

    connect_seconds: float = 10.0
    answer_seconds: float = 120.0
    files_seconds: float = 300.0
    download_seconds: float = 120.0


@cache
def tls() -> ssl.SSLContext:
    """One TLS context for every client of the process: loading the certificates takes tens of milliseconds."""
    return httpx.create_ssl_context()


class Connection:
    """Authenticated HTTP to *resource*; submissions go over connections of their own.

    A kept-alive connection that the other end has just closed would make a submission's fate unknown, so a
    submission never reuses one.
    """

    def __init__(
        self,
        resource: SpeechResource,
        *,
        clock: Clock,
        timeouts: Timeouts,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """*transport* stands in for the network in tests."""
        self.resource = resource
        self._clock = clock
        self._timeouts = timeouts
        self._token: AccessToken | None = None
        self.clock_offset_seconds: float | None = None
        """How far the service's clock is ahead of ours, by its last answer; None where it has not said."""
        timeout = httpx.Timeout(timeouts.answer_seconds, connect=timeouts.connect_seconds)
        settings: dict[str, Any] = {
            "timeout": timeout,
            "follow_redirects": False,
            "transport": transport,
            "verify": tls(),
        }
        self._calls = httpx.AsyncClient(**settings)
        self._submissions = httpx.AsyncClient(**settings, limits=httpx.Limits(max_keepalive_connections=0))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._calls.aclose()
        await self._submissions.aclose()

    def address(self, path: str) -> str:
        """The URL of *path* at this resource."""
        return f"{self.resource.endpoint}{path}"

    def own(self, link: str) -> str:
        """*link*, if it leads to this resource; raises ForeignLink otherwise.

        A resource entered by its custom subdomain may name its regional host in links; such a link is asked of our
        endpoint instead, so the credential stays where it belongs.
        """
        parts, home = urlsplit(link), urlsplit(self.resource.endpoint)
        if (parts.scheme, parts.netloc.lower()) == (home.scheme, home.netloc):
            return link
        regional = f"{self.resource.region}.api.cognitive.microsoft.com"
        if self.resource.region and (parts.scheme, parts.netloc.lower()) == ("https", regional):
            return urlunsplit((home.scheme, home.netloc, home.path + parts.path, parts.query, ""))
        raise ForeignLink(resource=self.resource.name, host=parts.netloc or "none")

    async def call(
        self,
        method: str,
        url: str,
        *,
        action: str,
        params: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> httpx.Response:
        """One call that may be repeated without harm. Every failure is typed; a success is 2xx."""
        try:
            response = await self._signed(
                lambda headers: self._calls.request(
                    method,
                    url,
                    params=dict(params) if params else None,
                    headers=headers,
                    timeout=self._timeout(timeout_seconds),
                ),
                action,
            )
        except _NEVER_STOOD as error:
            raise NotSent(resource=self.resource.name, action=action, detail=_named(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServiceUnavailable(
                resource=self.resource.name, action=action, detail=_named(error)
            ) from error
        if response.is_success:
            return response
        refusal = parse_refusal(response.content, response.status_code)
        if response.status_code >= 500 or response.status_code == 408:
            raise ServiceUnavailable(
                resource=self.resource.name,
                action=action,
                detail=f"{response.status_code} {refusal.code}: {refusal.message}",
            )
        raise self._refused(response, refusal, action)

    async def submit(self, url: str, *, json: Any, params: Mapping[str, str], action: str) -> httpx.Response:
        """One POST, carried out once at the most. Raises AnswerLost wherever the service may have carried it out."""
        try:
            response = await self._signed(
                lambda headers: self._submissions.post(url, json=json, params=dict(params), headers=headers),
                action,
            )
        except _NEVER_STOOD as error:
            raise NotSent(resource=self.resource.name, action=action, detail=_named(error)) from error
        except httpx.HTTPError as error:
            raise AnswerLost(resource=self.resource.name, action=action, detail=_named(error)) from error
        if response.is_success:
            return response
        refusal = parse_refusal(response.content, response.status_code)
        if response.status_code >= 500 or response.status_code == 408:
            raise AnswerLost(
                resource=self.resource.name,
                action=action,
                detail=f"{response.status_code} {refusal.code}: {refusal.message}",
            )
        raise self._refused(response, refusal, action)

    def _refused(self, response: httpx.Response, refusal: Refusal, action: str) -> SpeechServiceError:
        """The error of an answer that proves that nothing was carried out."""
        name = self.resource.name
        match response.status_code:
            case 401 | 403:
                return Unauthorized(
                    resource=name,
                    action=action,
                    http_status=response.status_code,
                    detail=f"{refusal.code}: {refusal.message}",
                )
            case 404:
                return NotFound(resource=name, action=action, detail=f"{refusal.code}: {refusal.message}")
            case 429:
                return Throttled(
                    resource=name,
                    action=action,
                    retry_after_seconds=retry_after_seconds(response),
                    detail=f"{refusal.code}: {refusal.message}",
                )
            case status if 300 <= status < 400:
                host = urlsplit(response.headers.get("location", "")).netloc
                return RequestRefused(
                    resource=name,
                    action=action,
                    http_status=status,
                    code="Redirect",
                    detail=f"it redirects to {host or 'another path'}; the endpoint is not a Speech resource's",
                )
            case status:
                return RequestRefused(
                    resource=name,
                    action=action,
                    http_status=status,
                    code=refusal.code,
                    detail=refusal.message,
                )

    async def _signed(
        self, send: Callable[[dict[str, str]], Awaitable[httpx.Response]], action: str
    ) -> httpx.Response:
        """*send* with our credential, once more where an Entra ID token is not taken any more: a 401 carries nothing out."""
        response = await send(await self._headers(action))
        if response.status_code == 401 and self._token is not None:
            self._token = None
            response = await send(await self._headers(action))
        self._hear_the_time(response)
        return response

    def _hear_the_time(self, response: httpx.Response) -> None:
        try:
            said = parsedate_to_datetime(response.headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError, OverflowError):
            return
        self.clock_offset_seconds = said - self._clock()

    async def _headers(self, action: str) -> dict[str, str]:
        match self.resource.credential:
            case SpeechKey(key=key):
                return {"Ocp-Apim-Subscription-Key": key}
            case EntraToken() as entra:
                return {"Authorization": f"Bearer {await self._bearer(entra, action)}"}
            case other:
                assert_never(other)

    async def _bearer(self, entra: EntraToken, action: str) -> str:
        """A token, fetched off the event loop for the credential blocks, and kept until shortly before it ends."""
        from azure.core.exceptions import AzureError, ServiceRequestError

        if self._token is None or self._token.expires_on - _TOKEN_RENEWED_BEFORE_SECONDS < self._clock():
            try:
                self._token = await asyncio.to_thread(entra.credential.get_token, entra.scope)
            except ServiceRequestError as error:
                raise NotSent(
                    resource=self.resource.name, action=action, detail=f"no Entra ID token: {_named(error)}"
                ) from error
            except AzureError as error:
                raise Unauthorized(
                    resource=self.resource.name,
                    action=action,
                    http_status=None,
                    detail=f"no Entra ID token: {_named(error)}",
                ) from error
        return self._token.token

    def _timeout(self, seconds: float | None) -> httpx.Timeout:
        return httpx.Timeout(seconds or self._timeouts.answer_seconds, connect=self._timeouts.connect_seconds)


def retry_after_seconds(response: httpx.Response) -> float | None:
    """The service's advice in seconds; None where it gives none that can be read (a date, for one)."""
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86_400 else None


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
