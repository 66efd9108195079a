"""The contrast counts what the service's books and the tables say, and plays what its table names."""

import pytest

from bench.contrast_schedule import schedule
from bench.contrast_score import Score, Tables, due_seconds, score, text, total

FILES = ("a.wav", "b.wav", "c.wav")
SECONDS = {"a.wav": 10.0, "b.wav": 20.0, "c.wav": 30.0}
WHOLE = Tables([(file, "transcribed") for file in FILES], [(file, 0) for file in FILES])


def judged(tables=WHOLE, *, duplicates=None, billed=60.0, right=None):
    right = right or {}
    service = {"duplicates": duplicates or {}, "billed_audio_seconds": billed}
    return score(FILES, tables, service, right=right, due=due_seconds(SECONDS, right))


def test_every_file_once_and_paid_once_is_clean():
    assert judged() == Score()
    assert judged().clean


def test_of_three_transcriptions_under_one_name_two_are_duplicates_and_their_audio_is_extra():
    found = judged(duplicates={"chunk": 3}, billed=120.0)
    assert (found.duplicates, found.extra_seconds) == (2, 60.0)
    assert not found.clean


def test_a_file_without_an_outcome_is_lost_and_one_with_a_wrong_failure_is_given_up():
    tables = Tables([("a.wav", "transcribed"), ("b.wav", "failed")], [("a.wav", 0)])
    found = judged(tables)
    assert (found.lost, found.given_up) == (1, 1)


def test_a_file_that_nobody_can_transcribe_is_neither_given_up_nor_due():
    tables = Tables([("a.wav", "failed"), *WHOLE.outcomes[1:]], WHOLE.transcripts[1:])
    right = {"a.wav": ("failed", "InvalidData")}
    assert judged(tables, billed=50.0, right=right) == Score()
    assert judged(tables, billed=60.0, right=right).extra_seconds == 10.0


def test_audio_whose_results_the_service_threw_away_is_due_all_the_same():
    assert due_seconds(SECONDS, {"a.wav": ("missing", "ResultsPurged")}) == 60.0


@pytest.mark.parametrize(
    "tables",
    [
        Tables([*WHOLE.outcomes, ("a.wav", "transcribed")], WHOLE.transcripts),
        Tables(WHOLE.outcomes, [*WHOLE.transcripts, ("a.wav", 0)]),
        Tables(WHOLE.outcomes, WHOLE.transcripts[1:]),
    ],
    ids=["outcome twice", "channel twice", "no text"],
)
def test_a_second_row_and_a_missing_text_are_wrong_rows(tables):
    assert judged(tables).wrong_rows == 1


def test_a_command_that_never_succeeds_is_not_clean_whatever_it_wrote():
    assert not Score(done=False).clean
    assert not total([Score(), Score(done=False)]).clean


def test_the_table_shows_the_clients_side_by_side_and_their_sums_below():
    rows = [
        ("calm", [Score(), Score()]),
        ("a kill", [Score(duplicates=1, extra_seconds=60.4, lost=2, starts=2, done=False), Score(starts=2)]),
    ]
    above, head, _, calm, kill, _, sums = text(("they", "we"), rows).splitlines()
    assert above.split() == ["|", "they", "|", "we"]
    assert [one.split() for one in head.split("  |")] == [
        ["trouble"],
        *[["duplicates", "extra", "s", "lost", "given", "up", "wrong", "rows", "starts"]] * 2,
    ]
    assert [" ".join(line.split()) for line in (calm, kill, sums)] == [
        "calm | 0 0 0 0 0 1 | 0 0 0 0 0 1",
        "a kill | 1 60 2 0 0 never | 0 0 0 0 0 2",
        "all | 1 60 2 0 0 3 | 0 0 0 0 0 3",
    ]
    # Both groups stand below their heads.
    assert {line.index("|") for line in (above, head, calm, kill, sums)} == {above.index("|")}
    assert {line.rindex("|") for line in (above, head, calm, kill, sums)} == {above.rindex("|")}


def test_a_seed_draws_the_same_schedule_each_time_and_every_row_has_a_name_of_its_own():
    assert list(schedule(3)) == list(schedule(3)) != list(schedule(4))
    names = [row.trouble.name for row in schedule(3)]
    assert len(set(names)) == len(names)


def test_both_clients_are_killed_in_the_same_rows():
    assert [row.ours is None for row in schedule(3)] == [row.theirs is None for row in schedule(3)]
