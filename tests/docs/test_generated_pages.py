"""Generated pages are as the code has them, and what they are made from is complete."""

import ast
import os
import subprocess
import sys

import pytest

from local import docs
from speech_backfill import credentials, settings
from speech_backfill.tables.document import document
from tests.docs.documents import ROOT, read


@pytest.mark.airflow
def test_generated_pages_are_current(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "local.docs", "--check"],
        cwd=ROOT,
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": "include:plugins"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_page_that_is_not_current_is_named_and_left_as_it_is(tmp_path, monkeypatch, capsys):
    page = tmp_path / "docs" / "PAGE.md"
    page.parent.mkdir()
    page.write_text("old")
    monkeypatch.setattr(docs, "pages", lambda _: {"docs/PAGE.md": "new"})
    monkeypatch.setattr(docs, "this_checkout", lambda: docs.Checkout(tmp_path))

    assert docs.main(["--check"]) == 1
    assert "docs/PAGE.md" in capsys.readouterr().err
    assert page.read_text() == "old"

    assert docs.main([]) == 0
    assert page.read_text() == "new"
    assert docs.main(["--check"]) == 0


def test_every_setting_stands_on_the_page_of_settings():
    page = read("docs/CONFIGURATION.md")
    for variable, default, _, says in settings.described():
        assert f"| `{variable}` |" in page
        assert says in page
        assert f"`{default}`" in page or not default


def test_every_field_of_the_connection_form_stands_on_the_page_of_settings():
    from azure_speech.provider import get_provider_info

    page = read("docs/CONFIGURATION.md")
    connection = get_provider_info()["connection-types"][0]
    for field, about in connection["conn-fields"].items():
        assert f"`extra.{field}`" in page
        assert about["description"] in page
    for field in connection["ui-field-behaviour"]["relabeling"]:
        assert f"| `{field}` |" in page


def test_the_command_lines_credentials_are_exactly_those_that_are_read():
    tree = ast.parse(read("include/speech_backfill/credentials.py"))
    prefixes = {"_RESOURCE": credentials._RESOURCE, "_ACCOUNT": credentials._ACCOUNT}
    read_ones = set()
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "_groups":
            _, prefix, keys = call.args
            read_ones |= {f"{prefixes[prefix.id]}<NAME>_{key}" for key in ast.literal_eval(keys)}
    assert read_ones == {variable for variable, *_ in docs.CLI_VARIABLES}


def test_the_page_of_tables_follows_from_the_schemas():
    assert read("docs/TABLES.md") == document()


def test_every_dag_stands_on_the_page_of_dags():
    page = read("docs/DAGS.md")
    files = {path.stem for path in (ROOT / "dags").glob("*.py")}
    assert files == set(docs.DAG_IDS)
    for one in files:
        manual = ast.get_docstring(ast.parse(read(f"dags/{one}.py")), clean=False)
        assert f"DAG `{one}`" in page
        assert manual.strip().splitlines()[-1] in page
