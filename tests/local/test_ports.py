"""Ports are chosen by variables, remembered, and never taken from a program that has them."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local import ports
from local.ports import PortError, Ports


def test_without_variables_the_defaults_are_taken():
    assert ports.choose({}, None) == Ports(airflow=8080, azurite=10000, speech=8085)


def test_a_variable_wins_over_what_is_remembered_and_that_over_the_default():
    remembered = Ports(airflow=1111, azurite=2222, speech=3333)

    chosen = ports.choose({"AZURITE_PORT": "4444", "SPEECH_PORT": " "}, remembered)

    assert chosen == Ports(airflow=1111, azurite=4444, speech=3333)


@pytest.mark.parametrize("text", ["http", "80", "65536", "-1", "8080.5", "²²²²"])
def test_what_is_no_port_is_refused_with_an_example(text):
    with pytest.raises(PortError, match="give a number") as caught:
        ports.choose({"AIRFLOW_PORT": text}, None)

    assert "AIRFLOW_PORT" in str(caught.value)


@given(st.integers(1024, 65535))
def test_every_unprivileged_port_is_accepted(port):
    assert ports.choose({"AIRFLOW_PORT": str(port)}, None).airflow == port


def test_a_choice_is_remembered(tmp_path):
    path = tmp_path / "new" / "ports.json"
    ports.write(path, Ports(airflow=5, azurite=6, speech=7))

    assert ports.read(path) == Ports(airflow=5, azurite=6, speech=7)


@pytest.mark.parametrize("text", ["", "[]", '{"airflow": 1, "other": 2}', "{"])
def test_a_damaged_memory_counts_as_none(tmp_path, text):
    path = tmp_path / "ports.json"
    path.write_text(text)

    assert ports.read(path) is None


def test_a_port_that_somebody_listens_on_is_not_free():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        assert not ports.is_free(port)
        assert ports.listens(port)
    assert ports.is_free(port)


def test_a_port_that_somebody_listens_on_at_every_address_is_not_free():
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("0.0.0.0", 0))
        other.listen()

        assert not ports.is_free(other.getsockname()[1])
