"""Whatever the runbook tells to type, set or click exists: commands and flags, DAGs and fields, settings, names, labels."""

import ast
import inspect
import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

from azure_speech.provider import get_provider_info
from speech_backfill import cli, credentials
from speech_backfill.error_classes import KNOWN, OurCode
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import PlanState, TranscriptionState
from speech_backfill.model import Outcome
from speech_backfill.pipeline import Pipeline
from speech_backfill.rebuild import Rebuilt
from speech_backfill.settings import PREFIX, described
from speech_backfill.tables.read import read_table
from speech_backfill.tables.schema import TABLES
from tests.docs import real_messages
from tests.docs.documents import ROOT, literals, read
from tests.docs.runbook import SECTIONS, TEXT, arguments, fenced, italics, spans, typed

# --- DAGs: their page is generated from them, and another test holds that it is current ----------------


def _dags():
    """By DAG: its task ids, and the fields of its form by their name in the run's conf."""
    found = {}
    for page in re.split(r"^## ", read("docs/DAGS.md"), flags=re.MULTILINE)[1:]:
        (dag,) = re.findall(r"^DAG `(\w+)`", page, flags=re.MULTILINE)
        (tasks,) = re.findall(r"^Tasks: (.+)$", page, flags=re.MULTILINE)
        fields = re.findall(r"^\| ([^|]+) \| `(\w+)` \|", page, flags=re.MULTILINE)
        found[dag] = (set(spans(tasks)), {name: title for title, name in fields})
    return found


DAGS = _dags()
TASKS = {part for tasks, _ in DAGS.values() for task in tasks for part in (task, *task.split("."))}
FIELDS = {(name, title) for _, fields in DAGS.values() for name, title in fields.items()}
COMPOSE = yaml.safe_load(read("docker-compose.yaml"))

AIRFLOW = arguments("airflow")
OUR_CLI = arguments("-m", "speech_backfill.cli")


def test_dags_and_commands_were_found():
    assert set(DAGS) == {"speech_backfill_daily", "speech_backfill_manifest", "speech_backfill_repair"}
    assert {"plan", "submit", "repair.merge", "shards"} <= TASKS
    assert {" ".join(words[:2]) for words in AIRFLOW} >= {"dags clear", "dags trigger", "backfill create"}
    assert {words[0] for words in OUR_CLI} == {
        "run",
        "status",
        "report",
        "budget",
        "migrate",
        "rebuild-ledger",
    }


def _with_airflow(program, home, given=""):
    """What *program* prints, in a process with a home of its own: Airflow makes one where it is imported."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        input=given,
        env={**os.environ, "AIRFLOW_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.airflow
def test_airflow_takes_every_command_that_is_typed_for_it(tmp_path):
    """Airflow's own parser reads them: verbs, flags and dates."""
    program = """
import contextlib, io, json, sys
from airflow.cli.cli_parser import get_parser
parser = get_parser()
for words in json.load(sys.stdin):
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parser.parse_args(words)
    except SystemExit:
        print("airflow", *words, said.getvalue().strip().splitlines()[-1])
"""
    said = _with_airflow(program, tmp_path, json.dumps(AIRFLOW))
    refused = [line for line in said.splitlines() if line.startswith("airflow ")]
    assert refused == []


@pytest.mark.parametrize("words", OUR_CLI, ids=" ".join)
def test_our_command_line_takes_every_command_that_is_typed_for_it(words):
    cli._parser().parse_args(words)


def _dag_of(words):
    """The DAG that a command of Airflow is about; None where it is about none."""
    if "--dag-id" in words:
        return words[words.index("--dag-id") + 1]
    return words[2] if words[0] == "dags" and not words[2].startswith("-") else None


@pytest.mark.parametrize("words", AIRFLOW, ids=" ".join)
def test_commands_name_dags_that_exist_and_fields_of_their_forms(words):
    dag = _dag_of(words)
    if "--treat-dag-id-as-regex" in words:
        assert all(re.fullmatch(words[-1], one) for one in DAGS)
        return
    assert dag in {*DAGS, "$DAG", None}
    for flag in ("--conf", "--dag-run-conf"):
        if flag in words:
            conf = json.loads(words[words.index(flag) + 1])
            assert conf.keys() <= DAGS[dag][1].keys(), f"{dag} has no such field"


def test_compose_has_every_service_that_a_command_runs_in():
    services = set(COMPOSE["services"])
    named = set()
    for words in typed():
        if words[:3] == ["docker", "compose", "exec"]:
            rest = iter(words[3:])
            for word in rest:
                if word == "-e":
                    next(rest)
                elif not word.startswith("-"):
                    named.add(word)
                    break
    assert {"airflow-scheduler", "airflow-worker", "postgres"} <= named <= services


def test_the_ledgers_backup_is_restored_as_it_is_typed(tmp_path):
    """The two lines for SQLite, and the question for what is unaccounted for, asked of a ledger of today."""
    Ledger.open(f"sqlite:///{tmp_path}/ledger.db", lambda: 0.0).engine.dispose()
    backup, restore = [line for line in fenced(TEXT) if line.endswith(("# SQLite", "also while in use"))]

    def run(line):
        command = line.replace("python -c", f'"{sys.executable}" -c')
        subprocess.run(["bash", "-euc", command], cwd=tmp_path, check=True)

    def rows():
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
            return ledger.execute("SELECT plan_id FROM plans").fetchall()

    plan = "INSERT INTO plans (plan_id, partition, run_key, state, created_at, files) VALUES (?, '', '', '', 0, 0)"
    for name, line in (("kept", backup), ("later", restore)):
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger, ledger:
            ledger.execute(plan, [name])
        run(line)
    assert rows() == [("kept",)]


def test_every_question_in_sql_can_be_asked():
    questions = re.findall(r"^SELECT .*?;$", "\n".join(fenced(TEXT)), flags=re.MULTILINE | re.DOTALL)
    assert questions
    ledger = Ledger.open("sqlite://", lambda: 0.0)
    with ledger.engine.begin() as connection:
        for one in questions:
            assert connection.execute(sa.text(one)).all() == []
    ledger.engine.dispose()


def test_the_python_that_is_typed_names_what_is_there():
    """Imports of ours resolve (read, not imported, for Airflow is heavy), and calls fit their functions."""
    codes = [words[at + 1] for words in typed() for at, word in enumerate(words[:-1]) if word == "-c"]
    imported = set()
    for node in (node for code in codes if "import" in code for node in ast.walk(ast.parse(code))):
        if isinstance(node, ast.ImportFrom):
            path = Path(*node.module.split(".")).with_suffix(".py")
            source = next(found for root in ("include", "plugins") if (found := ROOT / root / path).is_file())
            defined = {getattr(one, "name", "") for one in ast.parse(source.read_text()).body}
            assert {one.name for one in node.names} <= defined
            imported |= {one.name for one in node.names}
    assert imported == {"core_pipeline"}
    assert "core_pipeline().rebuild_ledger().text" in TEXT
    assert hasattr(Pipeline, "rebuild_ledger")
    assert hasattr(Rebuilt, "text")
    calls = [one for one in spans(TEXT) if one.startswith("read_table(")]
    assert calls
    for one in calls:
        call = ast.parse(one, mode="eval").body
        inspect.signature(read_table).bind(*call.args, **{each.arg: each.value for each in call.keywords})


def test_every_setting_that_is_named_exists():
    known = {variable for variable, *_ in described()}
    named = set(re.findall(rf"{PREFIX}[A-Z][A-Z_]*[A-Z]", TEXT))
    assert len(named & known) > 10
    for one in named - known:
        (resource,) = credentials.resources({one: "https://x.example"})
        assert resource.name == "azure_speech_default", "the example is of the connection's name"


# --- names and labels -------------------------------------------------------------------------------

OF_OTHERS = {
    "AirflowFailException": "Airflow's",
    "AirflowNotFoundException": "Airflow's",
    "OperationalError": "SQLAlchemy's",
    "DecodeError": "msgspec's",
    "ValidationError": "msgspec's",
    "FileNotFoundError": "Python's",
    "InvalidSubscription": "a code of the service",
    "InvalidLocale": "a code of the service",
    "InvalidModel": "a code of the service",
    "QuotaViolation": "a code of the service",
    "make": "a program",
}
"""Names that nothing of ours defines."""


def test_every_name_between_backticks_is_of_something_that_exists():
    """DAGs, tasks, fields, tables, columns, codes, states, settings: a word alone is one of these, or its section's."""
    known = {
        *DAGS,
        *TASKS,
        *(name for name, _ in FIELDS),
        *TABLES,
        *(name for schema in TABLES.values() for name in schema.names),
        *(one.code for one in KNOWN),
        *(one.value for kind in (OurCode, Outcome, PlanState, TranscriptionState) for one in kind),
        *(variable for variable, *_ in described()),
        *(one for one in SECTIONS if one.isidentifier()),
        *(words[0] for words in OUR_CLI),
        *COMPOSE["volumes"],
        "partition",
    }
    alone = {one for one in spans(TEXT) if re.fullmatch(r"[A-Za-z]\w*", one)}
    assert alone - known - OF_OTHERS.keys() == {f"{PREFIX}RESOURCE_AZURE_SPEECH_DEFAULT_ENDPOINT"}, (
        "neither ours nor a known name of others"
    )
    assert OF_OTHERS.keys() <= alone


def _airflows_labels():
    """What Airflow's pages say, as its own English texts have it."""
    where = Path(find_spec("airflow").origin).parent / "ui" / "dist" / "i18n" / "locales" / "en"

    def texts(value):
        if isinstance(value, str):
            yield value
        else:
            for one in value.values():
                yield from texts(one)

    return {
        text for path in where.glob("*.json") for text in texts(json.loads(path.read_text(encoding="utf-8")))
    }


NO_LABELS = {
    "Storage Blob Data Reader": "a role of Azure",
    "Cognitive Services Speech Contributor": "a role of Azure",
    "other": "emphasis",
    "Connection success!": "Airflow's command line",
}


def test_every_label_in_italics_is_to_be_found_where_one_clicks_or_reads():
    """Fields of the forms and of the connection, Airflow's own labels, the words of our log."""
    connection = get_provider_info()["connection-types"][0]
    ours = {
        *(title for _, title in FIELDS),
        *(field["label"] for field in connection["conn-fields"].values()),
        *connection["ui-field-behaviour"]["relabeling"].values(),
        "Speech resource",
    }
    airflows, logged = _airflows_labels(), literals("include", "plugins")
    assert {"Clear only failed tasks", "Partition Key"} <= airflows
    for one in italics(TEXT):
        if one[0].isupper():
            assert one in ours | airflows | NO_LABELS.keys(), f"nothing is called {one!r}"
        elif one not in NO_LABELS:
            assert one in logged, f"no log says {one!r}"


# --- what happens by itself ---------------------------------------------------------------------------

_SOON = "Airflow repeats it after a minute, six times"
_LATER = "Airflow repeats it six times within half an hour"


@pytest.fixture(scope="module")
def decisions(tmp_path_factory):
    """By error: what the DAGs' tasks do after it, as (action, delay in seconds) of their retry policy."""
    program = """
import json
from azure_speech.dag_parts import DEFAULTS
from tests.docs.real_messages import ARGUMENTS
assert DEFAULTS["retries"] == 6
found = {}
for kind, given in ARGUMENTS:
    decision = DEFAULTS["retry_policy"].evaluate(kind(**given), 1, 5)
    delay = decision.retry_delay.total_seconds() if decision.retry_delay else None
    found.setdefault(kind.__name__, []).append([decision.action.value, delay])
print(json.dumps(found))
"""
    return json.loads(_with_airflow(program, tmp_path_factory.mktemp("airflow")).splitlines()[-1])


@pytest.mark.airflow
@pytest.mark.parametrize("error", sorted({kind.__name__ for kind, _ in real_messages.ARGUMENTS}))
def test_what_is_said_of_airflows_retries_is_what_its_tasks_do(error, decisions):
    """But for errors that end no task: warnings, rows of a table, and those of a person who reads."""
    section = SECTIONS[error]
    state = " ".join(section.point("State").split())
    ends_no_task = re.search("warning|where you read|error_message", section.point("You see"))
    if ends_no_task and "Airflow repeats" not in state:
        return
    for action, delay in decisions[error]:
        if action == "fail":
            assert "Airflow repeats" not in state
        else:
            assert (_SOON if delay == 60 else _LATER) in state
