"""The arithmetic of scale multiplies what was measured, and says so where nothing was."""

from bench.figures import told
from bench.record import Measured
from bench.scale import arithmetic


def line(kept, what, **counts):
    found = arithmetic(kept, **{"files": 2_000_000, "regions": 4, **counts})
    return next(one.comes_to for one in found if one.what == what)


def recorded(part, *figures):
    return {part: Measured(part, "make bench", "2026-11-25 01:00", 1.0, 0.0, "", "", figures)}


def test_rows_and_task_instances_follow_from_chunks_and_partitions():
    assert line({}, "transcriptions") == "2,000"
    assert line({}, "rows in the ledger") == "6,002"
    assert line({}, "task instances") == "300"
    assert line({}, "task instances", files=1) == "150"


def test_more_regions_take_less_time():
    days = "the service's work in {} regions"
    assert line({}, days.format(4)) == "78 days"
    assert line({}, days.format(8), regions=8) == "39 days"


def test_what_was_not_measured_is_not_invented():
    assert line({}, "CPU of merging them") == "not recorded yet"
    assert line(recorded("merge_decode"), "CPU of merging them") == "not recorded yet"


def test_what_was_measured_is_multiplied():
    merging = told("whole merge of a shard, with word times", 10.0, "MB of JSON per CPU-second")
    # 2,000,000 files of 20 KB are 40 GB.
    assert line(recorded("merge_decode", merging), "CPU of merging them") == "1 h"
    looks = told("where a region ends 6 transcriptions in that time, status requests a day", 200, "")
    # 2,000,000 files of 67 s at five times real time are 310 days of a region.
    assert line(recorded("polling", looks), "status requests") == "62,037"
