"""Whatever goes wrong has a section in the runbook, and the section says what people really see, why, and what to type."""

import ast
import importlib
import inspect
import pkgutil
import re

import pytest

import speech_backfill
from speech_backfill.error_classes import KNOWN, OurCode
from speech_backfill.errors import SpeechBackfillError
from tests.docs import real_messages
from tests.docs.documents import ROOT, headings, literals, read
from tests.docs.runbook import POINTS, errors_and_codes, fenced, spans
from tests.docs.runbook import SECTIONS as PARTED

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


# --- every section's form ---------------------------------------------------------------------------

LOOKED_UP = errors_and_codes()


def _heading(section):
    return section.heading


@pytest.mark.parametrize("section", LOOKED_UP, ids=_heading)
def test_a_section_says_what_is_seen_and_why_and_what_to_type(section):
    """State may be left out; nothing else may, and the order is always the same."""
    before, *points = section.points
    assert section.point(before) == "", "text before the first point"
    assert points in ([*POINTS], [one for one in POINTS if one != "State"])
    for one in points:
        assert section.point(one).strip(), f"nothing is said under {one}"


def test_every_looked_up_section_was_found():
    assert {"SettingsError", "NothingPublished", "NotReported", "Unknown"} <= {
        one.heading for one in LOOKED_UP
    }
    assert len(LOOKED_UP) == len({one.heading for one in LOOKED_UP}) > 60
    assert {one.heading for one in LOOKED_UP} <= set(PARTED) <= SECTIONS


@pytest.mark.parametrize("section", LOOKED_UP, ids=_heading)
def test_what_to_type_is_a_command_or_leads_to_one(section):
    says = section.point("Type")
    commands = [one for one in [*fenced(says), *spans(says)] if " " in one]
    leads = re.search(r"\]\((?:#|[A-Z]+\.md)", says)
    assert commands or leads or says.startswith("Nothing"), "neither a command nor a link to one"


# --- what is seen -----------------------------------------------------------------------------------

MESSAGES = real_messages.messages()


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The rows of every code, as a campaign has published them."""
    return real_messages.rows(tmp_path_factory.mktemp("rows"))


def _matches(quoted, message):
    """Whether *quoted* is *message*, with … for what differs from case to case; one that says nothing is no quote."""
    assert re.search(r"\w", quoted)
    return re.fullmatch(".*".join(map(re.escape, quoted.split("…"))), message, flags=re.DOTALL) is not None


def _quotes(section):
    """What the section quotes of a message: all text with blanks under You see, and text with … under Why."""
    seen = [one for one in spans(section.point("You see")) if " " in one]
    return seen, [one for one in spans(section.point("Why")) if "…" in one]


@pytest.mark.parametrize(
    ("quoted", "message", "is_it"),
    [
        ("a … b", "a long b", True),
        ("a … b", "a long b.", False),
        ("… (b).", "a\n (b).", True),
        ("a.b", "axb", False),
    ],
)
def test_a_quote_is_known_when_seen(quoted, message, is_it):
    assert _matches(quoted, message) is is_it


@pytest.mark.parametrize("error", sorted(set(ERRORS) - set(_GROUPS)))
def test_an_errors_section_quotes_the_message_that_its_class_makes(error):
    messages = MESSAGES[error]
    seen, why = _quotes(PARTED[error])
    if error in {one.value for one in OurCode}:
        seen = [one for one in seen if one.startswith("The result file")]  # the rest is of the row
    assert seen, "no message is quoted"
    for quoted in [*seen, *why]:
        assert any(_matches(quoted, one) for one in messages), f"{quoted!r} is none of {messages}"


def test_details_of_the_samples_are_what_the_core_writes():
    written = literals("include")
    assert [one for one in real_messages.DETAILS if one not in written] == []


def test_messages_stand_for_every_error_and_no_other():
    assert set(MESSAGES) == set(ERRORS) - set(_GROUPS)


CODES = [one for one in LOOKED_UP if one.part.startswith("Reasons of ")]


def _also(section):
    """Further codes that the section speaks for."""
    _, _, rest = section.point("You see").partition("So too with")
    return spans(rest)


@pytest.mark.parametrize("section", CODES, ids=_heading)
def test_a_codes_section_shows_the_row_that_is_published(section, rows):
    """Outcome, wording and whether it can be tried again, for each code that the section speaks for."""
    says = section.point("You see")
    quotes = [
        one for one in spans(says) if " " in one and not any(_matches(one, m) for m in _errors_of(section))
    ]
    for code in (section.heading, *_also(section)):
        of_code = rows[code]
        assert {one.outcome for one in of_code} == set(spans(says)) & {"failed", "missing"}, code
        told = re.findall(r"\b(true|false)\b", re.sub(r"`[^`]*`", "", says))
        assert {one.can_retry for one in of_code} == {one == "true" for one in told}, code
        for quoted in quotes:
            assert any(_matches(quoted, one.message) for one in of_code), f"{quoted!r} is none of {of_code}"
    assert quotes or not section.part.endswith("ours"), "no message is quoted"


def _errors_of(section):
    return MESSAGES.get(section.heading, ())


@pytest.mark.parametrize("code", [one.code for one in KNOWN])
def test_every_code_with_a_class_is_a_heading_or_spoken_for_by_one(code):
    assert [one.heading for one in CODES if code == one.heading or code in _also(one)] != []
