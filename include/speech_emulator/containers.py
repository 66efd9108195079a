"""Blob containers behind a SAS: listing a source container and putting results into a destination container."""

from collections.abc import AsyncIterator
from urllib.parse import quote, urlsplit, urlunsplit
from xml.parsers.expat import ExpatError, ParserCreate

import httpx

from speech_emulator.recognisers.model import FileFailedError


class _UnsafeXmlError(Exception):
    """A listing that declares a document type: entities could grow without bound."""


def _blobs_of(xml: bytes) -> tuple[list[tuple[str, int]], str]:
    """Names and sizes of one page of a listing, and the marker of the next page."""
    blobs: list[tuple[str, int]] = []
    path: list[str] = []
    found: dict[str, str] = {}
    marker: list[str] = []

    def opened(name: str, _: dict[str, str]) -> None:
        path.append(name)
        if name == "Blob":
            found.clear()

    def text(data: str) -> None:
        inside = "/".join(path[-3:])
        if path[-1] == "NextMarker":
            marker.append(data)
        elif inside.endswith("Blob/Name") or inside == "Blob/Properties/Content-Length":
            found[path[-1]] = found.get(path[-1], "") + data

    def closed(name: str) -> None:
        path.pop()
        if name == "Blob" and "Name" in found:
            blobs.append((found["Name"], int(found.get("Content-Length", "0"))))

    def refuse(*_: object) -> None:
        raise _UnsafeXmlError

    parser = ParserCreate()
    parser.StartElementHandler = opened
    parser.CharacterDataHandler = text
    parser.EndElementHandler = closed
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(xml, True)
    return blobs, "".join(marker)


def blob_url(container_url: str, name: str, *, with_query: bool) -> str:
    """The URL of a blob inside a container, with or without the container's SAS."""
    parts = urlsplit(container_url)
    path = f"{parts.path.rstrip('/')}/{quote(name)}"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query if with_query else "", ""))


async def blobs(client: httpx.AsyncClient, container_url: str) -> AsyncIterator[tuple[str, int]]:
    """Name and size of every blob in a container, or FileFailedError when it cannot be listed."""
    marker = ""
    while True:
        more = f"&marker={quote(marker)}" if marker else ""
        parts = urlsplit(container_url)
        query = f"restype=container&comp=list&{parts.query}{more}"
        try:
            answer = await client.get(urlunsplit((parts.scheme, parts.netloc, parts.path, query, "")))
            if answer.status_code in {401, 403}:
                raise FileFailedError("InvalidUri", "Authentication failed for recordings URI.")
            if answer.status_code != 200:
                raise FileFailedError("InvalidUri", "The recordings URI is invalid.")
            page, marker = _blobs_of(answer.content)
        except (httpx.HTTPError, httpx.InvalidURL, ExpatError, ValueError, _UnsafeXmlError):
            raise FileFailedError("InvalidUri", "The recordings URI is invalid.") from None
        for blob in page:
            yield blob
        if not marker:
            return


async def put(client: httpx.AsyncClient, container_url: str, name: str, content: bytes) -> str:
    """Write a blob over the container's SAS and return its URL without one."""
    headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/json"}
    url = blob_url(container_url, name, with_query=True)
    try:
        answer = await client.put(url, content=content, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL):
        answer = None
    if answer is None or answer.status_code != 201:
        raise FileFailedError(
            "InaccessibleCustomerStorage", "The destination container cannot be written to."
        )
    return blob_url(container_url, name, with_query=False)
