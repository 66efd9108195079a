"""The demo is right only if every recording ended as it should and was heard well enough."""

from pathlib import Path

import pytest

from local.expected import ExpectedChannel, Outcome, judge, read_expected

EXPECTED = [
    ExpectedChannel("call.ogg", 0, "Good morning, how can I help you today?", "transcribed"),
    ExpectedChannel("call.ogg", 1, "There is water on the floor of my kitchen.", "transcribed"),
    ExpectedChannel("silent.ogg", 0, "", "transcribed"),
    ExpectedChannel("broken.m4a", 0, "", "failed"),
]


def right(**changed):
    outcomes = {
        "call.ogg": Outcome("transcribed", "", {0: EXPECTED[0].text, 1: EXPECTED[1].text}),
        "silent.ogg": Outcome("transcribed", "", {}),
        "broken.m4a": Outcome("failed", "InvalidData: it cannot be decoded", {}),
    }
    return {**outcomes, **{name.replace("_", "."): outcome for name, outcome in changed.items()}}


def test_a_run_that_did_everything_right_has_no_problem():
    verdict = judge(EXPECTED, right())

    assert verdict.problems == ()
    assert verdict.word_errors.rate == 0
    assert set(verdict.channels) == {("call.ogg", 0), ("call.ogg", 1)}


def test_an_empty_text_of_a_silent_channel_is_right_too():
    assert judge(EXPECTED, right(silent_ogg=Outcome("transcribed", "", {0: ""}))).problems == ()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"broken_m4a": Outcome("transcribed", "", {0: "hello"})}, "should have ended as failed"),
        ({"broken_m4a": Outcome("failed", "", {})}, "without a reason"),
        ({"silent_ogg": Outcome("missing", "", {})}, "should have ended as transcribed, but is missing"),
        ({"silent_ogg": Outcome("transcribed", "", {0: "you"})}, "nobody speaks"),
        ({"other_wav": Outcome("transcribed", "", {})}, "none of the recordings"),
        ({"call_ogg": Outcome("transcribed", "", {0: EXPECTED[0].text})}, "word error rate is 52.9%"),
        # channels that were exchanged
        (
            {"call_ogg": Outcome("transcribed", "", {1: EXPECTED[0].text, 0: EXPECTED[1].text})},
            "word error rate",
        ),
    ],
)
def test_whatever_is_wrong_is_named(changed, says):
    problems = judge(EXPECTED, right(**changed)).problems

    assert any(says in problem for problem in problems), problems


def test_a_recording_that_is_not_in_the_tables_is_named():
    outcomes = right()
    del outcomes["silent.ogg"]

    assert judge(EXPECTED, outcomes).problems == ("silent.ogg is not in the table outcomes",)


def test_the_shipped_expectations_name_exactly_the_shipped_recordings():
    root = Path(__file__).parents[2] / "recordings"
    rows = read_expected(root / "expected.csv")
    files = {path.relative_to(root).as_posix() for path in (root / "calls").rglob("*") if path.is_file()}

    assert {row.path for row in rows} == files
    assert len(files) == 24
    assert len({row.path for row in rows if row.outcome == "transcribed"}) == 22
    assert len({row.path for row in rows if row.channel == 1}) >= 4
    assert sum((root / name).stat().st_size for name in files) < 3_000_000
