"""Whatever goes wrong has a section in the runbook."""

import ast
import importlib
import inspect
import pkgutil

import pytest

import speech_backfill
from speech_backfill.error_classes import KNOWN, OurCode
from speech_backfill.errors import SpeechBackfillError
from tests.docs.documents import ROOT, headings, read

_GROUPS = {
    "SpeechBackfillError": "the root of the tree",
    "LedgerError": "raised as one of its kinds",
    "SpeechServiceError": "raised as one of its kinds",
    "TableError": "raised as one of its kinds",
}


def _errors():
    for one in pkgutil.walk_packages(speech_backfill.__path__, "speech_backfill."):
        if one.name.startswith("speech_backfill.ledger.migrations"):
            continue  # runs under Alembic only, and defines no error
        module = importlib.import_module(one.name)
        for name, value in vars(module).items():
            if (
                inspect.isclass(value)
                and issubclass(value, SpeechBackfillError)
                and value.__module__ == one.name
            ):
                yield name


ERRORS = sorted(set(_errors()) | {"MalformedEvent"})


def _codes_of_refused_lines():
    """Every literal that becomes the error_code of a line we refuse."""
    for path in [
        ROOT / "include/speech_backfill/accounts.py",
        *(ROOT / "include/speech_backfill/manifest").glob("*.py"),
    ]:
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            called = ast.unparse(call.func)
            if called in {"AudioUriError", "RefusedLine.of", "RefusedLine"}:
                for argument in call.args:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        yield argument.value
                        break


SECTIONS = set(headings(read("docs/RUNBOOK.md")))


def test_errors_were_found():
    assert {"SettingsError", "StalePlan", "AnswerLost", "NothingPublished", "SupersededPlan"} <= set(ERRORS)


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_has_a_section(error):
    assert error in SECTIONS or error in _GROUPS


def test_errors_that_only_group_others_are_never_raised_themselves():
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "include").rglob("*.py"))
    assert [one for one in _GROUPS if f"raise {one}(" in sources] == []


@pytest.mark.parametrize("code", [one.value for one in OurCode])
def test_every_reason_of_ours_has_a_section(code):
    assert code in SECTIONS


def test_every_reason_of_a_refused_line_has_a_section():
    codes = set(_codes_of_refused_lines())
    assert {"InvalidUri", "UnknownAccount", "EmptyFile"} <= codes
    assert codes <= SECTIONS


@pytest.mark.parametrize("code", [one.code for one in KNOWN])
def test_every_code_with_a_class_is_in_the_runbook(code):
    assert code in SECTIONS or f"`{code}`" in read("docs/RUNBOOK.md")


def test_no_section_names_an_error_that_is_gone():
    """Sections with one capitalised word are errors and codes; the service's codes are an open list."""
    service = {
        "InvalidData",
        "InvalidRecordingsUri",
        "LimitExceeded",
        "Internal",
        "NoLanguageIdentified",
        "Unknown",
    }
    known = {*ERRORS, *(one.value for one in OurCode), *_codes_of_refused_lines(), *service}
    words = {one for one in SECTIONS if one.isidentifier() and one not in {"Runbook", "Operations"}}
    assert words <= known
