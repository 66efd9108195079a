"""The emulator's own blob host: result files and reports behind a SAS, and nothing for a key or a token."""

import asyncio
import re
from urllib.parse import unquote, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from speech_emulator import faults
from speech_emulator.api.answers import CutOff, DroppedConnection, HungConnection, told
from speech_emulator.emulator import Emulator
from speech_emulator.results import REPORT
from speech_emulator.store import Transcription

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")

_XML = '<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'


def routes() -> list[Route]:
    """The route of result files."""
    return [Route("/blob/{resource}/{id}/{place}.json", download, methods=["GET", "HEAD"])]


def _refusal(status: int, code: str, message: str) -> Response:
    headers = {"x-ms-error-code": code}
    return Response(_XML.format(code=code, message=message), status, headers, "application/xml")


async def download(request: Request) -> Response:
    """One result file, for whoever holds a SAS that still opens it."""
    emulator: Emulator = request.app.state.emulator
    emulator.requests["download"] += 1
    resource, transcription_id = request.path_params["resource"], request.path_params["id"]
    home = emulator.resources.get(resource)
    if home is not None and home.region in emulator.stopped_regions:
        return told(faults.HttpStatus(status=503, body="text", message="The region is down."))
    refusal = _check_access(request, emulator)
    if refusal is not None:
        return refusal
    row = emulator.find(resource, transcription_id)
    place: str = request.path_params["place"]
    position = REPORT if place == "report" else int(place) if place.isdecimal() else None
    content = None if row is None or position is None else emulator.results.content(row, position)
    if row is None or position is None or content is None:
        return _refusal(404, "BlobNotFound", "The specified blob does not exist.")
    return await _answer(request, emulator, row, position, content)


def _check_access(request: Request, emulator: Emulator) -> Response | None:
    query, headers = request.query_params, request.headers
    signed_in = "authorization" in headers or "ocp-apim-subscription-key" in headers
    if signed_in and emulator.settings.guesses.blobs_refuse_key:
        return _refusal(
            403, "AuthenticationFailed", "A result file is opened by its SAS alone; send no key or token."
        )
    if "sig" not in query:
        return _refusal(404, "ResourceNotFound", "The specified resource does not exist.")
    opens = emulator.signer.opens(request.url.path, query, emulator.clock.now())
    if not opens or query["sig"] in emulator.revoked_sas:
        return _refusal(403, "AuthenticationFailed", "The signature is not valid or has expired.")
    return None


async def _answer(
    request: Request, emulator: Emulator, row: Transcription, position: int, content: bytes
) -> Response:
    plain = _plain(request, content, {"ETag": f'"{row.id}-{position}"'})
    if not emulator.faults.concerns(faults.DownloadFault | faults.RequestFault):
        return plain
    file = None if position == REPORT else emulator.store.file(row.id, position)
    subjects = ["report.json"] if file is None else [file.name, unquote(urlsplit(file.url).path)]
    subjects.append(row.display_name)
    fault: faults.DownloadFault | None = emulator.faults.first(
        faults.DownloadFault, "download", row.resource, subjects
    )
    match fault:
        case None:
            return await _request_fault(emulator, row, subjects) or plain
        case faults.ResultNotFound():
            emulator.downloads[request.url.path] += 1
            if emulator.downloads[request.url.path] > fault.first:
                return plain
            return _refusal(404, "BlobNotFound", "The specified blob does not exist.")
        case faults.ResultExpires():
            emulator.revoked_sas.add(request.query_params["sig"])
            return CutOff(content, "application/json")
        case faults.ResultTruncated():
            if fault.how == "connection":
                return CutOff(content, "application/json")
            return Response(content[: len(content) // 2], media_type="application/json")
        case faults.ResultCorrupt():
            return Response(_corrupt(content, fault), media_type="application/json")


def _plain(request: Request, content: bytes, headers: dict[str, str]) -> Response:
    """The file, or the part of it that was asked for: Azure's own clients ask for parts even of small files."""
    asked = _RANGE.fullmatch(request.headers.get("x-ms-range") or request.headers.get("range", ""))
    if asked is None:
        return Response(content, media_type="application/json", headers=headers)
    first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
    if first > last:
        return _refusal(416, "InvalidRange", "The range specified is invalid for the current size.")
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Response(content[first : last + 1], 206, headers, "application/json")


def _corrupt(content: bytes, fault: faults.ResultCorrupt) -> bytes:
    match fault.how:
        case "not_json":
            return content.replace(b'"', b"'").replace(b":", b"=")
        case "not_utf8":
            return content[:10] + b"\xff\xfe\xfa" + content[10:]
        case "wrong_shape":
            return b'{"unexpected":[1,2,3]}'


async def _request_fault(emulator: Emulator, row: Transcription, subjects: list[str]) -> Response | None:
    fault: faults.RequestFault | None = emulator.faults.first(
        faults.RequestFault, "download", row.resource, subjects
    )
    match fault:
        case faults.HttpStatus():
            return told(fault)
        case faults.ConnectionReset() | faults.AnswerLost():
            return DroppedConnection()
        case faults.Hang():
            return HungConnection(fault.seconds)
        case faults.Slow():
            await asyncio.sleep(fault.seconds)
            return None
        case faults.TokenExpired() | None:
            return None
