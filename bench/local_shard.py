"""A shard whose transcriptions have ended and whose result files lie on the local disk: all of a merge but the network."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, cast

from speech_backfill.accounts import AccountKey, StorageAccount, StorageAccounts
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import Reserved
from speech_backfill.ledger.reservations import Reservations
from speech_backfill.ledger.resources import Resources
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.model import Status, TranscriptionOptions
from speech_backfill.pipeline import Pipeline
from speech_backfill.plan.request import PlanRequest
from speech_backfill.results.source import source_of
from speech_backfill.settings import Settings
from speech_backfill.speech.api import RESULT_KIND, ResultEntry, Transcription
from speech_backfill.speech.client import SpeechClient
from speech_backfill.speech.resource import SpeechKey, SpeechResource
from speech_backfill.store import Store

_RESOURCE = "local"
_ID = "00000000-0000-0000-0000-{:012d}"
_ACCOUNT = StorageAccount("account", "https://account.blob.core.windows.net", AccountKey("a2V5"))
_FILES_PER_TRANSCRIPTION = 1000


class LocalResults:
    """What a merge asks of a Speech resource, answered from *paths*."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    async def get(self, transcription_id: str) -> Transcription:
        return Transcription(
            transcription_id, f"https://local/{transcription_id}", "name", Status.SUCCEEDED, 0.0, 0.0
        )

    async def files(self, transcription_id: str) -> AsyncIterator[ResultEntry]:
        first = int(transcription_id[-12:]) * _FILES_PER_TRANSCRIPTION
        for index, path in enumerate(self._paths[first : first + _FILES_PER_TRANSCRIPTION]):
            yield ResultEntry(f"contenturl_{index}.json", RESULT_KIND, str(path))

    async def fetch(self, content_url: str) -> bytes:
        return Path(content_url).read_bytes()  # noqa: ASYNC240  what a merge waits for is not measured

    async def aclose(self) -> None:
        pass


def merge_of_a_shard(paths: Sequence[Path], folder: Path) -> Callable[[], object]:
    """Plan the audio files of these result files as one shard in *folder*, and hand back the merge of it."""
    manifest = folder / "manifest.csv"
    urls = [source_of(path.read_bytes()) for path in paths]
    manifest.write_text("uri,etag,size_bytes\n" + "".join(f"{url},e,1\n" for url in urls))
    resource = SpeechResource(_RESOURCE, "https://local.example", SpeechKey("key"))
    pipeline = Pipeline(
        settings=Settings(
            store=str(folder / "store"), files_per_transcription=_FILES_PER_TRANSCRIPTION, max_shards=1
        ),
        ledger=Ledger.open(f"sqlite:///{folder / 'ledger.db'}", time.time),
        store=Store.open(str(folder / "store")),
        accounts=StorageAccounts.of([_ACCOUNT]),
        resources=(resource,),
        open_client=lambda _: cast("SpeechClient", LocalResults(paths)),
    )
    plan = pipeline.plan(
        PlanRequest(partition="day", run_key="run", source=str(manifest), options=TranscriptionOptions())
    )
    (shard,) = pipeline.shards(plan.plan_id)
    Resources(pipeline.ledger).register(resource.name, window=1_000_000, region=resource.region)
    submissions, reservations = Submissions(pipeline.ledger), Reservations(pipeline.ledger)
    for placement in pipeline.ledger.placements(plan.plan_id, 0, shard.index):
        taken: Any = reservations.reserve(
            placement, owner="bench", lease_seconds=3600, resources=[resource.name]
        )
        assert isinstance(taken, Reserved)
        submissions.record_submitted(taken.record, _ID.format(placement.ordinal))

    def merge() -> None:
        merged = pipeline.merge(shard)
        assert merged.transcribed == len(paths), merged

    return merge
