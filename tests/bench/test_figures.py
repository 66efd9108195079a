"""Figures are good when they reach their goal, and a table says which are not."""

from bench.figures import at_least, at_most, table, told


def test_a_figure_is_good_when_it_reaches_its_goal():
    assert at_least("speed", 20, 20.0, "times").good
    assert not at_least("speed", 20, 19.9, "times").good
    assert at_most("memory", 256, 256.0, "MB").good
    assert not at_most("memory", 256, 256.1, "MB").good
    assert told("rows", 7, "").good


def test_the_table_shows_goals_and_marks_what_missed_them():
    assert table(
        [
            at_least("speed", 20, 19.9, "times"),
            at_most("memory", 256, 148, "MB"),
            at_most("requests", 1, 0.09, "% (640 against 720,240)"),
            told("rows", 1e6, ""),
        ]
    ) == (
        "| what | goal | measured |\n"
        "|---|---:|---:|\n"
        "| speed | ≥ 20 | 19.90 times, missed |\n"
        "| memory | ≤ 256 | 148 MB |\n"
        "| requests | ≤ 1 % | 0.09 % (640 against 720,240) |\n"
        "| rows | | 1,000,000 |"
    )
