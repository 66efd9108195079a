"""The stack as a whole refuses to begin where it could not end well, and says what runs."""

import socket

import pytest

from local import emulator, keys, ports, stack
from local.checkout import Checkout
from local.errors import NotInstalledError, OtherPortsError, PortTakenError, StackBusyError
from local.processes import Record
from local.stack import SERVICES, Stack, lock, main


@pytest.fixture
def checkout(tmp_path):
    """A checkout in which everything is installed, but nothing of it does anything."""
    made = Checkout(tmp_path)
    for path in (made.python, made.azurite_main):
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\nexec sleep 600\n")
        path.chmod(0o755)
    return made


def environment(**changed):
    chosen = {name: str(ports.free_port()) for name in ("AIRFLOW_PORT", "AZURITE_PORT", "SPEECH_PORT")}
    return {**chosen, **changed}


def test_without_an_installation_nothing_is_started(tmp_path):
    with pytest.raises(NotInstalledError, match="make install"):
        Stack(Checkout(tmp_path), environment(), print).start()


def test_a_taken_port_is_named_before_anything_is_started(checkout):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        made = Stack(checkout, environment(AIRFLOW_PORT=str(port)), print)

        with pytest.raises(PortTakenError, match=f"Port {port}, which api-server"):
            made.start()

    assert made.supervisor.running() == []


def test_a_stack_that_runs_on_other_ports_is_not_started_beside_itself(checkout, monkeypatch):
    made = Stack(checkout, environment(), print)
    runs = [Record("azurite", 1, "x", made.ports.azurite + 1)]
    monkeypatch.setattr(made.supervisor, "running", lambda: runs)

    with pytest.raises(OtherPortsError, match="make down"):
        made.start()


def test_a_service_that_dies_stops_those_that_were_started(checkout):
    checkout.python.write_text("#!/bin/sh\necho cannot\nexit 1\n")
    made = Stack(checkout, environment(), print)

    with pytest.raises(Exception, match="cannot"):
        made.start()

    assert made.supervisor.running() == []


def test_the_ports_of_a_start_are_those_of_the_next(checkout):
    first = Stack(checkout, environment(), print)
    ports.write(checkout.stack / "ports.json", first.ports)

    assert Stack(checkout, {}, print).ports == first.ports


def test_two_commands_at_once_are_refused(checkout):
    with lock(checkout), pytest.raises(StackBusyError), lock(checkout):
        pass


def test_every_service_has_a_line_whether_it_runs_or_not(checkout):
    lines = Stack(checkout, environment(), print).described()

    assert [line.split()[0] for line in lines] == list(SERVICES)
    assert all("does not run" in line for line in lines)


def test_the_login_is_shown_and_no_other_key(checkout):
    made = Stack(checkout, environment(), print)

    shown = made.welcome()

    assert made.keys.admin_password in shown
    assert made.keys.speech_key not in shown
    assert made.keys.fernet_key not in shown


@pytest.mark.parametrize("arguments", [[], ["sideways"], ["up", "down"]])
def test_an_unknown_command_is_answered_with_the_known_ones(arguments, capsys):
    assert main(arguments) == 2
    assert "up | down | status" in capsys.readouterr().err


def test_a_variable_that_is_no_port_ends_with_a_message(monkeypatch, capsys, checkout):
    monkeypatch.setattr(stack, "this_checkout", lambda: checkout)
    monkeypatch.setattr(stack, "end_on_signals", lambda: None)
    monkeypatch.setenv("AIRFLOW_PORT", "http")

    assert main(["status"]) == 1
    assert "AIRFLOW_PORT='http' is no port" in capsys.readouterr().err


def test_the_emulator_is_configured_with_what_its_settings_know(checkout):
    config = pytest.importorskip("speech_emulator.config")
    made = keys.made_up()

    settings = config.from_mapping(emulator.configuration(checkout, 8085, made, cores=2))

    assert settings.resources[0].key == made.speech_key
    assert settings.recogniser.workers == 2
    assert settings.server.data == str(checkout.stack / "speech")
