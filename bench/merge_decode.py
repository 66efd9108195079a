"""CPU and memory of turning result files into Parquet parts, beside pandas, DuckDB and pyarrow in the same run.

    python bench/merge_decode.py                        # the ratios
    python bench/merge_decode.py --memory 1000 20000    # peak memory at two sizes

The corpus is generated: result files as the service writes them, with and without word times, from a fixed seed.
Every figure is CPU time (user + system) of a process of its own, imports not counted, the least of the rounds; files are
read from a warm disk cache.
The alternatives get the whole corpus or the first files of it and are compared per byte of JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "include"))

VOCABULARY = (  # noqa: SIM905
    "the a to and of in that it is was for you we on with as have not be at this but they what all can will there if "
    "about which when make like time just know take people into year your good some could them see other than then "
    "now look only come its over think also back after use two how our work first well way even new want because any "
    "account number invoice address delivery order payment please confirm customer morning afternoon question answer "
    "manager department transfer appointment Tuesday Wednesday weather telephone computer password email schedule"
).split()
TICKS = 10_000


def iso(ms: int) -> str:
    return f"PT{ms / 1000:g}S"


def timed(offset_ms: int, duration_ms: int) -> dict:
    return {
        "offset": iso(offset_ms),
        "duration": iso(duration_ms),
        "offsetInTicks": float(offset_ms * TICKS),
        "durationInTicks": float(duration_ms * TICKS),
        "offsetMilliseconds": offset_ms,
        "durationMilliseconds": duration_ms,
    }


def result_file(rng: random.Random, index: int, *, words: bool) -> dict:
    """A call of about 60 phrases on one or two channels."""
    channels = rng.choice((1, 2))
    with_display = rng.random() < 0.5
    phrases, said, clock = [], {channel: [] for channel in range(channels)}, 0
    for _ in range(max(1, int(rng.gauss(62, 18)))):
        spoken = rng.choices(VOCABULARY, k=max(1, int(rng.gauss(12, 5))))
        channel = rng.randrange(channels)
        start, lexical_words, display_words = clock, [], []
        for position, word in enumerate(spoken):
            duration_ms = 10 * rng.randint(8, 60)
            shown = (
                word.capitalize() if position == 0 else word + ("." if position == len(spoken) - 1 else "")
            )
            lexical_words.append(
                {"word": word, **timed(clock, duration_ms), "confidence": round(rng.uniform(0.4, 1), 7)}
            )
            display_words.append({"displayText": shown, **timed(clock, duration_ms)})
            clock += duration_ms
        lexical = " ".join(spoken)
        display = lexical.capitalize() + "."
        best = {
            "confidence": round(rng.uniform(0.4, 1), 7),
            "lexical": lexical,
            "itn": lexical,
            "maskedITN": lexical,
            "display": display,
        }
        if words:
            best["words"] = lexical_words
            if with_display:
                best["displayWords"] = display_words
        phrases.append(
            {
                "recognitionStatus": "Success",
                "channel": channel,
                **timed(start, clock - start),
                "nBest": [best],
            }
        )
        said[channel].append((lexical, display))
        clock += 10 * rng.randint(1, 150)
    return {
        "source": f"https://account.blob.core.windows.net/audio/2026/11/01/call-{index:07}.wav?sv=2024&sig=x",
        "timestamp": "2026-11-01T10:00:00Z",
        "durationInTicks": clock * TICKS,
        "durationMilliseconds": clock,
        "duration": iso(clock),
        "combinedRecognizedPhrases": [
            {
                "channel": channel,
                **{form: " ".join(one for one, _ in texts) for form in ("lexical", "itn", "maskedITN")},
                "display": " ".join(one for _, one in texts),
            }
            for channel, texts in said.items()
        ],
        "recognizedPhrases": phrases,
    }


def corpus(folder: Path, files: int, *, words: bool) -> list[Path]:
    rng = random.Random(20261101)
    folder.mkdir(parents=True)
    paths = []
    for index in range(files):
        path = folder / f"{index:07}.json"
        path.write_text(json.dumps(result_file(rng, index, words=words), separators=(",", ":")))
        paths.append(path)
    return paths


def ours(paths: list[Path], out: Path) -> None:
    from speech_backfill.tables.parts import PartWriter

    with PartWriter(out) as writer:
        for index, path in enumerate(paths):
            writer.add(
                f"{index:032x}", f"https://account.blob.core.windows.net/audio/{path.name}", path.read_bytes()
            )


def pandas_per_file(paths: list[Path], out: Path) -> None:
    """What one writes first: json_normalize on every level of every file, concat, to_parquet."""
    import pandas as pd

    tables: dict[str, list] = {"transcripts": [], "phrases": [], "words": [], "displayWords": []}
    for path in paths:
        document = json.loads(path.read_bytes())
        phrases = document["recognizedPhrases"]
        for index, phrase in enumerate(phrases):
            phrase["phrase_index"] = index
            phrase["nBest"] = [max(phrase["nBest"], key=lambda one: one["confidence"])]
        tables["transcripts"].append(
            pd.json_normalize(document, "combinedRecognizedPhrases", ["source", "durationMilliseconds"])
        )
        keys = ["phrase_index", "channel", "offsetMilliseconds", "durationMilliseconds", "recognitionStatus"]
        best = pd.json_normalize(phrases, "nBest", keys)
        tables["phrases"].append(
            best.drop(columns=["words", "displayWords"], errors="ignore").assign(source=document["source"])
        )
        for name in ("words", "displayWords"):
            if name in best:
                words = pd.json_normalize(phrases, ["nBest", name], ["phrase_index", "channel"])
                tables[name].append(words.assign(source=document["source"]))
    for name, frames in tables.items():
        if frames:
            pd.concat(frames).to_parquet(out / f"{name}.parquet", compression="zstd")


def pandas_in_bulk(paths: list[Path], out: Path) -> None:
    """What a practised hand writes: one json_normalize per level over all files, which holds them all in memory."""
    import pandas as pd

    files, phrases = [], []
    for path in paths:
        document = json.loads(path.read_bytes())
        files.append(document)
        for index, phrase in enumerate(document.pop("recognizedPhrases")):
            best = max(phrase.pop("nBest"), key=lambda one: one["confidence"])
            phrases.append({"file": path.name, "phrase_index": index, **phrase, **best})
    pd.json_normalize(
        files, record_path="combinedRecognizedPhrases", meta=["source", "durationMilliseconds"]
    ).to_parquet(out / "transcripts.parquet", compression="zstd")
    table = pd.json_normalize(phrases)
    table.drop(columns=["words", "displayWords"], errors="ignore").to_parquet(
        out / "phrases.parquet", compression="zstd"
    )
    for name in ("words", "displayWords"):
        having = [one for one in phrases if one.get(name)]
        if having:
            pd.json_normalize(
                having, record_path=name, meta=["file", "channel", "phrase_index"], record_prefix="word."
            ).to_parquet(out / f"{name}.parquet", compression="zstd")


def duckdb_read_json(paths: list[Path], out: Path) -> None:
    import duckdb

    with duckdb.connect(config={"threads": 1}) as db:
        db.execute("SET enable_progress_bar = false")
        word = "STRUCT(word VARCHAR, offsetInTicks DOUBLE, durationInTicks DOUBLE, confidence DOUBLE)[]"
        shown = "STRUCT(displayText VARCHAR, offsetInTicks DOUBLE, durationInTicks DOUBLE)[]"
        forms = "lexical VARCHAR, itn VARCHAR, maskedITN VARCHAR, display VARCHAR"
        best = f"STRUCT(confidence DOUBLE, {forms}, words {word}, displayWords {shown})[]"
        phrase = (
            f"STRUCT(recognitionStatus VARCHAR, channel INTEGER, speaker INTEGER, locale VARCHAR, offsetInTicks DOUBLE, "
            f"durationInTicks DOUBLE, nBest {best})[]"
        )
        columns = (
            f"{{source: 'VARCHAR', durationInTicks: 'DOUBLE', "
            f"combinedRecognizedPhrases: 'STRUCT(channel INTEGER, {forms})[]', recognizedPhrases: '{phrase}'}}"
        )
        db.execute(
            f"CREATE TEMP TABLE files AS SELECT * FROM read_json($paths, columns = {columns}, format = 'unstructured', "
            "maximum_object_size = 100000000)",
            {"paths": [str(path) for path in paths]},
        )
        db.execute(
            "CREATE TEMP TABLE phrases AS SELECT source, i AS phrase_index, p.* EXCLUDE (nBest), "
            "list_reduce(p.nBest, lambda x, y: CASE WHEN y.confidence > x.confidence THEN y ELSE x END) AS best FROM "
            "(SELECT source, unnest(recognizedPhrases) AS p, generate_subscripts(recognizedPhrases, 1) AS i FROM files)"
        )
        options = "(FORMAT parquet, COMPRESSION zstd)"
        for name, query in {
            "transcripts": "SELECT source, durationInTicks, unnest(combinedRecognizedPhrases, recursive := true) FROM files",
            "phrases": "SELECT * EXCLUDE (best), best.confidence, best.lexical, best.itn, best.maskedITN, best.display FROM phrases",
            "words": "SELECT source, channel, phrase_index, unnest(best.words, recursive := true) FROM phrases",
            "display_words": "SELECT source, channel, phrase_index, unnest(best.displayWords, recursive := true) FROM phrases",
        }.items():
            db.execute(f"COPY ({query}) TO '{out / name}.parquet' {options}")


def pyarrow_json(paths: list[Path], out: Path) -> None:
    """Every file a line of one JSON stream (the corpus has no line breaks), then flattened."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.json as pj
    import pyarrow.parquet as pq

    stream = b"\n".join(path.read_bytes() for path in paths)
    table = pj.read_json(
        pa.py_buffer(stream),
        read_options=pj.ReadOptions(use_threads=False, block_size=max(32 << 20, len(stream) // 8)),
    ).combine_chunks()

    def flat(parent: pa.Array, keys: dict[str, pa.Array]) -> tuple[pa.Array, dict[str, pa.Array]]:
        index = pc.list_parent_indices(parent)
        return pc.list_flatten(parent), {name: key.take(index) for name, key in keys.items()}

    def write(
        name: str, struct: pa.Array, keys: dict[str, pa.Array], *, without: tuple[str, ...] = ()
    ) -> None:
        columns = {field.name: struct.field(field.name) for field in struct.type if field.name not in without}
        pq.write_table(
            pa.table({**keys, **columns}), out / f"{name}.parquet", compression="zstd", compression_level=3
        )

    def column(name: str) -> pa.Array:
        return table[name].combine_chunks() if table[name].num_chunks != 1 else table[name].chunk(0)

    source = {"source": column("source").dictionary_encode()}
    write("transcripts", *flat(column("combinedRecognizedPhrases"), source))
    phrases, keys = flat(column("recognizedPhrases"), source)
    keys["phrase"] = pa.array(np.arange(len(phrases), dtype=np.int32))
    best, best_keys = flat(phrases.field("nBest"), keys)
    write("phrases", phrases, keys, without=("nBest",))
    write("best", best, best_keys, without=("words", "displayWords"))
    for name in ("words", "displayWords"):
        if name in [field.name for field in best.type]:
            write(name, *flat(best.field(name), best_keys))


def floor(paths: list[Path]) -> None:
    """Read and parse into typed values, and nothing else; the write is timed apart."""
    from speech_backfill.results.decode import decode_result

    for path in paths:
        decode_result(path.read_bytes())


def default_write(tables: dict, out: Path) -> None:
    import pyarrow.parquet as pq

    for name, table in tables.items():
        pq.write_table(table, out / f"{name}.parquet", compression="zstd", compression_level=3)


OURS = "speech_backfill"
SLOW = ("pandas, per file", "pandas, in bulk")
FLOOR = ("floor: read and parse", "floor: Parquet write")
CANDIDATES = (OURS, *SLOW, "DuckDB read_json", "pyarrow.json", *FLOOR)


def candidate(name: str, paths: list[Path], out: Path) -> Callable[[], None]:
    """The work of a candidate, ready to run: its imports are done and paid for."""
    match name:
        case "speech_backfill":
            work, warm = ours, paths[:2]
        case "pandas, per file":
            work, warm = pandas_per_file, paths[:2]
        case "pandas, in bulk":
            work, warm = pandas_in_bulk, paths[:2]
        case "DuckDB read_json":
            work, warm = duckdb_read_json, paths[:2]
        case "pyarrow.json":
            work, warm = pyarrow_json, paths[:2]
        case "floor: read and parse":
            return lambda: floor(paths)
        case _:
            import pyarrow.parquet as pq

            ours(paths, out)
            tables = {path.stem: pq.read_table(path) for path in out.glob("*.parquet")}
            return lambda: default_write(tables, out)
    work(warm, out)
    return lambda: work(paths, out)


def cpu_seconds(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def measure(files: int, slow_files: int, rounds: int, folder: Path, *, words: bool) -> dict[str, float]:
    """CPU seconds per MB of every candidate, each in its own process, all of them in every round."""
    paths = corpus(folder, files, words=words)
    sizes = [path.stat().st_size for path in paths]
    cost = dict.fromkeys(CANDIDATES, float("inf"))
    for _ in range(rounds):
        for name in CANDIDATES:
            used = slow_files if name in SLOW else files
            ran = subprocess.run(
                [
                    sys.executable,
                    __file__,
                    "--candidate",
                    name,
                    "--files",
                    str(used),
                    "--folder",
                    str(folder),
                ],
                check=True,
                capture_output=True,
                text=True,
            )
            cost[name] = min(cost[name], float(ran.stdout) / (sum(sizes[:used]) / 1e6))
    mine = cost[OURS]
    print(
        f"\n{'with' if words else 'without'} word times: {files:,} result files, {sum(sizes) / 1e6:,.0f} MB of JSON"
    )
    for name in CANDIDATES:
        print(f"  {name:24} {1 / cost[name]:8.1f} MB per CPU-second   {cost[name] / mine:6.2f} times our CPU")
    least = sum(cost[name] for name in FLOOR)
    print(f"  share of the floor (read + parse + write): {least / mine:.2f}")
    return {
        "pandas_ratio": cost["pandas, per file"] / mine,
        "pandas_in_bulk_ratio": cost["pandas, in bulk"] / mine,
        "best_engine_ratio": min(cost["DuckDB read_json"], cost["pyarrow.json"]) / mine,
        "floor_share": least / mine,
    }


def memory(sizes: list[int], folder: Path) -> None:
    """Peak memory of a process that merges N files; a corpus of 500 is read again and again."""
    for words in (True, False):
        base = folder / f"memory-{words}"
        corpus(base, 500, words=words)
        print(f"\npeak memory {'with' if words else 'without'} word times")
        for size in sizes:
            ran = subprocess.run(
                [sys.executable, __file__, "--peak-of", str(size), "--folder", str(base)],
                check=True,
                capture_output=True,
                text=True,
            )
            print(f"  {size:9,} result files: {ran.stdout.strip()}")


def peak(files: int, folder: Path) -> None:
    paths = sorted(folder.glob("*.json"))
    with tempfile.TemporaryDirectory() as out:
        started = time.process_time()
        ours([paths[index % len(paths)] for index in range(files)], Path(out))
        spent = time.process_time() - started
    mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{mb:.0f} MB, {spent:.1f} CPU-s, pandas imported: {'pandas' in sys.modules}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=300, help="result files per corpus")
    parser.add_argument("--pandas-files", type=int, default=40, help="how many of them pandas gets")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--memory", type=int, nargs="+", metavar="FILES", help="measure peak memory at these sizes instead"
    )
    parser.add_argument("--json", type=Path, help="write the ratios to this file, too")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--candidate", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.candidate is not None:
        with tempfile.TemporaryDirectory() as out:
            paths = sorted(given.folder.glob("*.json"))[: given.files]
            work = candidate(given.candidate, paths, Path(out))
            print(min(cpu_seconds(work) for _ in range(2)))
        return 0
    if given.peak_of is not None:
        peak(given.peak_of, given.folder)
        return 0
    import pandas as pd
    import pyarrow as pa

    print(
        f"Python {platform.python_version()}, pandas {pd.__version__}, pyarrow {pa.__version__}, {platform.machine()}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        if given.memory:
            memory(given.memory, Path(scratch))
            return 0
        ratios = {
            name: measure(
                given.files * factor,
                given.pandas_files * factor,
                given.rounds,
                Path(scratch) / name,
                words=words,
            )
            for name, words, factor in (("words", True, 1), ("no words", False, 3))
        }
    if given.json:
        given.json.write_text(json.dumps(ratios, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
