"""The audio of a plan: exact where all is read, else a sample whose stated error holds; nothing is counted twice."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from speech_backfill.durations import format_of, guessed_seconds_per_byte
from speech_backfill.plan.estimate import AudioEstimate, Format, _formats, _t95, estimate_audio, rate, shares
from speech_backfill.settings import Settings

PLAIN = Settings()


@dataclass(frozen=True)
class File:
    """An audio file as it really is, and what the manifest says of its duration."""

    name: str
    size_bytes: int
    ms: int
    said: int | None = None
    disposition: str = "submit"
    readable: bool = True


@dataclass
class World:
    """A manifest in DuckDB, and headers that can be read."""

    connection: duckdb.DuckDBPyConnection
    files: Sequence[File]
    asked: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        rows = pa.table(
            {
                "audio_url": pa.array([f"https://acct/audio/{one.name}" for one in self.files], pa.string()),
                "size_bytes": pa.array([one.size_bytes for one in self.files], pa.int64()),
                "duration_ms": pa.array([one.said for one in self.files], pa.int64()),
                "disposition": pa.array([one.disposition for one in self.files], pa.string()),
            }
        )
        self.connection.register("arrow", rows)
        self.connection.execute("CREATE OR REPLACE TABLE rows AS SELECT * FROM arrow")
        self.connection.unregister("arrow")
        self.with_ids("")

    def with_ids(self, salt: str) -> None:
        """The manifest anew, under ids that another *salt* gives."""
        self.connection.execute(
            "CREATE OR REPLACE TABLE manifest AS SELECT md5(? || audio_url) AS file_id, * FROM rows", [salt]
        )

    def read(self, urls: Sequence[str]) -> Mapping[str, int]:
        self.asked.append(list(urls))
        known = self._by_name
        names = {url: url.removeprefix("https://acct/audio/") for url in urls}
        return {url: known[name].ms for url, name in names.items() if known[name].readable}

    @cached_property
    def _by_name(self) -> dict[str, File]:
        return {one.name: one for one in self.files}

    def estimate(self, probe_files: int = 400) -> AudioEstimate:
        return estimate_audio(self.connection, self.read, Settings(probe_files=probe_files))

    def durations(self, estimate: AudioEstimate) -> dict[str, int | None]:
        """The durations that are known by name, with those that were read for the *estimate*."""
        rows = self.connection.execute("SELECT audio_url, file_id, duration_ms FROM manifest").fetchall()
        return {url.rpartition("/")[2]: estimate.durations.get(file_id, ms) for url, file_id, ms in rows}

    @property
    def to_submit(self) -> list[File]:
        return [one for one in self.files if one.disposition == "submit"]


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as made:
        yield made


def _population(seed: int, *, files: int, kinds: Sequence[tuple[str, float, float]]) -> list[File]:
    """Recordings whose lengths are as uneven as calls are, in some *kinds*: suffix, bytes a second, how much that varies."""
    chance = random.Random(seed)
    made = []
    for number in range(files):
        suffix, bytes_per_second, spread = kinds[chance.randrange(len(kinds))]
        seconds = chance.lognormvariate(4.5, 1.0) + 1
        pace = bytes_per_second * chance.lognormvariate(0, spread)
        made.append(File(f"{number}.{suffix}", int(seconds * pace), int(seconds * 1000)))
    return made


# --- exact -------------------------------------------------------------------------------------------------------


def test_few_files_are_all_read_and_the_sum_is_exact(connection: duckdb.DuckDBPyConnection) -> None:
    world = World(connection, _population(1, files=50, kinds=[("wav", 16000, 1.0), ("mp3", 4000, 0.5)]))
    made = world.estimate(probe_files=50)
    assert made.hours == pytest.approx(sum(one.ms for one in world.files) / 3_600_000)
    assert (made.error_hours, made.read, made.sampled, made.guessed) == (0, 50, 0, 0)
    assert made.seconds_per_byte == {}
    assert world.durations(made) == {one.name: one.ms for one in world.files}


def test_no_header_is_read_where_the_setting_says_so(connection: duckdb.DuckDBPyConnection) -> None:
    world = World(connection, [File("a.wav", 8000, 500), File("b.mp3", 8000, 500)])
    made = world.estimate(probe_files=0)
    assert world.asked == []
    assert made == AudioEstimate(hours=3 / 3600, guessed_hours=3 / 3600, guessed=2)
    assert world.durations(made) == {"a.wav": None, "b.mp3": None}


def test_what_the_manifest_says_is_neither_read_nor_changed(connection: duckdb.DuckDBPyConnection) -> None:
    files = [
        File("said.wav", 8000, 9999, said=1000),
        File("carried.wav", 8000, 9999, disposition="carried"),
        File("refused.wav", 8000, 9999, disposition="refused"),
        File("zero.wav", 8000, 3000, said=0),
        File("open.wav", 8000, 2000),
    ]
    world = World(connection, files)
    made = world.estimate()
    assert [sorted(one) for one in world.asked] == [
        ["https://acct/audio/open.wav", "https://acct/audio/zero.wav"]
    ]
    assert made.hours == pytest.approx(6 / 3600)
    assert (made.known, made.read) == (1, 2)
    assert world.durations(made) == {
        "said.wav": 1000,
        "carried.wav": None,
        "refused.wav": None,
        "zero.wav": 3000,
        "open.wav": 2000,
    }


def test_nothing_is_asked_where_nothing_is_unknown(connection: duckdb.DuckDBPyConnection) -> None:
    world = World(connection, [File("a.wav", 1, 1, said=7200_000)])
    assert world.estimate() == AudioEstimate(hours=2.0, known=1)
    assert world.asked == []
    assert World(connection, []).estimate() == AudioEstimate()


# --- sampled -----------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10_000),
    files=st.integers(600, 2500),
    probe_files=st.integers(80, 400),
    kinds=st.lists(
        st.tuples(
            st.sampled_from(["wav", "mp3", "opus", "m4a"]), st.floats(1000, 32_000), st.floats(0.0, 0.8)
        ),
        min_size=1,
        max_size=5,
    ),
)
@example(seed=1, files=2000, probe_files=100, kinds=[("wav", 8000, 0.0), ("wav", 64_000, 0.0)])
@example(seed=2, files=2000, probe_files=100, kinds=[("wav", 16_000, 0.0)])
def test_the_estimate_is_unbiased_and_its_error_is_as_stated(
    seed: int, files: int, probe_files: int, kinds: list[tuple[str, float, float]]
) -> None:
    population = _population(seed, files=files, kinds=kinds)
    truth = sum(one.ms for one in population) / 3_600_000
    off, held, enough, draws = [], 0, 0, 60
    with duckdb.connect(config={"threads": 1}) as connection:
        world = World(connection, population)
        for draw in range(draws):
            world.with_ids(f"{draw} ")
            made = world.estimate(probe_files)
            assert (made.read, made.guessed) == (probe_files, 0)
            off.append(made.hours - truth)
            held += abs(made.hours - truth) <= made.error_hours + 1e-9 * truth
            enough += _reserved(world, made) >= truth * (1 - 1e-9)
    # The mean of so many draws lies within four of its own errors, and a ratio's bias is of a smaller order.
    assert abs(fmean(off)) <= 4 * stdev(off) / sqrt(draws) + 0.005 * truth
    # 95 of 100, less what chance may take from sixty draws and uneven files from Student's t.
    assert held >= 0.85 * draws
    assert enough >= 0.9 * draws


def _reserved(world: World, made: AudioEstimate) -> float:
    """What budgets would reserve, in hours."""
    rates = ", ".join(f"'{name}': {value!r}" for name, value in made.seconds_per_byte.items())
    (found,) = world.connection.execute(
        f"""SELECT sum(coalesce(duration_ms / 1000, size_bytes * map {{{rates}}}[split_part(audio_url, '.', -1)]))
            FROM manifest"""
    ).fetchone()
    return found / 3600


FILES = st.builds(
    File,
    name=st.builds(
        "{}{}".format,
        st.integers(0, 10**9),
        st.sampled_from([".wav", ".WAV", ".mp3", ".opus", ".webm", "", ".a b", ".toolong"]),
    ),
    size_bytes=st.integers(0, 10**8),
    ms=st.integers(1, 10**7),
    said=st.none() | st.integers(0, 10**7),
    disposition=st.sampled_from(["submit", "submit", "carried", "elsewhere", "refused"]),
    readable=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(files=st.lists(FILES, max_size=80, unique_by=lambda one: one.name), probe_files=st.integers(0, 60))
def test_every_file_is_counted_once_and_nothing_is_more_than_its_parts(
    files: list[File], probe_files: int
) -> None:
    with duckdb.connect(config={"threads": 1}) as connection:
        world = World(connection, files)
        made = world.estimate(probe_files)
        kept = world.durations(made)
    assert made.known + made.read + made.sampled + made.guessed == len(world.to_submit)
    assert made.read <= made.asked <= probe_files
    assert made.error_hours >= 0
    assert 0 <= made.guessed_hours <= made.hours + 1e-9
    known = sum(one.said for one in world.to_submit if one.said) / 3_600_000
    read = sum(kept[one.name] or 0 for one in world.to_submit if not one.said) / 3_600_000
    assert made.hours >= (known + read) * (1 - 1e-9)
    if not made.sampled:
        assert made.hours == pytest.approx(known + read + made.guessed_hours)
    for one in files:
        assert kept[one.name] == (one.said if one.said or one.disposition != "submit" else kept[one.name])


def test_the_same_files_give_the_same_sample_in_whatever_order_they_come(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    files = _population(3, files=500, kinds=[("wav", 8000, 0.5), ("mp3", 2000, 0.5)])
    one, other = World(connection, files), World(connection, files[::-1])
    other_estimate = other.estimate(60)
    one = World(connection, files)
    assert one.estimate(60) == other_estimate
    assert one.asked == other.asked


def test_large_formats_are_drawn_more_of_and_small_ones_at_least_a_few(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    files = [File(f"{number}.wav", 1_000_000, 100_000) for number in range(900)]
    files += [File(f"{number}.mp3", 1_000, 100) for number in range(900)]
    files += [File(f"{number}.amr", 10, 1) for number in range(4)]
    world = World(connection, files)
    made = world.estimate(100)
    (asked,) = world.asked
    assert [sum(url.endswith(end) for url in asked) for end in ("wav", "mp3", "amr")] == [86, 10, 4]
    assert made.error_hours == pytest.approx(0, abs=1e-6)
    assert made.seconds_per_byte == {"wav": pytest.approx(0.0001), "mp3": pytest.approx(0.0001)}


@pytest.mark.parametrize(("long_ones", "reserved"), [(30, 0.001), (2, 0.0001)])
def test_what_is_reserved_holds_for_nineteen_of_twenty_files(
    connection: duckdb.DuckDBPyConnection, long_ones: int, reserved: float
) -> None:
    """A year of recordings that hold ten times the audio in a byte may come first; two files in a thousand may not matter."""
    files = [
        File(f"{number}.wav", 10_000, 10_000 if number % 300 < long_ones else 1_000) for number in range(900)
    ]
    made = World(connection, files).estimate(300)
    assert made.seconds_per_byte["wav"] == pytest.approx(reserved, rel=0.25)
    assert made.hours < 900 * 10 / 3600 / 4


def test_a_format_that_cannot_be_read_is_guessed_and_said_to_be(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    files = [File(f"{number}.wav", 16_000, 1000) for number in range(300)]
    files += [File(f"{number}.webm", 3_000, 77_000, readable=False) for number in range(300)]
    made = World(connection, files).estimate(100)
    assert (made.sampled, made.guessed, made.asked - made.read) == (300 - made.read, 300, 100 - made.read)
    assert made.guessed_hours == pytest.approx(300 / 3600)
    assert made.hours == pytest.approx(600 / 3600)
    assert set(made.seconds_per_byte) == {"wav"}


@pytest.mark.parametrize(("readable", "sampled"), [(60, True), (40, False)])
def test_where_most_of_a_sample_cannot_be_read_the_rest_says_nothing(
    connection: duckdb.DuckDBPyConnection, readable: int, sampled: bool
) -> None:
    files = [File(f"{number}.wav", 16_000, 1000, readable=number < readable) for number in range(100)]
    made = World(connection, files).estimate(100)
    assert (made.read, made.sampled, made.guessed) == (
        (readable, 100 - readable, 0) if sampled else (readable, 0, 100 - readable)
    )


def test_few_files_of_which_some_cannot_be_read_borrow_the_others_rate(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    files = _population(5, files=30, kinds=[("wav", 8000, 0.3)])
    files[3] = File("3.wav", files[3].size_bytes, files[3].ms, readable=False)
    made = World(connection, files).estimate()
    assert (made.read, made.sampled, made.guessed) == (29, 1, 0)
    assert abs(made.hours - sum(one.ms for one in files) / 3_600_000) <= made.error_hours
    assert made.error_hours < 0.1 * made.hours


# --- how many of each --------------------------------------------------------------------------------------------


@given(
    formats=st.lists(
        st.builds(Format, st.text("abc", max_size=3), st.integers(1, 10**6), st.integers(0, 10**12)),
        max_size=30,
        unique_by=lambda one: one.name,
    ),
    most=st.integers(0, 1000),
)
def test_as_many_are_drawn_as_may_be_and_no_more_than_there_are(formats: list[Format], most: int) -> None:
    formats.sort(key=lambda one: -one.size_bytes)
    counts = shares(formats, most)
    there = {one.name: one.files for one in formats}
    assert all(0 < count <= there[name] for name, count in counts.items())
    if sum(there.values()) <= most:
        assert counts == there
    else:
        assert sum(counts.values()) == min(most, sum(one.files for one in formats[:16]))


def test_equal_formats_are_drawn_equally() -> None:
    counts = shares([Format(name, 10_000, 10**9) for name in "abcd"], 400)
    assert counts == dict.fromkeys("abcd", 100)


# --- the arithmetic ----------------------------------------------------------------------------------------------


def test_the_rate_and_its_error_are_cochrans() -> None:
    # Five of ten files; sizes 1..5 (mean 3; all: 4), durations 2 a byte but for the last.
    found = [(1, 2.0), (2, 4.0), (3, 6.0), (4, 8.0), (5, 13.0)]
    made = rate(found, files=10, size_bytes=40)
    assert made is not None
    ratio = 33 / 15
    spread = sum((seconds - ratio * size) ** 2 for size, seconds in found) / 4
    assert made.seconds_per_byte == pytest.approx(ratio)
    assert made.standard_error_seconds == pytest.approx(sqrt(10 * 10 * 0.5 / 5 * spread) * 4 / 3)
    assert made.error_seconds == pytest.approx(2.776 * made.standard_error_seconds, rel=0.01)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(4, 2.776), (5, 2.571), (9, 2.262), (29, 2.045), (399, 1.966)]
)
def test_the_quantiles_are_students(freedom: int, quantile: float) -> None:
    assert _t95(freedom) == pytest.approx(quantile, abs=0.01)


@pytest.mark.parametrize("found", [[], [(0, 1.0)] * 20, [(10, 1.0)] * 4])
def test_too_few_files_or_no_bytes_have_no_rate(found: list[tuple[int, float]]) -> None:
    assert rate(found, files=100, size_bytes=1000) is None


@given(st.text(max_size=30).map(lambda tail: f"https://acct/audio/{tail}"))
@example("https://acct/a.WAV")
@example("https://acct/a.wav\n")
@example("https://acct.net/audio/no-suffix")
def test_sql_and_python_see_the_same_format(url: str) -> None:
    from speech_backfill.plan.estimate import _OF_FORMAT

    with duckdb.connect() as connection:
        (found,) = connection.execute(f"SELECT {_OF_FORMAT} FROM (SELECT ? AS audio_url)", [url]).fetchone()
    assert found == format_of(url)


def test_the_guess_is_the_settings_where_it_says_one() -> None:
    assert guessed_seconds_per_byte("mp3", PLAIN) == 1 / 4000
    assert guessed_seconds_per_byte("", PLAIN) == 1 / 8000
    assert guessed_seconds_per_byte("mp3", Settings(assumed_bytes_per_second=100)) == 1 / 100


def test_a_sample_of_many_formats_takes_bounded_memory(tmp_path: Path) -> None:
    # Only what is drawn comes to Python: the rest stays in DuckDB, whose memory is bounded.
    from speech_backfill.relations import relations

    with relations(tmp_path) as made:
        made.execute(
            """CREATE TABLE manifest AS
               SELECT md5(n::VARCHAR) AS file_id, 'https://acct/audio/call-' || n || '.' || (n % 1000) AS audio_url,
                      1000 + n % 77 AS size_bytes, NULL::BIGINT AS duration_ms, 'submit' AS disposition
               FROM range(1000000) t(n)"""
        )
        found = estimate_audio(made, lambda urls: dict.fromkeys(urls, 60_000), Settings(probe_files=400))
    assert (found.asked, found.read, found.sampled + found.guessed) == (400, 400, 1_000_000 - 400)


def test_suffixes_without_number_are_one_format_more(connection: duckdb.DuckDBPyConnection) -> None:
    """A hostile listing: all is counted and none is kept by its name but those with the most bytes."""
    many = [File(f"{number}.{number:05}", 8000, 1000) for number in range(3000)]
    world = World(connection, [*many, *(File(f"{number}.wav", 80_000, 5000) for number in range(40))])
    formats = _formats(connection)
    assert len(formats) == 201
    assert (formats[0].name, formats[0].files) == ("wav", 40)
    assert (sum(one.files for one in formats), sum(one.size_bytes for one in formats)) == (
        3040,
        3000 * 8000 + 40 * 80_000,
    )
    made = world.estimate()
    assert made.read + made.sampled + made.guessed == 3040
    assert all(not url.endswith("*") for urls in world.asked for url in urls)


def test_few_files_of_many_suffixes_are_all_read(connection: duckdb.DuckDBPyConnection) -> None:
    world = World(
        connection, [File(f"{n}.{n:05}", 8000, 1000 + n, readable=n not in {0, 299}) for n in range(300)]
    )
    made = world.estimate()
    assert (made.asked, made.read, made.sampled, made.guessed) == (300, 298, 0, 2)
    assert made.hours * 3600 == pytest.approx(sum(1000 + n for n in range(1, 299)) / 1000 + 2)
    assert made.seconds_per_byte == {}


def test_a_guess_is_its_format_s_own_however_many_suffixes_there_are(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    """What the plan says is what its chunks reserve, file by file."""
    many = [File(f"{n}.{n:05}", 8000, 1000) for n in range(250)]
    world = World(connection, [*many, *(File(f"{n}.amr", 10, 1000) for n in range(5)), File("a.mp3", 1, 1)])
    made = world.estimate(probe_files=0)
    reserved = [
        one.size_bytes * guessed_seconds_per_byte(format_of(f"https://a/{one.name}"), PLAIN)
        for one in world.files
    ]
    assert made.guessed == 256
    assert made.guessed_hours * 3600 == pytest.approx(sum(reserved))
