"""What Airflow finds when it starts on our folders: the connection form, the plugin, and modules that load lightly."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from azure_speech.steps import shared_out
from speech_backfill.plan.planner import OTHER_TASKS, TASKS_A_SHARD
from speech_backfill.settings import Settings

ROOT = Path(__file__).parents[2]

HEAVY = [
    "pyarrow",
    "duckdb",
    "mutagen",
    "obstore",
    "pandas",
    "alembic",
    "azure.identity",
    "azure.storage",
    "msgspec",
]


def run(code, tmp_path):
    """Run *code* in a fresh interpreter as a component of Airflow would start; returns what it printed as JSON."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "PYTHONPATH": f"{ROOT / 'include'}:{ROOT / 'plugins'}",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_a_plan_counts_the_task_instances_that_the_dag_makes_of_it(tmp_path):
    tasks = run(
        f"import json, sys; sys.path.insert(0, {str(ROOT / 'dags')!r})\n"
        "import speech_backfill_manifest as module\n"
        "dag = module.speech_backfill_manifest()\n"
        "print(json.dumps(sorted(dag.task_dict)))",
        tmp_path,
    )
    mapped = [one for one in tasks if one.startswith("transcribe.")]
    assert (len(mapped), len(tasks) - len(mapped)) == (TASKS_A_SHARD, OTHER_TASKS)


@pytest.mark.parametrize(("plans", "shards_each"), [(1, 48), (3, 16), (60, 1)])
def test_a_repair_of_many_partitions_has_no_more_shards_than_one_plan_or_one_for_each(plans, shards_each):
    assert shared_out(Settings(max_shards=48), plans).max_shards == shards_each


def test_what_dag_files_import_is_light(tmp_path):
    loaded = run(
        "import json, sys, airflow.sdk\n"
        "from airflow.sdk import BaseOperator, BaseSensorOperator, BaseHook\n"
        "before = set(sys.modules)\n"
        "import azure_speech.operators.submit, azure_speech.sensors.transcriptions, azure_speech.retry\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))",
        tmp_path,
    )

    heavy = [name for name in loaded if any(name == one or name.startswith(f"{one}.") for one in HEAVY)]
    assert not heavy, f"import these inside the task instead: {heavy}"
    assert "azure_speech.operators.submit" in loaded


def test_what_the_triggerer_imports_holds_no_tables(tmp_path):
    loaded = run(
        "import json, sys\n"
        "import azure_speech.triggers.transcriptions, azure_speech.triggers.room\n"
        "print(json.dumps(sorted(sys.modules)))",
        tmp_path,
    )

    assert not {"pyarrow", "duckdb", "mutagen", "pandas", "obstore"} & set(loaded)


@pytest.fixture(scope="module")
def form(tmp_path_factory):
    return run(
        "import json\n"
        "from airflow.providers_manager import ProvidersManager\n"
        "manager = ProvidersManager()\n"
        "manager.initialize_providers_hooks()\n"
        "widgets = {k: v.field for k, v in manager.connection_form_widgets.items() if k.startswith('extra__azure_speech__')}\n"
        "hook = manager.hooks.get('azure_speech')\n"
        "print(json.dumps({'provider': 'azure-speech-provider' in manager.providers, 'widgets': widgets,\n"
        "  'behaviour': manager.field_behaviours.get('azure_speech'), 'hook': hook and [hook.hook_class_name, hook.hook_name,\n"
        "  hook.connection_id_attribute_name, hook.connection_testable]}))",
        tmp_path_factory.mktemp("airflow"),
    )


def test_the_connection_type_has_a_hook_that_can_be_tested(form):
    assert form["provider"]
    assert form["hook"] == [
        "azure_speech.hooks.azure_speech.AzureSpeechHook",
        "Azure AI Speech",
        "azure_speech_conn_id",
        True,
    ]


def test_the_form_has_every_field_that_the_hook_reads(form):
    fields = {name.removeprefix("extra__azure_speech__"): field for name, field in form["widgets"].items()}

    assert set(fields) == {
        "authentication",
        "tenant_id",
        "managed_identity_client_id",
        "region",
        "residency",
        "api_version",
        "window",
        "portal_url",
    }
    assert fields["authentication"]["schema"]["enum"] == ["key", "entra"]
    assert fields["window"]["value"] == 4
    assert form["behaviour"]["relabeling"]["host"] == "Endpoint"


def test_the_plugin_loads_and_keeps_the_package_whole(tmp_path):
    found = run(
        "import json, sys\n"
        "from airflow import plugins_manager\n"
        "links = plugins_manager.get_operator_extra_links()\n"
        "errors = plugins_manager.get_import_errors() if hasattr(plugins_manager, 'get_import_errors') else {}\n"
        "print(json.dumps({'links': [one.name for one in links], 'errors': errors,\n"
        "  'strays': [one for one in ('transcriptions', 'room', 'submit', 'events', 'links', 'storage') if one in sys.modules]}))",
        tmp_path,
    )

    assert "Speech resource" in found["links"]
    assert found["errors"] == {}
    assert found["strays"] == []
