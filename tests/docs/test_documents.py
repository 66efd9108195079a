"""Documents lead where they say, name no machine, and keep to the glossary's words."""

import os
import re
import subprocess
import sys
from urllib.parse import unquote

import pytest

from speech_backfill.settings import described
from speech_backfill.tables.schema import TABLES
from tests.docs.documents import DOCUMENTS, ROOT, anchor, headings, links, name, read

_MACHINE_PATH = re.compile(r"(?<![\w.~>}-])/(?:work|tmp|root|home|Users)(?:/|\b(?![\w-]))")


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_between_documents_resolve(document):
    text = document.read_text(encoding="utf-8")
    for target in links(text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, fragment = target.partition("#")
        found = (document.parent / unquote(path)).resolve() if path else document
        assert found.exists(), f"{name(document)} links to {target}, which is not there"
        assert found.is_relative_to(ROOT)
        if fragment:
            anchors = {anchor(one) for one in headings(found.read_text(encoding="utf-8"))}
            assert fragment in anchors, f"{name(document)} links to {target}; there is no such heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_no_document_names_a_machines_path(document):
    found = _MACHINE_PATH.findall(document.read_text(encoding="utf-8"))
    assert not found, f"{name(document)} names a path that other machines don't have"


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("see /tmp/x", True), ("in /root", True), ("`/home/me/a`", True), ("work/<plan id>/", False)],
)
def test_machine_paths_are_known_when_seen(text, is_one):
    assert bool(_MACHINE_PATH.search(text)) is is_one


def test_every_make_command_that_a_document_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), flags=re.MULTILINE))
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        named = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, flags=re.MULTILINE))
        assert named <= targets, f"{name(document)}: make {', '.join(sorted(named - targets))}"


def test_every_command_of_the_command_line_that_a_document_names_exists():
    done = subprocess.run(
        [sys.executable, "-m", "speech_backfill.cli", "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "include")},
        capture_output=True,
        text=True,
        check=True,
    )
    for document in DOCUMENTS:
        for command in re.findall(r"speech_backfill\.cli ([a-z]+)", document.read_text(encoding="utf-8")):
            assert re.search(rf"^    {command}\b", done.stdout, flags=re.MULTILINE), (
                f"{name(document)}: {command}"
            )


# --- the glossary ---------------------------------------------------------------------------------

_OTHER_USES = {
    "account": "a storage account is one",
    "endpoint": "a resource has one",
    "task": "Airflow's",
    "job alone": "two words",
    "result": "a result file is one",
    "output": "of a program",
    "input": "of a program",
    "create": "what airflow backfill does",
    "commit": "of a transaction, and of git",
    "storage": "Azure's name of its service",
    "lock": "of a table",
    "config": "of a file",
    "index": "a position",
    "retry": "Airflow's; the column can_retry says it of a file",
}


def _rows(text):
    """(words, words not to say) of every row of the glossary's tables."""
    for line in text.splitlines():
        cells = [one.strip() for one in line.strip("|").split("|")]
        if line.startswith("| **") and len(cells) == 3:
            defined = re.findall(r"[\w ]+", cells[0].replace("**", ""))
            yield (
                [one.strip() for one in defined],
                [one.strip() for one in cells[2].split(",") if one.strip()],
            )


def test_no_word_is_defined_twice():
    defined = [word for words, _ in _rows(read("docs/GLOSSARY.md")) for word in words]
    assert len(defined) > 40
    assert len(defined) == len(set(defined))


def test_headings_columns_and_settings_keep_to_the_glossary():
    rows = list(_rows(read("docs/GLOSSARY.md")))
    defined = {word for words, _ in rows for word in words}
    banned = {word for _, words in rows for word in words} - defined - set(_OTHER_USES)
    assert {"segment", "bucket", "inventory"} <= banned
    texts = {column for schema in TABLES.values() for column in (*schema.names, *TABLES)}
    texts |= {variable for variable, *_ in described()}
    for document in DOCUMENTS:
        if document.name != "GLOSSARY.md":
            texts |= set(headings(document.read_text(encoding="utf-8")))
    for text in sorted(texts):
        words = set(re.split(r"[\W_]+", text.lower()))
        assert not words & banned, f"{text!r}: see docs/GLOSSARY.md for {', '.join(words & banned)}"
