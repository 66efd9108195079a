"""Services are started in sessions of their own, watched, and stopped with all their children and nothing else."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local import processes
from local.errors import PortTakenError, ServiceDiedError, ServiceSlowError
from local.ports import free_port, listens
from local.processes import Record, Service, Supervisor, began

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], process_group={group})
print(child.pid, flush=True)
time.sleep(600)
"""

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""


def python(name, code, ready=None, **fields):
    command = (sys.executable, "-c", code)
    return Service(name, command, dict(os.environ), ready or (lambda: True), **fields)


@pytest.fixture
def said():
    return []


@pytest.fixture
def supervisor(tmp_path, said):
    made = Supervisor(tmp_path / "run", tmp_path / "logs", said.append)
    yield made
    made.stop()


def logged(supervisor, name):
    return lambda: bool(supervisor.log_path(name).read_text().strip())


def test_a_service_that_was_started_runs_and_is_not_started_twice(supervisor, said):
    service = python("one", "import time; time.sleep(600)")

    assert supervisor.start(service)
    assert not supervisor.start(service)
    supervisor.wait_until_ready([service], timeout_seconds=5)

    assert [record.name for record in supervisor.running()] == ["one"]
    assert said[0].startswith("stack    one: ready after")


@pytest.mark.parametrize("group", ["None", "0"], ids=["same group", "group of its own"])
def test_stopping_a_service_ends_its_children_too(supervisor, group):
    service = python("family", PARENT.format(group=group), logged(supervisor, "family"))
    supervisor.start(service)
    supervisor.wait_until_ready([service], timeout_seconds=10)
    child = int(supervisor.log_path("family").read_text())
    assert began(child)

    assert supervisor.stop() == ["family"]

    assert not began(child)
    assert supervisor.running() == []


def test_a_service_that_ignores_the_request_to_end_is_killed(supervisor, monkeypatch):
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.3)
    service = python("deaf", STUBBORN, logged(supervisor, "deaf"))
    supervisor.start(service)
    supervisor.wait_until_ready([service], timeout_seconds=10)
    (record,) = supervisor.running()

    supervisor.stop()

    assert not began(record.pid)


def test_another_supervisor_knows_and_stops_what_an_ended_command_started(supervisor, tmp_path):
    supervisor.start(python("one", "import time; time.sleep(600)"))
    later = Supervisor(tmp_path / "run", tmp_path / "logs")

    assert later.is_running("one")
    assert later.stop() == ["one"]


def test_a_process_that_got_the_number_of_an_ended_service_is_left_alone(supervisor, tmp_path):
    stranger = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    try:
        (tmp_path / "run").mkdir()
        record = {"name": "old", "pid": stranger.pid, "began": "1", "port": None}
        (tmp_path / "run" / "old.json").write_text(json.dumps(record))

        assert supervisor.running() == []
        assert supervisor.stop() == []

        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"name": "x"}'])
def test_a_damaged_record_counts_as_none(supervisor, tmp_path, text):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x.json").write_text(text)

    assert supervisor.running() == []


def test_a_port_that_another_program_has_is_refused_by_name_with_a_way_out(supervisor):
    server = "import socket, time; s = socket.create_server(('127.0.0.1', {})); time.sleep(600)"
    port = free_port()
    first = python("first", server.format(port), lambda: listens(port), port=port)
    supervisor.start(first)
    supervisor.wait_until_ready([first], timeout_seconds=10)

    with pytest.raises(PortTakenError) as caught:
        supervisor.start(python("second", "", port=port, port_variable="SECOND_PORT"))

    assert f"Port {port}, which second should listen on" in str(caught.value)
    assert "SECOND_PORT=" in str(caught.value)
    assert supervisor.is_running("first")


def test_a_service_that_dies_is_reported_with_its_status_and_last_words(supervisor):
    service = python("weak", "import sys; print('no such table'); sys.exit(3)", lambda: False)
    supervisor.start(service)

    with pytest.raises(ServiceDiedError) as caught:
        supervisor.wait_until_ready([service], timeout_seconds=10)

    assert "weak ended with status 3" in str(caught.value)
    assert "no such table" in str(caught.value)


def test_a_service_that_is_never_ready_is_reported_and_the_progress_is_said(supervisor, said, monkeypatch):
    monkeypatch.setattr(processes, "PROGRESS_SECONDS", 0.1)
    service = python(
        "slow", "import time; print('still loading', flush=True); time.sleep(600)", lambda: False
    )
    supervisor.start(service)

    with pytest.raises(ServiceSlowError) as caught:
        supervisor.wait_until_ready([service], timeout_seconds=0.5)

    assert "slow was not ready after" in str(caught.value)
    assert any("waiting for slow" in line for line in said)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_or_ctrl_c_stops_what_was_started_and_leaves_what_ran_before(supervisor, error):
    supervisor.start(python("before", "import time; time.sleep(600)"))

    def fail():
        with supervisor.stopping_on_failure() as started:
            supervisor.start(python("new", "import time; time.sleep(600)"))
            started.append("new")
            raise error

    with pytest.raises(error):
        fail()

    assert [record.name for record in supervisor.running()] == ["before"]


def test_the_keys_of_a_service_are_not_in_its_description():
    service = Service("one", ("true",), {"KEY": "hidden"}, lambda: True)

    assert "hidden" not in repr(service)


def test_a_dead_process_has_no_beginning():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    assert began(ended.pid) == ""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="zombies are told apart by /proc")
def test_a_zombie_has_no_beginning():
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert began(child.pid) == ""

    child.wait()


def test_a_terminated_command_ends_as_by_an_exception():
    code = (
        "import os, signal\n"
        "from local.processes import end_on_signals\n"
        "end_on_signals()\n"
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\nfinally:\n    print('stopped it all')\n"
    )
    root = Path(__file__).parents[2]

    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=False, capture_output=True, text=True)

    assert done.stdout.strip() == "stopped it all"
    assert done.returncode == 128 + signal.SIGTERM


def test_a_record_is_what_a_later_command_needs_to_know_the_process_again(supervisor, tmp_path):
    supervisor.start(python("one", "import time; time.sleep(600)", port=None))

    record = Record(**json.loads((tmp_path / "run" / "one.json").read_text()))

    assert record.began == began(record.pid) != ""
