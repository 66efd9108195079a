"""GET at the host of result files, over connections that are kept. Repeats nothing, follows nothing, shows no credential.

By aiohttp: a transcription has a thousand small files, and this is what each of them costs (docs/adr/0013). Its exceptions
quote the URL with its SAS, so none of them leaves this module, not even as the cause of another.
"""

from __future__ import annotations

from urllib.parse import quote
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from speech_backfill.speech.connection import Timeouts, tls
from speech_backfill.speech.results import Answer, Content, NoAddress, NoAnswer, Refused, TooLarge

_CONNECTIONS = 256

_IN_URLS = "!#$%&'()*+,/:;=?@[]~"
"""What stands in a URL beside letters, digits and `_.-`; anything else is encoded on its way out."""

_NEVER_STOOD = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
"""aiohttp raises these before the first byte of a request leaves."""


class KeptConnections:
    """A blob host behind connections that stay open between files. Made within the event loop that uses it."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=tls()),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=timeouts.connect_seconds, sock_read=timeouts.download_seconds
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(_once,),
        )
        self._proxies: dict[tuple[str, str], str | None] = {}

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def get(self, url: str, *, max_bytes: int) -> Answer:
        """What the host has to say about *url*; of a body, no more than *max_bytes* are read."""
        try:
            # Signatures are kept byte for byte; a URL that was made canonical might not fit its own any more.
            target = URL(quote(url, safe=_IN_URLS), encoded=True)
            if target.scheme not in {"http", "https"} or not target.host:
                return NoAddress()
            async with self._session.get(
                target, allow_redirects=False, proxy=self._proxy(target.scheme, target.host)
            ) as response:
                if response.status != 200:
                    return Refused(response.status)
                return await _read(response, max_bytes)
        except _Broke as error:
            return NoAnswer(str(error), sent=True)
        except _NEVER_STOOD as error:
            return NoAnswer(type(error).__name__, sent=False)
        except (aiohttp.InvalidURL, ValueError):
            return NoAddress()
        except (aiohttp.ClientError, TimeoutError) as error:
            return NoAnswer(type(error).__name__, sent=True)

    def _proxy(self, scheme: str, host: str) -> str | None:
        """The proxy that the environment names, looked up once for each host.

        aiohttp would do so for each file, and would take a login for the host from .netrc, which is none of its business.
        """
        if (scheme, host) not in self._proxies:
            proxies = {} if proxy_bypass(host) else getproxies()
            found = proxies.get(scheme) or proxies.get("all")
            self._proxies[scheme, host] = found if not found or "://" in found else f"http://{found}"
        return self._proxies[scheme, host]


class _Broke(aiohttp.ClientError):
    """The connection broke before the answer's head was there; the message says how."""


async def _once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a GET again by itself when the connection breaks: that is for the retry policy to decide."""
    try:
        return await send(request)
    except _NEVER_STOOD:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Broke(type(error).__name__) from error


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> Content | TooLarge:
    """The body. One that is announced as too large is not begun, one that turns out so is not read on."""
    if (response.content_length or 0) > max_bytes:
        return TooLarge()
    pieces: list[bytes] = []
    held = 0
    while piece := await response.content.readany():
        held += len(piece)
        if held > max_bytes:
            return TooLarge()
        pieces.append(piece)
    return Content(b"".join(pieces))
