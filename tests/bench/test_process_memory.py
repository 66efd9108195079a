from __future__ import annotations

import pytest

from bench.process_memory import PeakMemory, task_instance

FIRST = "01a21039-4268-793f-98d5-8e851d6256f3"
SECOND = "01a21039-4264-7654-81df-6bed7646568e"


class Processes:
    """A folder that looks like /proc."""

    def __init__(self, folder):
        self.folder = folder

    def set(self, pid, *, parent, mb, title, name="python"):
        entry = self.folder / str(pid)
        entry.mkdir(exist_ok=True)
        (entry / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0")
        mark = "" if mb is None else f"VmHWM:\t{mb * 1024} kB\n"
        (entry / "status").write_text(f"Name:\t{name}\nVmPeak:\t99999999 kB\n{mark}Threads:\t1\n")
        (entry / "cmdline").write_text(title + "\0" * 20)


@pytest.fixture
def processes(tmp_path):
    (tmp_path / "meminfo").write_text("")
    return Processes(tmp_path)


def test_a_task_process_is_known_by_its_title_and_all_others_by_their_service(processes):
    processes.set(1, parent=0, mb=900, title="init")
    processes.set(10, parent=1, mb=180, title="airflow scheduler")
    processes.set(11, parent=10, mb=170, title="airflow worker -- LocalExecutor: <idle>", name="a (b) c")
    processes.set(12, parent=11, mb=300, title=f"airflow worker -- {FIRST}")
    processes.set(20, parent=1, mb=90, title="airflow triggerer")
    processes.set(21, parent=20, mb=210, title="airflow triggerer")
    processes.set(30, parent=1, mb=4000, title="somebody else's")
    memory = PeakMemory({10: "scheduler", 20: "triggerer"}, proc=processes.folder)

    memory.look()

    assert memory.peaks.services == {"scheduler": 180, "triggerer": 210}
    assert memory.peaks.tasks == {FIRST: 300}


def test_the_peak_of_a_kind_of_task_is_the_highest_of_its_processes(processes):
    memory = PeakMemory({10: "scheduler"}, proc=processes.folder)
    processes.set(10, parent=1, mb=180, title="airflow scheduler")
    for one, mb in ((FIRST, 300), (SECOND, 280), (FIRST, 250)):
        processes.set(12, parent=10, mb=mb, title=f"airflow worker -- {one}")
        memory.look()

    assert memory.peaks.by_task({FIRST: "merge", SECOND: "merge"}) == {"merge": 300}
    assert memory.peaks.by_task({FIRST: "merge"}) == {"merge": 300, "a task unknown to Airflow": 280}


def test_a_process_that_has_ended_counts_for_nothing(processes):
    processes.set(10, parent=1, mb=None, title="airflow scheduler")
    processes.set(11, parent=10, mb=100, title="")
    (processes.folder / "11" / "status").unlink()
    memory = PeakMemory({10: "scheduler"}, proc=processes.folder)

    memory.look()

    assert memory.peaks.services == {"scheduler": 0}


@pytest.mark.parametrize(
    ("title", "found"),
    [
        (f"airflow worker -- {FIRST}", FIRST),
        ("airflow worker -- LocalExecutor: <idle>", None),
        ("airflow worker -- LocalExecutor: ExecuteTask(token='mock', ti=TaskInstanceDTO(id=...", None),
        ("/usr/bin/python -m airflow scheduler", None),
        ("", None),
    ],
)
def test_only_a_task_process_names_a_task_instance(title, found):
    assert task_instance(title) == found


def test_this_very_process_has_a_high_water_mark():
    import os

    memory = PeakMemory({os.getpid(): "tests"})
    memory.look()
    assert memory.peaks.services["tests"] > 1
