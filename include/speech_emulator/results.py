"""What a finished transcription has to show: its files, their links and their bytes, rendered when asked for."""

import random
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from speech_emulator.clock import Clock, stamp
from speech_emulator.config import Settings
from speech_emulator.containers import blob_url
from speech_emulator.errors import encode
from speech_emulator.recognisers.model import Recognised, Recogniser, Request
from speech_emulator.result_files import Shape, report, result, source_of
from speech_emulator.sas import SasSigner
from speech_emulator.store import AudioFile, Store, Transcription

REPORT = -1
"""The position under which a transcription's report is addressed."""

_KEPT_BYTES = 32 * 1024 * 1024
"""A page of a thousand files, each with a few minutes of speech."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in the list of a transcription's files."""

    position: int
    name: str
    kind: str
    file: AudioFile | None


class Results:
    """Lists, links and contents of result files and reports."""

    def __init__(
        self, settings: Settings, clock: Clock, store: Store, recogniser: Recogniser, signer: SasSigner
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._store = store
        self._recogniser = recogniser
        self._signer = signer
        self._kept = _Kept()

    def entries(self, row: Transcription) -> list[Entry]:
        """The files of an ended transcription in an order that means nothing; none before its end."""
        if not row.finished:
            return []
        found = [
            Entry(file.position, file.name, "Transcription", file)
            for file in self._store.files(row.id)
            if file.outcome == "succeeded"
        ]
        if row.has_report:
            found.append(Entry(REPORT, "report.json", "TranscriptionReport", None))
        random.Random(row.id).shuffle(found)
        return found

    def file_id(self, row: Transcription, entry: Entry) -> str:
        """The uuid of a file, the same each time."""
        return str(uuid.uuid5(uuid.UUID(row.id), str(entry.position)))

    def shown(
        self,
        row: Transcription,
        entry: Entry,
        *,
        base_url: str,
        root_url: str,
        version: str,
        sas_minutes: int,
    ) -> dict[str, Any]:
        """A File as the service shows it, with a link that was minted just now."""
        return {
            "self": f"{base_url}/transcriptions/{row.id}/files/{self.file_id(row, entry)}?api-version={version}",
            "name": entry.name,
            "kind": entry.kind,
            "links": {"contentUrl": self._link(row, entry, root_url, sas_minutes)},
            "properties": {"size": self._size(row, entry)},
            "createdDateTime": stamp(row.ended_at or row.last_action_at),
        }

    def content(self, row: Transcription, position: int) -> bytes | None:
        """The bytes of a result file or report, if there is one."""
        if not row.finished:
            return None
        place = (row.id, position)
        content = self._kept.get(place)
        if content is None and (content := self._rendered(row, position)) is not None:
            self._kept.put(place, content)
        return content

    def _rendered(self, row: Transcription, position: int) -> bytes | None:
        if position == REPORT:
            return self._report(row) if row.has_report else None
        file = self._store.file(row.id, position)
        if file is None or file.outcome != "succeeded":
            return None
        stored = self._store.result(row.id, position)
        if stored is not None:
            recognised = msgspec.json.decode(stored, type=Recognised)
        elif self._recogniser.keeps_results:
            return None
        else:
            recognised = self._recogniser.again(file.url, request_of(row))
        return self.render(row, file, recognised)

    def render(self, row: Transcription, file: AudioFile, recognised: Recognised) -> bytes:
        """The result file of what was recognised."""
        guesses = self._settings.guesses
        source = source_of(file, guesses, from_container=row.container_url is not None)
        shape = Shape.of(msgspec.json.decode(row.properties), row.locale)
        return encode(result(recognised, source, file.finished_at or self._clock.now(), shape, guesses))

    def report_of(self, row: Transcription, files: Sequence[AudioFile]) -> bytes:
        """The report over these files."""
        return encode(report(files, self._settings.guesses, from_container=row.container_url is not None))

    def _report(self, row: Transcription) -> bytes:
        return self.report_of(row, self._store.files(row.id))

    def _size(self, row: Transcription, entry: Entry) -> int:
        if entry.file is not None and entry.file.size is not None:
            return entry.file.size
        return len(self.content(row, entry.position) or b"")

    def _link(self, row: Transcription, entry: Entry, root_url: str, sas_minutes: int) -> str:
        if entry.file is not None and entry.file.destination is not None:
            return entry.file.destination
        if entry.file is None and row.destination_url is not None:
            return blob_url(row.destination_url, self.destination_name(row, entry.name), with_query=False)
        place = "report" if entry.position == REPORT else str(entry.position)
        path = f"/blob/{row.resource}/{row.id}/{place}.json"
        expires = self._clock.now() + self._clock.span(sas_minutes * 60)
        return f"{root_url}{path}?{self._signer.mint(path, expires)}"

    def destination_name(self, row: Transcription, name: str) -> str:
        """The name of a result inside the destination container."""
        template = self._settings.guesses.destination_blob_name
        return template.replace("{transcription_id}", row.id).replace("{name}", name)


def request_of(row: Transcription) -> Request:
    """What a recogniser is told about a transcription."""
    properties = msgspec.json.decode(row.properties)
    return Request(
        channels=tuple(properties["channels"]),
        diarization=bool(properties.get("diarization", {}).get("enabled")),
        locale=row.locale,
    )


class _Kept:
    """What was rendered last: a list of files tells their sizes, and whoever reads it comes for the files next.

    What has ended does not change, so nothing kept becomes wrong.
    """

    def __init__(self) -> None:
        self._contents: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._bytes = 0

    def get(self, place: tuple[str, int]) -> bytes | None:
        return self._contents.get(place)

    def put(self, place: tuple[str, int], content: bytes) -> None:
        self._contents[place] = content
        self._bytes += len(content)
        while self._bytes > _KEPT_BYTES:
            _, oldest = self._contents.popitem(last=False)
            self._bytes -= len(oldest)
