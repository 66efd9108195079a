"""What the README shows for reading tables works as it stands there."""

import pytest

from speech_backfill.store import Store
from tests.docs.documents import code_blocks, read
from tests.speech_backfill.tables.test_parts import call
from tests.speech_backfill.tables.test_read import publish

BLOCKS = code_blocks(read("README.md"), "python")


def _block(about):
    (found,) = [one for one in BLOCKS if one.startswith(f"# {about}\n")]
    return compile(found, f"README.md ({about})", "exec")


@pytest.fixture
def store(tmp_path):
    """A folder with two published partitions."""
    opened = Store.open(str(tmp_path / "store"))
    publish(opened, tmp_path, "2026-11-01", [("a", call()), ("b", call(text="Two."))])
    publish(opened, tmp_path, "2026-11-02", [("c", call())])
    return str(tmp_path / "store")


def test_the_pandas_lines_give_the_transcripts_of_a_day(store):
    names = {"store": store}
    exec(_block("pandas"), names)
    assert list(names["calls"].columns) == ["audio_url", "channel", "display"]
    assert names["calls"]["display"].tolist()[-1] == "Two."
    assert set(names["calls"]["audio_url"]) == {"https://x/a.wav", "https://x/b.wav"}


def test_the_duckdb_lines_count_the_outcomes_of_each_partition(store):
    names = {"store": store}
    exec(_block("DuckDB"), names)
    assert names["counts"] == [("2026-11-01", "transcribed", 2), ("2026-11-02", "transcribed", 1)]


def test_the_spark_lines_name_files_below_the_base_path(store):
    """Spark itself is too large to install for this: its reader is played by one that notes what it is given."""

    class Reader:
        def option(self, name, value):
            self.given = {name: value}
            return self

        def parquet(self, *files):
            return self.given, files

    class Conf:
        def set(self, name, value):
            pass

    class Spark:
        read = Reader()
        conf = Conf()

    names = {"store": store, "spark": Spark()}
    exec("from speech_backfill.tables.read import table_files", names)
    exec(_block("Spark"), names)
    given, files = names["phrases"]
    assert len(files) == 2
    assert all(one.startswith(f"{given['basePath']}/partition=") for one in files)


def test_no_python_of_the_readme_goes_untested():
    assert [one.splitlines()[0] for one in BLOCKS] == ["# pandas", "# DuckDB", "# Spark"]
