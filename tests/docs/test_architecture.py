"""The code map names every module, and no module that is not there."""

import re

from tests.docs.documents import ROOT, read

CORE = ROOT / "include" / "speech_backfill"


def _modules(folder):
    return {path.name for path in folder.glob("*.py")} - {"__init__.py"}


def _core_section():
    text = read("ARCHITECTURE.md")
    return text.partition("### The core")[2].partition("### Around it")[0]


def _named(text):
    return set(re.findall(r"`(\w+\.py)`", text))


def _package_rows():
    return dict(re.findall(r"^\| `(\w+)/`([^\n]*)$", _core_section(), flags=re.MULTILINE))


def test_the_code_map_names_every_module_of_the_core_and_no_other():
    rows = "\n".join(line for line in _core_section().splitlines() if not re.match(r"\| `\w+/`", line))
    assert _named(rows) == _modules(CORE)


def test_the_code_map_names_every_package_with_every_module_of_it():
    packages = {path.parent.name for path in CORE.glob("*/__init__.py")}
    rows = _package_rows()
    assert set(rows) == packages
    for package, row in rows.items():
        assert _named(row) == _modules(CORE / package), package


def test_folders_that_the_documents_map_exist():
    for document in ("README.md", "ARCHITECTURE.md"):
        for folder in re.findall(r"^\| \[?`([\w/]+/)`", read(document), flags=re.MULTILINE):
            assert any((root / folder).is_dir() for root in (ROOT, CORE)), f"{document}: {folder}"


def test_the_import_contracts_are_as_many_as_told():
    contracts = read("pyproject.toml").count("[[tool.importlinter.contracts]]")
    words = {2: "Two", 3: "Three", 4: "Four", 5: "Five", 6: "Six"}
    assert f"{words[contracts]} import contracts in `pyproject.toml`" in read("ARCHITECTURE.md")


def test_the_readme_maps_every_folder_of_the_project():
    mapped = set(re.findall(r"\| \[`([\w/]+)/`\]", read("README.md")))
    for needed in (
        "dags",
        "plugins/azure_speech",
        "include/speech_backfill",
        "include/speech_emulator",
        "tests",
    ):
        assert needed in mapped
