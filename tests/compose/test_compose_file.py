"""docker-compose.yaml, the Dockerfile and .env.example agree with each other and with the product; no engine needed."""

import ast
import importlib.util
import re
import textwrap
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from speech_backfill.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_TEXT = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(COMPOSE_TEXT)
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
ENV_EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")

ONE_SHOTS = {name for name, service in SERVICES.items() if service["restart"] == "no"}
LOCAL = {name for name, service in SERVICES.items() if service.get("profiles") == ["local"]}
AIRFLOW = {
    name for name, service in SERVICES.items() if "AIRFLOW__CORE__EXECUTOR" in service.get("environment", {})
}

VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<mode>:[-?])?(?P<rest>[^}]*)\}")
SECRET = re.compile(r"PASSWORD|SECRET|FERNET|TOKEN|_KEY\b|AIRFLOW_CONN_")


def variables(text):
    return [(one["name"], one["mode"], one["rest"]) for one in VARIABLE.finditer(text)]


def example():
    lines = (
        line.partition("=") for line in ENV_EXAMPLE.splitlines() if "=" in line and not line.startswith("#")
    )
    return {name: value for name, _, value in lines}


def requirement_lines(name):
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return {line for line in lines if line}


def run_script():
    spec = importlib.util.spec_from_file_location("compose_run", Path(__file__).with_name("run.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_services_are_those_of_the_product():
    assert set(SERVICES) - LOCAL == {
        *("postgres", "postgres-init", "redis", "airflow-init", "airflow-apiserver", "airflow-scheduler"),
        *("airflow-dag-processor", "airflow-triggerer", "airflow-worker"),
    }
    assert {"azurite", "speech-emulator", "local-init"} == LOCAL


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOTS))
def test_a_service_that_stays_has_a_health_check_and_is_restarted(name):
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"postgres", "redis", "azurite"}))
def test_a_service_that_needs_others_waits_until_they_are_ready(name):
    for awaited, how in SERVICES[name]["depends_on"].items():
        expected = "service_completed_successfully" if awaited in ONE_SHOTS else "service_healthy"
        assert how == {"condition": expected}, awaited


@pytest.mark.parametrize("name", sorted(AIRFLOW - ONE_SHOTS))
def test_airflow_starts_after_the_migrations(name):
    assert {"postgres", "redis", "airflow-init"} <= set(SERVICES[name]["depends_on"])


def test_workers_start_after_the_api_server_that_they_report_to():
    assert "airflow-apiserver" in SERVICES["airflow-worker"]["depends_on"]


def test_nothing_of_the_product_waits_for_the_local_profile():
    for name in set(SERVICES) - LOCAL:
        assert not LOCAL & set(SERVICES[name].get("depends_on", {})), name


@pytest.mark.parametrize("name", sorted(AIRFLOW))
def test_include_and_plugins_are_on_the_path_of_every_airflow_service(name):
    assert SERVICES[name]["environment"]["PYTHONPATH"] == "/opt/airflow/include:/opt/airflow/plugins"


def test_the_image_has_the_same_path():
    assert "PYTHONPATH=/opt/airflow/include:/opt/airflow/plugins" in DOCKERFILE


def test_every_airflow_service_has_the_same_environment_but_for_its_own_additions():
    shared = SERVICES["airflow-scheduler"]["environment"].items()
    for name in AIRFLOW:
        assert shared <= SERVICES[name]["environment"].items(), name


def test_airflow_services_are_at_least_the_five_and_init():
    assert {
        "airflow-apiserver",
        "airflow-scheduler",
        "airflow-dag-processor",
        "airflow-triggerer",
        "airflow-worker",
        "airflow-init",
    } <= AIRFLOW


@pytest.mark.parametrize("name", sorted(set(SERVICES) - LOCAL))
def test_no_secret_has_a_default(name):
    found = variables(yaml.safe_dump(SERVICES[name], width=10_000))
    for variable, mode, rest in found:
        if SECRET.search(variable):
            assert mode == ":?", variable
            assert rest, f"{variable} has no message"


@pytest.mark.parametrize("name", sorted(set(SERVICES) - LOCAL))
def test_no_secret_is_written_out(name):
    for variable, value in SERVICES[name].get("environment", {}).items():
        if SECRET.search(variable) or "://" in str(value):
            text = VARIABLE.sub("", str(value))
            assert not re.search(r"://[^/@]*:[^/@]+@", text), variable
            assert not SECRET.search(variable) or not re.fullmatch(r"[\w+/=-]{8,}", text), variable


def test_every_variable_without_a_default_is_in_the_example():
    required = {name for name, mode, _ in variables(COMPOSE_TEXT) if mode == ":?"}
    assert required
    assert required <= set(example())


def test_every_line_of_the_example_is_read():
    known = {name for name, _, _ in variables(COMPOSE_TEXT)} | {"COMPOSE_PROFILES"}
    assert set(example()) <= known


def test_the_example_holds_no_secret_but_the_emulators():
    filled = {name for name, value in example().items() if SECRET.search(name) and value}
    assert filled == {"AIRFLOW_CONN_AZURE_SPEECH_DEFAULT", "AIRFLOW_CONN_WASB_DEFAULT"}
    assert "http://azurite:10000/devstoreaccount1" in example()["AIRFLOW_CONN_WASB_DEFAULT"]
    assert "http://speech-emulator:8085" in example()["AIRFLOW_CONN_AZURE_SPEECH_DEFAULT"]


def test_every_line_of_the_example_stands_below_a_sentence():
    block = ""
    for line in ENV_EXAMPLE.splitlines():
        if not line:
            block = ""
        elif line.startswith("#"):
            block = line
        else:
            assert block, line


def test_every_setting_of_the_product_can_be_set():
    environment = SERVICES["airflow-worker"]["environment"]
    wanted = {f"SPEECH_BACKFILL_{one.name.upper()}" for one in fields(Settings)}
    missing = wanted - set(environment)
    assert not missing, (
        f"add to docker-compose.yaml: {[f'{name}: ${{{name}:-}}' for name in sorted(missing)]}"
    )
    unknown = {name for name in environment if name.startswith("SPEECH_BACKFILL_")} - wanted
    assert not unknown, "the settings refuse names that they do not know"


def test_the_settings_of_the_example_are_accepted():
    values = {name: value.strip("'") for name, value in example().items()}
    settings = Settings.from_environment(values)
    assert settings.require_store() == "az://speech-backfill/backfill"
    assert settings.first_look_seconds >= 10


def test_every_public_image_is_pinned():
    public = {service["image"] for service in SERVICES.values() if "build" not in service}
    assert public == {"postgres:16", "redis:7.2-bookworm", "mcr.microsoft.com/azure-storage/azurite:3.36.0"}
    assert "ARG AIRFLOW_IMAGE=apache/airflow:3.3.2-python3.11\n" in DOCKERFILE


def test_the_airflow_of_the_image_is_the_airflow_of_the_tests():
    assert any(
        re.fullmatch(r"apache-airflow\[.*\]==3\.3\.2", line) for line in requirement_lines("requirements.in")
    )


def test_every_airflow_service_runs_the_image_of_our_dockerfile():
    for name in AIRFLOW:
        assert SERVICES[name]["build"] == {"context": ".", "target": "product"}, name
    assert SERVICES["speech-emulator"]["build"] == {"context": ".", "target": "emulator"}


def test_the_images_do_not_end_as_root():
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    for stage in stages:
        users = re.findall(r"^USER (\S+)", stage, flags=re.MULTILINE)
        assert not users or users[-1] == "airflow"
    assert all(service.get("user") not in {"root", "0", "0:0"} for service in SERVICES.values())


def test_what_the_image_installs_is_what_the_tests_install():
    assert requirement_lines("requirements-image.txt") <= requirement_lines("requirements.in")


def test_the_emulators_recogniser_is_the_one_of_the_tests():
    recogniser = re.search(r'ARG RECOGNISER="([^"]+)"', DOCKERFILE)[1].split()
    assert set(recogniser) <= requirement_lines("requirements.in")


def test_only_what_the_image_is_made_of_is_sent_to_the_engine():
    lines = requirement_lines(".dockerignore")
    assert "*" in lines
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = set(
        re.findall(
            r"[\w./-]+", " ".join(re.findall(r"^COPY --chown=\S+ (.+) \S+$", DOCKERFILE, re.MULTILINE))
        )
    )
    assert sent == copied


def test_only_the_api_server_publishes_a_port_and_only_to_this_machine_by_default():
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"airflow-apiserver": ["${AIRFLOW_BIND:-127.0.0.1}:${AIRFLOW_PORT:-8080}:8080"]}


def test_the_script_fills_in_each_secret_and_keeps_the_rest():
    text, values = run_script().filled_in(ENV_EXAMPLE, {"AIRFLOW_PORT": "1234"})
    assert all(values.values())
    assert values["AIRFLOW_PORT"] == "1234"
    assert len(values["AIRFLOW_JWT_SECRET"]) >= 64
    assert "AIRFLOW_PORT=1234\n" in text
    again = run_script().filled_in(ENV_EXAMPLE, {})[1]
    changed = {name for name in values if values[name] != again[name]} - {"AIRFLOW_PORT"}
    assert changed == {name for name, value in example().items() if not value}


def our_imports(script):
    """(module, name) of what *script* imports from the project; a syntax error fails here."""
    for node in ast.walk(ast.parse(textwrap.dedent(script))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith(("speech_backfill", "azure_speech")):
            yield from ((node.module, alias.name) for alias in node.names)


def test_the_scripts_that_containers_run_use_what_is_there():
    init = SERVICES["airflow-init"]["command"][-1]
    heredocs = re.findall(r"<<'PYTHON'\n(.*?)\nPYTHON$", init, flags=re.MULTILINE | re.DOTALL)
    scripts = [*heredocs, SERVICES["local-init"]["command"][-1], run_script().READ_TABLES]
    assert len(scripts) == 3
    imported = {found for script in scripts for found in our_imports(script)}
    assert imported
    for module, name in imported:
        folder = ROOT / ("include" if module.startswith("speech_backfill") else "plugins")
        source = ast.parse((folder / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
        assert name in {node.name for node in source.body if hasattr(node, "name")}, (module, name)
