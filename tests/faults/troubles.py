"""The fault matrix: what a service can do to its client, one trouble at a time, and what must come of it.

Each is played by a run of its own against the real emulator, with real HTTP. Calm is a run without any trouble: three
transcriptions of four files each, all of them transcribed.
"""

from __future__ import annotations

import io
import json
import shutil
import threading
import time
import wave
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from faults.matrix import FILES, Calm, Verdict, World

Rule = dict[str, Any]

ALL = dict.fromkeys(FILES, ("transcribed", None))


@dataclass(frozen=True)
class Trouble:
    """What goes wrong, and what is right then."""

    name: str
    rules: tuple[Rule, ...]
    extra: int = 0
    """Transcriptions beyond those of a calm run that are right here: repairs."""
    duplicates: int = 0
    """Of one token; allowed only where a setting was broken."""
    outcomes: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    """Where they differ from a calm run's."""
    errors: tuple[str, ...] = ()
    """What the command ends with, each time it is typed, before it succeeds."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    entra: bool = False


def lost_answer(*nth: int, how: str = "reset", **more: Any) -> Rule:
    return {"kind": "answer_lost", "operation": "submit", "how": how, "nth": list(nth or (1,)), **more}


def status(code: int, operation: str = "submit", *nth: int, **more: Any) -> Rule:
    return {
        "kind": "http_status",
        "status": code,
        "operation": operation,
        "nth": list(nth or (1,)),
        **more,
    }


def failing(kind: str, *, again: bool) -> Trouble:
    """A file that fails with *kind* in the first round."""
    rule: Rule = {"kind": "files_fail", "files": "*call-05.wav", "error_kind": kind, "nth": [1, 2, 3]}
    outcomes = {} if again else {"call-05.wav": ("failed", kind)}
    cure = "is cured by a repair" if again else "is not tried again"
    return Trouble(f"file fails: {kind} {cure}", (rule,), extra=int(again), outcomes=outcomes)


AGAIN = (
    "Internal",
    "InternalServerError",
    "InternalCommunicationFailed",
    "ServiceUnavailable",
    "Timeout",
    "Transient",
    "UnexpectedError",
    "InvalidUri",
)
NEVER = ("InvalidData", "InvalidAudio", "UnsupportedAudioFormat", "AudioLengthLimitExceeded", "SomethingNew")

CORRUPT = ("not_json", "not_utf8", "wrong_shape")

TROUBLES: tuple[Trouble, ...] = (
    # --- the submission is not carried out, and the client can't know it
    *(
        Trouble(f"submit {code}, {body}", (status(code, body=body),))
        for code, body in (
            (408, "error"),
            (500, "error"),
            (500, "gateway"),
            (502, "html"),
            (503, "text"),
            (503, "gateway"),
            (504, "empty"),
        )
    ),
    Trouble("submit reset", ({"kind": "connection_reset", "operation": "submit", "nth": [2]},)),
    Trouble(
        "submit hangs",
        ({"kind": "hang", "operation": "submit", "nth": [1], "seconds": 2},),
        settings={"submit_timeout_seconds": 1.0},
    ),
    Trouble("submit 200, no JSON", (status(200, body="html"),)),
    # --- it is carried out, and the client can't know it
    Trouble("answer lost: reset", (lost_answer(1),)),
    Trouble("answer lost: every time", (lost_answer(1, 2, 3),)),
    Trouble(
        "answer lost: hang",
        (lost_answer(3, how="hang", seconds=2),),
        settings={"submit_timeout_seconds": 1.0},
    ),
    *(
        Trouble(f"answer lost: {code} {body}", (lost_answer(2, how="status", status=code, body=body),))
        for code, body in ((408, "empty"), (500, "error"), (502, "html"), (503, "gateway"), (504, "text"))
    ),
    # --- a certain no
    Trouble("submit 429 with Retry-After", (status(429, "submit", 1, 2, retry_after=2),)),
    Trouble("submit 429 without Retry-After", (status(429, "submit", 2, body="gateway"),)),
    Trouble("everything 429 now and then", ({**status(429, "*"), "nth": [], "probability": 0.2, "seed": 5},)),
    *(
        Trouble(f"submit 400, {body} shape", (status(400, body=body),), errors=("RequestRefused",))
        for body in ("error", "gateway", "text")
    ),
    Trouble("submit 403", (status(403, body="gateway"),), errors=("Unauthorized",)),
    *(
        Trouble(
            f"401 of an old token: {operation}",
            ({"kind": "token_expired", "operation": operation, "nth": [1]},),
            entra=True,
        )
        for operation in ("submit", "get", "list_files", "delete")
    ),
    Trouble(
        "401 of an old token: list after a lost answer",
        (lost_answer(1), {"kind": "token_expired", "operation": "list", "nth": [1]}),
        entra=True,
    ),
    # --- looks
    *(
        Trouble(f"{operation} {code} three times", (status(code, operation, 1, 2, 3),))
        for operation, code in (
            ("get", 500),
            ("get", 408),
            ("list_files", 503),
            ("download", 502),
            ("delete", 504),
        )
    ),
    *(
        Trouble(
            f"{operation} reset twice", ({"kind": "connection_reset", "operation": operation, "nth": [1, 2]},)
        )
        for operation in ("get", "list_files", "download", "delete")
    ),
    Trouble("get hangs", ({"kind": "hang", "operation": "get", "nth": [1], "seconds": 3},)),
    Trouble("get 200, no JSON", (status(200, "get", 1, body="html"),), errors=("UnreadableAnswer",)),
    Trouble("get 500 for long", (status(500, "get", *range(1, 6)),), errors=("ServiceUnavailable",)),
    # --- the look-up after a lost answer
    # Waited for: nothing is submitted again before a look-up has told.
    Trouble("look-up fails for long", (lost_answer(1), status(503, "list", *range(1, 6)))),
    Trouble("look-up 200, no JSON", (lost_answer(1), status(200, "list", 1, body="text"))),
    Trouble(
        "look-up, both error shapes",
        (lost_answer(1), status(500, "list", 1, body="gateway"), status(500, "list", 2)),
    ),
    Trouble("list lags", (lost_answer(1, 2), {"kind": "list_lag", "seconds": 0.05})),
    Trouble(
        "list lags for longer than the grace time",
        # The only way to a second submission beside the named hole: a setting that is shorter than the service's lag.
        (lost_answer(1), {"kind": "list_lag", "seconds": 1.0}, {"kind": "delayed", "seconds": 0.5}),
        duplicates=1,
    ),
    Trouble("filter ignored", (lost_answer(3), {"kind": "filter_ignored"})),
    Trouble("item skipped in paging", (lost_answer(1), {"kind": "items_skipped", "nth": [1]})),
    Trouble(
        "item skipped in paging of an unfiltered list",
        (lost_answer(3), {"kind": "filter_ignored"}, {"kind": "items_skipped", "nth": [1, 2]}),
    ),
    # --- the life of a transcription
    Trouble(
        "one never ends", ({"kind": "never_ends", "nth": [1]},), extra=1, settings={"deadline_hours": 0.01}
    ),
    Trouble(
        "none ever ends",
        ({"kind": "never_ends"},),
        extra=3,
        outcomes=dict.fromkeys(FILES, ("missing", "Overdue")),
        settings={"deadline_hours": 0.01},
    ),
    Trouble(
        "ends out of order",
        ({"kind": "overtaken", "nth": [1]}, {"kind": "delayed", "nth": [1, 2], "seconds": 0.2}),
    ),
    Trouble("fails as a whole for its own trouble", ({"kind": "fails_whole", "nth": [2]},), extra=1),
    Trouble(
        "fails as a whole for a file, and not again",
        ({"kind": "fails_whole", "nth": [2], "code": "InvalidData"},),
        extra=2,
    ),
    Trouble(
        "fails as a whole until the bad file stands alone",
        ({"kind": "fails_whole", "nth": [1, 4, 6], "code": "InvalidData"},),
        extra=4,
        outcomes={"call-00.wav": ("failed", "InvalidData")},
        settings={"repair_rounds": 3},
    ),
    *(failing(kind, again=True) for kind in AGAIN),
    *(failing(kind, again=False) for kind in NEVER),
    Trouble(
        "file fails: Transient each time",
        ({"kind": "files_fail", "files": "*call-05.wav", "error_kind": "Transient"},),
        extra=1,
        outcomes={"call-05.wav": ("failed", "Transient")},
    ),
    Trouble(
        "file in neither report nor results, once",
        ({"kind": "files_lost", "files": "*call-05.wav", "nth": [1, 2, 3]},),
        extra=1,
    ),
    Trouble(
        "file in neither report nor results, ever",
        ({"kind": "files_lost", "files": "*call-05.wav"},),
        extra=1,
        outcomes={"call-05.wav": ("missing", "NotReported")},
    ),
    Trouble("no report", ({"kind": "report_missing"},)),
    # --- results
    Trouble("results 404 at first", ({"kind": "result_not_found", "first": 2},)),
    Trouble(
        "result 404 for ever",
        ({"kind": "result_not_found", "first": 99, "match": "contenturl_2.json"},),
        extra=1,
        outcomes={"call-10.wav": ("missing", "ResultNotFound")},
    ),
    Trouble(
        "result SAS ends in mid-download",
        # Links of one second are one link to the emulator: a late list gives another.
        ({"kind": "result_expires", "every": 6}, {"kind": "slow", "operation": "list_files", "seconds": 1.1}),
    ),
    # Unreadable once: downloaded again, and nothing is paid.
    *(
        Trouble(
            f"result {how}, once",
            ({"kind": "result_corrupt", "how": how, "match": "contenturl_1.json", "times": 1},),
        )
        for how in CORRUPT
    ),
    Trouble(
        "result truncated, once",
        ({"kind": "result_truncated", "how": "short", "match": "contenturl_1.json", "times": 1},),
    ),
    # Unreadable each time: of three such files the repair reads those that bear another name there.
    *(
        Trouble(
            f"result {how}, ever",
            ({"kind": "result_corrupt", "how": how, "match": "contenturl_1.json"},),
            extra=1,
            # Nothing in these says whose they are.
            outcomes={"call-05.wav": ("missing", "ResultNotFound")},
        )
        for how in CORRUPT
    ),
    Trouble(
        "result truncated, ever",
        ({"kind": "result_truncated", "how": "short", "match": "contenturl_1.json"},),
        extra=1,
        outcomes={"call-05.wav": ("failed", "InvalidResult")},
    ),
    Trouble(
        "report no JSON, once",
        # Without its reason the file would be submitted again.
        (
            {"kind": "result_corrupt", "how": "not_json", "match": "*report.json", "times": 1},
            {"kind": "files_fail", "files": "*call-01.wav", "error_kind": "InvalidData", "nth": [1]},
        ),
        outcomes={"call-01.wav": ("failed", "InvalidData")},
    ),
    Trouble(
        "report no JSON, ever", ({"kind": "result_corrupt", "how": "not_json", "match": "*report.json"},)
    ),
    Trouble(
        "result broken off",
        ({"kind": "result_truncated", "how": "connection", "match": "contenturl_1.json", "times": 2},),
    ),
    Trouble(
        "purged before download, and paid again",
        ({"kind": "purged_early", "nth": [2]},),
        extra=1,
        settings={"resubmit_purged": True},
    ),
    Trouble(
        "purged before download",
        ({"kind": "purged_early", "nth": [2]},),
        outcomes=dict.fromkeys(FILES[4:8], ("missing", "ResultsPurged")),
    ),
)


SOURCE_EXPIRED = Trouble("source SAS has ended in the queue", (), extra=1)
"""Played where the service really fetches the audio: four files of the first transcription are late."""


class Source:
    """A storage account that serves one short recording under every name, to those whose SAS has not ended."""

    def __init__(self) -> None:
        self.late = 0
        """So many of the next requests come when their SAS has ended."""
        recording = io.BytesIO()
        with wave.open(recording, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(8000)
            out.writeframes(bytes(2 * 8000 * 2))
        self._recording = recording.getvalue()

    def answer(self, query: str) -> tuple[int, bytes]:
        ends = datetime.fromisoformat(parse_qs(query)["se"][0]).timestamp()
        now = time.time()
        if self.late > 0:
            self.late, now = self.late - 1, ends + 1
        return (200, self._recording) if now < ends else (403, b"AuthenticationFailed")

    @contextmanager
    def served(self) -> Iterator[str]:
        """The account's endpoint."""
        source = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                code, content = source.answer(urlsplit(self.path).query)
                self.send_response(code)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/acct"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def play_source_expired(folder: Path) -> Verdict:
    """The SAS of a transcription's files ends before the service gets to them; the repair's is fresh."""
    source = Source()
    fetching = {"recogniser": {"kind": "synthetic", "synthetic_fetch_audio": True}}
    with source.served() as account_url, world(folder, emulator=fetching, account_url=account_url) as opened:
        calm = opened.calm()
        source.late = 4
        return play(opened, SOURCE_EXPIRED, calm)


@contextmanager
def world(folder: Path, *, emulator: Mapping[str, Any] | None = None, **values: Any) -> Iterator[World]:
    """A world without trouble of its own, with short pages."""
    settings = {"limits": {"page_size": 2}, **(emulator or {})}
    with World.opened(folder, rules=(), content=True, emulator=settings, **values) as opened:
        yield opened


def play(world: World, trouble: Trouble, calm: Calm) -> Verdict:
    """Type the command until it succeeds, and judge."""
    emulator_rules = replace(world, rules=trouble.rules, settings={**world.settings, **trouble.settings})
    job = replace(emulator_rules.fresh(), entra=trouble.entra)
    folder = Path(job.folder)
    problems: list[str] = []
    for number, expected in enumerate((*trouble.errors, "")):
        _, end = world.forks.run(replace(job, skip_seconds=600.0 * number))
        error = (folder / "error.txt").read_text() if end else ""
        if bool(end) != bool(expected) or expected not in error:
            problems.append(f"run {number + 1} ended with {end}, expected {expected or 'success'}: {error}")
            if end:
                return Verdict(trouble.name, problems=tuple(problems), lives=number + 1)
    verdict = judge(trouble, json.loads((folder / "outcome.json").read_text()), world.state(), calm)
    if verdict.good:
        shutil.rmtree(folder)
    return replace(verdict, problems=(*problems, *verdict.problems), lives=len(trouble.errors) + 1)


def judge(trouble: Trouble, outcome: dict[str, Any], state: dict[str, Any], calm: Calm) -> Verdict:
    """Every file one outcome with the right code, its rows as in a calm run, and nothing paid beyond what is right."""
    wanted = {**ALL, **trouble.outcomes}
    found = {file: (one[0], one[1]) for file, one in outcome["outcomes"].items()}
    files = Counter(outcome["files"])
    problems = [
        f"{file}: {found.get(file)}, expected {wanted[file]}"
        for file in FILES
        if found.get(file) != wanted[file]
    ]
    lost = sum(wanted[file][0] == "transcribed" != found.get(file, ("", None))[0] for file in FILES)
    wrong = sum(count - 1 for count in files.values()) + len(problems) - lost
    for file in FILES:
        rows = calm.outcome["content"].get(file) if wanted[file][0] == "transcribed" else None
        if outcome["content"].get(file) != rows:
            wrong += 1
            problems.append(f"{file}: its rows in transcripts and phrases are not those of a calm run")
    duplicates = sum(count - 1 for count in state["duplicates"].values()) - trouble.duplicates
    extra = state["accepted"] - calm.state["accepted"] - trouble.extra - trouble.duplicates
    if extra:
        problems.append(
            f"{state['accepted']} transcriptions were accepted; right are {calm.state['accepted'] + trouble.extra}"
        )
    if outcome["plan_state"] != "published" or outcome["open_intents"]:
        problems.append(
            f"the ledger says {outcome['plan_state']} and holds {outcome['open_intents']} open intents"
        )
    known = {one[1] for one in outcome["transcriptions"]} | set(outcome["duplicates"])
    accepted = {one["id"] for one in state["all"]}
    if known - {None} != accepted:
        problems.append(f"the service has accepted {len(accepted)}, the ledger knows {len(known)} of them")
    unfired = [rule["id"] for rule in state["faults"] if not rule["fired"]]
    if unfired:
        problems.append(f"the trouble did not happen: {unfired} of {state['faults']}")
    return Verdict(trouble.name, duplicates + max(0, extra), lost, wrong, tuple(problems))
