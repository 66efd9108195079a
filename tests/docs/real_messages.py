"""What people really see: every error built by its class, and rows of `outcomes` that the pipeline has published."""

import tempfile
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pytest
from obstore.store import MemoryStore

from azure_speech.events import MalformedEvent
from speech_backfill import errors as core
from speech_backfill.accounts import AccountKey, StorageAccount, StorageAccounts
from speech_backfill.error_classes import KNOWN, PASSING_MESSAGE, OurCode
from speech_backfill.manifest import errors as manifest
from speech_backfill.manifest.columns import URI_COLUMNS
from speech_backfill.plan.planner import Planner
from speech_backfill.results import errors as results
from speech_backfill.speech import errors as speech
from speech_backfill.tables import errors as tables
from speech_backfill.tables.read import read_table
from tests.speech_backfill.campaign import (
    ACCOUNT_KEY,
    ACCOUNTS,
    ENDPOINT,
    Absent,
    Bad,
    Campaign,
    Spoilt,
    Unlisted,
)

DETAILS = []
"""Details of the samples that the core writes just so: a test looks for them in its source."""


def _written(detail):
    DETAILS.append(detail)
    return detail


SOURCE = "az://recordings/calls/"
RESULT = "https://results.blob.example/x/contenturl_0.json?sig=s"
CALL = {"resource": "azure_speech_default", "action": "submit a transcription"}

ARGUMENTS = [
    (core.SettingsError, {"setting": "connection x", "problem": "it has no key", "remedy": "Enter it."}),
    (
        core.EndpointMoved,
        {"resource": "x", "token": "t-1", "submitted_to": "https://a", "now": "https://b"},
    ),
    (core.SourceNotFound, {"source": SOURCE, "detail": _written("the container does not exist")}),
    (core.SourceRefused, {"source": SOURCE, "detail": "the SAS of account x was refused (403)"}),
    (manifest.SourceUnreachable, {"source": SOURCE, "detail": "no answer within 20 seconds"}),
    (manifest.UnusableSource, {"source": "ftp://x/y", "problem": _written("it is no URI")}),
    (core.EmptyManifest, {"source": SOURCE, "detail": _written("no blob is below it")}),
    (core.MissingColumn, {"source": "calls.csv", "wanted": URI_COLUMNS, "found": ("recording", "day")}),
    (
        core.UnreadableManifest,
        {"source": "calls.csv", "expected": "CSV", "problem": "its header: it is broken"},
    ),
    (core.ClockWrong, {"resource": "x", "seconds": 200_000, "allowed": 86_400}),
    (core.ClockWrong, {"resource": "x", "seconds": -200_000, "allowed": 86_400}),
    (core.OptionsError, {"option": "locale", "problem": "'english' is no locale such as en-US"}),
    (core.LedgerUnavailable, {"where": "sqlite:////x/ledger.db", "detail": "unable to open database file"}),
    (core.UnknownPlan, {"plan_id": "0f"}),
    (core.StoreError, {"action": "write", "path": "work/x", "detail": "No space left on device"}),
    (
        core.StoreError,
        {
            "action": "read",
            "path": "chunks/0f/0f.json.zst",
            "detail": _written("it is not there, although the ledger knows the chunk"),
        },
    ),
    (
        core.StoreError,
        {
            "action": "read",
            "path": "index/day/0f.parquet",
            "detail": _written("the index of a published partition is gone"),
        },
    ),
    (core.StoreConflict, {"path": "submissions/0f/0f-1.json"}),
    (
        core.BudgetExhausted,
        {
            "partition": "day",
            "budget": "day",
            "limit_hours": 10,
            "spent_hours": 9.5,
            "files_left": 3,
            "hours_left": 2.0,
        },
    ),
    (core.SupersededPlan, {"partition": "day", "plan_id": "0f"}),
    (
        core.NothingTaken,
        {
            "shard": "day · shard 1 · 2 files",
            "hours": 48,
            "problems": {"x": str(speech.NotSent(**CALL, detail="ConnectError: refused"))},
        },
    ),
    (core.NotSubmitted, {"shard": "day · shard 1 · 2 files", "chunk_id": "0f"}),
    (
        core.StillRunning,
        {"shard": "day · shard 1 · 2 files", "transcription_id": "0f", "status": "Running"},
    ),
    (
        core.UnexplainedFiles,
        {"partition": "day", "files": 9, "explained": 8, "detail": "not merged: day · shard 1 · 1 files"},
    ),
    (core.StalePlan, {"partition": "day", "plan_id": "0f", "based_on": 1, "visible": 2}),
    (MalformedEvent, {"kind": "room", "problem": "it is a str"}),
    (
        speech.RequestRefused,
        {**CALL, "http_status": 400, "code": "InvalidLocale", "detail": "The locale is not supported."},
    ),
    (speech.Unauthorized, {**CALL, "http_status": 401, "detail": "401: Access denied"}),
    (speech.Unauthorized, {**CALL, "http_status": None, "detail": "no Entra ID token: X"}),
    (speech.NotFound, {**CALL, "detail": "404: Resource not found"}),
    (speech.Throttled, {**CALL, "retry_after_seconds": 3.0, "detail": "429: Too many requests"}),
    (speech.ServiceUnavailable, {**CALL, "detail": "503 ServiceUnavailable: later"}),
    (speech.NotSent, {**CALL, "detail": "ConnectError: refused"}),
    (speech.AnswerLost, {**CALL, "detail": "no answer within 60 s"}),
    (speech.UnreadableAnswer, {**CALL, "detail": "it is no JSON"}),
    (speech.ForeignLink, {"resource": "x", "host": "other.example"}),
    (speech.ResultExpired, {"resource": "x", "url": RESULT, "detail": "403"}),
    (speech.ResultsRefused, {"resource": "x", "transcription_id": "0f", "url": RESULT}),
    (speech.ResultNotFound, {"resource": "x", "url": RESULT}),
    (speech.ResultTooLarge, {"resource": "x", "url": RESULT, "max_bytes": 1 << 28}),
    (results.InvalidResultFile, {"reason": _written("it is empty")}),
    (results.InvalidReport, {"reason": _written("it is empty")}),
    (tables.InvalidPartitionKey, {"key": "", "problem": _written("it is empty")}),
    (tables.UnknownTable, {"name": "sentences", "known": ("outcomes", "words")}),
    (tables.UnknownColumn, {"table": "words", "names": ("x",), "known": ("file_id", "word")}),
    (tables.PartitionNotPublished, {"keys": ("2026-11-03",), "published": ("2026-11-01", "2026-11-02")}),
    (
        tables.UnreadablePartitionFile,
        {"path": "tables/_partitions/day.json", "problem": "the part x that it names is gone"},
    ),
    (tables.NothingPublished, {"root": "store"}),
]
"""Each error's class with arguments as the core gives them; their messages are what the class makes of them."""


def messages():
    """The messages of every error by its name."""
    found = defaultdict(list)
    for error, given in ARGUMENTS:
        found[error.__name__].append(str(error(**given)))
    found["ManifestError"] = _without_a_source()
    found["AudioUriError"] = [_refusal("ftp://x/y")]
    return dict(found)


def _refusal(uri):
    with pytest.raises(core.AudioUriError) as caught:
        ACCOUNTS.locate(uri)
    return str(caught.value)


def _without_a_source():
    """The two ManifestErrors that are no kind of it, as the planner raises them."""

    class Forgetful:
        def options_of_chunks(self, _):
            return {}

    planner, asked = Planner(Forgetful(), None, None, None), Campaign.request(None)
    no_partition = type("NotPublished", (), {"partition": None})
    with pytest.raises(core.ManifestError) as no_source:
        planner._decide(asked, None, None, no_partition)
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE prior AS SELECT 'o' options_id, '0f' chunk_id, 'failed' outcome")
        with pytest.raises(core.ManifestError) as lost:
            planner._published_options(connection, asked)
    return [str(no_source.value), str(lost.value)]


@dataclass(frozen=True)
class Row:
    """What the table `outcomes` says of a file that is not transcribed."""

    outcome: str
    message: str
    can_retry: bool


class EmptyAccount(StorageAccount):
    """An account without a single blob."""

    def container(self, *_, **__):
        return MemoryStore()


def rows(folder):
    """The rows of every code, as they were published: by us, or by a service that gave the code as a reason."""
    found = defaultdict(set)
    for row in (*_refused(folder), *_answered(folder), *_whole(folder), *_over_budget(folder)):
        if row["outcome"] != "transcribed":
            one = Row(row["outcome"], str(row["error_message"]), bool(row["can_retry"]))
            found[row["error_code"]].add(one)
    return dict(found)


@contextmanager
def _campaign(folder, **knobs):
    campaign = Campaign.make(Path(tempfile.mkdtemp(dir=folder)), **knobs)
    yield campaign
    campaign.pipeline.ledger.engine.dispose()


def _published(campaign, partition):
    return read_table(campaign.store, "outcomes", partition=partition).to_dict("records")


def _refused(folder):
    """Lines that can't be submitted, from both kinds of manifests."""
    blob = f"{ENDPOINT}/audio"
    lines = [
        "uri,etag,size_bytes,locale",
        *(f"{uri},e,1," for uri in ("ftp://x/y", f"{blob}/../a.wav", "nothing", "https://else.example/a/b")),
        "abfss://audio@else.dfs.core.windows.net/a.wav,e,1,",
        f"{blob}/a.wav,e,1,english",
        f"{blob}/b.wav,e,1,,one cell more",
        f"{blob}/c.wav,,,",
        f"{blob}/d.wav,e,0,",
        f"{blob}/e.wav,e,999999,",
    ]
    table, json_lines = folder / "lines.csv", folder / "lines.jsonl"
    table.write_text("\n".join(lines) + "\n")
    json_lines.write_text(f'{{"uri": "{blob}/f.wav", "etag": "e", "size_bytes": 0}}\n{{"uri": \n')
    accounts = StorageAccounts.of([EmptyAccount("acct", ENDPOINT, AccountKey(ACCOUNT_KEY))])
    with _campaign(folder, max_file_bytes=100_000) as made:
        campaign = replace(made, pipeline=replace(made.pipeline, accounts=accounts))
        for path in (table, json_lines):
            campaign.run(source=str(path), partition=path.name)
            yield from _published(campaign, path.name)


def _answered(folder):
    """Every code that is known, each of a file that was submitted alone."""
    says = {
        one.code: Bad(one.code, "in the service's words") for one in KNOWN if one.code not in set(OurCode)
    }
    says |= {"absent": Absent(), "unlisted": Unlisted(), "spoilt": Spoilt()}
    says |= {"authentication": Bad("Authentication failed", f"{PASSING_MESSAGE.capitalize()} for x")}
    with _campaign(folder, files_per_transcription=1) as campaign:
        campaign.says = lambda url: says[url.rsplit("/", 1)[1]]
        campaign.run(says, repairs=0)
        yield from _published(campaign, "day")


def _whole(folder):
    """What happens to transcriptions as a whole: late, purged, failed; of one file and of two."""
    for names in (["a"], ["a", "b"]):
        with _campaign(folder) as campaign:
            for what in ("overdue", "purged", "failed"):
                summary = campaign.plan([f"{what} {one}" for one in names], partition=what)
                (shard,) = campaign.pipeline.shards(summary.plan_id)
                (ref,) = campaign.submit(shard).refs
                if what == "failed":
                    campaign.service.end(ref.transcription_id, failed=("", ""))
                if what == "purged":
                    campaign.service.forget(ref.transcription_id)
                campaign.clock.now += 3600
                if what == "overdue":
                    campaign.pass_deadlines()
                campaign.pipeline.merge(shard)
                campaign.pipeline.publish(summary.plan_id)
                yield from _published(campaign, what)


def _over_budget(folder):
    """A partition that its budget does not allow to the end."""
    with _campaign(folder) as campaign:
        campaign.run(["a"], budget_hours=0.0)
        yield from _published(campaign, "day")
