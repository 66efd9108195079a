"""The environment of the local Airflow is complete, its own, and free of what the user's shell has set for another."""

import json
from pathlib import Path

import pytest

from local import azurite, keys
from local.airflow import Airflow, environment
from local.checkout import Checkout
from local.errors import LocalStackError
from local.local_http import without_proxy
from local.ports import Ports

CHECKOUT = Checkout(Path("/somewhere/a checkout"))
PORTS = Ports(airflow=18080, azurite=11000, speech=18085)


@pytest.fixture
def made():
    return keys.made_up()


def test_connections_reach_the_local_services_with_the_local_keys(made):
    env = environment(CHECKOUT, PORTS, made, {})

    wasb = json.loads(env["AIRFLOW_CONN_WASB_DEFAULT"])
    speech = json.loads(env["AIRFLOW_CONN_AZURE_SPEECH_DEFAULT"])

    assert wasb["extra"]["connection_string"] == azurite.connection_string(11000)
    assert (speech["conn_type"], speech["host"]) == ("azure_speech", "http://127.0.0.1:18085")
    assert speech["password"] == made.speech_key


def test_every_process_finds_core_shell_and_dags(made):
    env = environment(CHECKOUT, PORTS, made, {"PYTHONPATH": "/other"})

    assert env["PYTHONPATH"] == "/somewhere/a checkout/include:/somewhere/a checkout/plugins"
    assert env["AIRFLOW__CORE__DAGS_FOLDER"] == "/somewhere/a checkout/dags"
    assert env["AIRFLOW__CORE__PLUGINS_FOLDER"] == "/somewhere/a checkout/plugins"


def test_the_port_moves_everything_that_names_it(made):
    env = environment(CHECKOUT, PORTS, made, {})

    assert env["AIRFLOW__API__PORT"] == "18080"
    assert env["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:18080/execution/"
    assert env["AIRFLOW__API__BASE_URL"] == "http://127.0.0.1:18080"


def test_another_airflow_of_the_users_shell_is_not_mixed_in(made):
    outer = {
        "AIRFLOW_HOME": "/other",
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW_CONN_X": "y",
        "LANG": "C",
    }

    env = environment(CHECKOUT, PORTS, made, outer)

    assert env["AIRFLOW_HOME"] == "/somewhere/a checkout/.stack/airflow"
    assert env["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert "AIRFLOW_CONN_X" not in env
    assert env["LANG"] == "C"


def test_a_setting_of_the_users_shell_wins_over_the_demos(made):
    outer = {"SPEECH_BACKFILL_FILES_PER_TRANSCRIPTION": "3"}

    assert environment(CHECKOUT, PORTS, made, outer)["SPEECH_BACKFILL_FILES_PER_TRANSCRIPTION"] == "3"


def test_all_settings_are_ones_that_the_core_knows(made):
    settings = pytest.importorskip("speech_backfill.settings")

    env = environment(CHECKOUT, PORTS, made, {})

    assert settings.Settings.from_environment(env).store == "az://speech-backfill/"


def test_a_proxy_is_not_asked_for_this_machine():
    env = without_proxy({"HTTPS_PROXY": "http://proxy", "no_proxy": "intern,localhost"})

    assert env["NO_PROXY"] == env["no_proxy"] == "intern,localhost,127.0.0.1"


def test_keys_are_made_once_kept_private_and_not_shown(tmp_path, made):
    path = tmp_path / "stack" / "secrets.json"

    first, second = keys.load(path), keys.load(path)

    assert first == second != made
    assert path.stat().st_mode & 0o077 == 0
    assert len(first.jwt_secret.encode()) >= 64
    assert first.speech_key not in repr(first)


def test_the_fernet_key_is_one_that_airflow_accepts(made):
    from cryptography.fernet import Fernet

    assert Fernet(made.fernet_key.encode())


def test_a_migration_that_fails_shows_what_airflow_said(tmp_path, made):
    checkout = Checkout(tmp_path)
    checkout.python.parent.mkdir(parents=True)
    checkout.python.write_text("#!/bin/sh\necho 'disk I/O error'\nexit 1\n")
    checkout.python.chmod(0o755)

    with pytest.raises(LocalStackError, match="disk I/O error"):
        Airflow(checkout, PORTS, made).migrate()


def test_a_database_of_this_airflow_is_not_migrated_again(tmp_path, made):
    checkout = Checkout(tmp_path)
    checkout.python.parent.mkdir(parents=True)
    checkout.python.write_text(
        '#!/bin/sh\ntouch "$AIRFLOW_HOME/airflow.db"\necho ran >> "$AIRFLOW_HOME/count"\n'
    )
    checkout.python.chmod(0o755)
    airflow = Airflow(checkout, PORTS, made)

    airflow.migrate()
    airflow.migrate()

    assert (checkout.stack / "airflow" / "count").read_text() == "ran\n"
