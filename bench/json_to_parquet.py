"""Result files into Parquet as others do it: pandas, DuckDB, polars and pyarrow, each with its own defaults, in Snappy as ours."""

from __future__ import annotations

import json
from pathlib import Path


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
            pd.concat(frames).to_parquet(out / f"{name}.parquet")


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
    ).to_parquet(out / "transcripts.parquet")
    table = pd.json_normalize(phrases)
    table.drop(columns=["words", "displayWords"], errors="ignore").to_parquet(out / "phrases.parquet")
    for name in ("words", "displayWords"):
        having = [one for one in phrases if one.get(name)]
        if having:
            pd.json_normalize(
                having, record_path=name, meta=["file", "channel", "phrase_index"], record_prefix="word."
            ).to_parquet(out / f"{name}.parquet")


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
        options = "(FORMAT parquet, COMPRESSION snappy)"
        for name, query in {
            "transcripts": "SELECT source, durationInTicks, unnest(combinedRecognizedPhrases, recursive := true) FROM files",
            "phrases": "SELECT * EXCLUDE (best), best.confidence, best.lexical, best.itn, best.maskedITN, best.display FROM phrases",
            "words": "SELECT source, channel, phrase_index, unnest(best.words, recursive := true) FROM phrases",
            "display_words": "SELECT source, channel, phrase_index, unnest(best.displayWords, recursive := true) FROM phrases",
        }.items():
            db.execute(f"COPY ({query}) TO '{out / name}.parquet' {options}")


def polars_json(paths: list[Path], out: Path) -> None:
    """Every file a text that is decoded into typed structs, then exploded level by level."""
    import polars as pl

    forms = dict.fromkeys(("lexical", "itn", "maskedITN", "display"), pl.String)
    times = {"offsetInTicks": pl.Float64, "durationInTicks": pl.Float64}
    word = pl.Struct({"word": pl.String, **times, "confidence": pl.Float64})
    shown = pl.Struct({"displayText": pl.String, **times})
    best = pl.Struct(
        {"confidence": pl.Float64, **forms, "words": pl.List(word), "displayWords": pl.List(shown)}
    )
    phrase = pl.Struct(
        {"recognitionStatus": pl.String, "channel": pl.Int32, "speaker": pl.Int32, "locale": pl.String}
        | times
        | {"nBest": pl.List(best)}
    )
    document = pl.Struct(
        {
            "source": pl.String,
            "durationInTicks": pl.Float64,
            "combinedRecognizedPhrases": pl.List(pl.Struct({"channel": pl.Int32, **forms})),
            "recognizedPhrases": pl.List(phrase),
        }
    )
    texts = pl.Series("file", [path.read_bytes().decode() for path in paths])
    files = texts.str.json_decode(document).struct.unnest()
    transcripts = files.select("source", "durationInTicks", "combinedRecognizedPhrases")
    transcripts.explode("combinedRecognizedPhrases").unnest("combinedRecognizedPhrases").write_parquet(
        out / "transcripts.parquet", compression="snappy"
    )
    phrases = (
        files.select("source", pl.col("recognizedPhrases").alias("phrase"))
        .explode("phrase")
        .with_row_index("phrase_index")
        .unnest("phrase")
        .explode("nBest")
        .unnest("nBest")
        .sort("phrase_index", "confidence", descending=[False, True], maintain_order=True)
        .unique("phrase_index", keep="first", maintain_order=True)
    )
    phrases.drop("words", "displayWords").write_parquet(out / "phrases.parquet", compression="snappy")
    for name in ("words", "displayWords"):
        having = phrases.select("source", "channel", "phrase_index", name).filter(pl.col(name).is_not_null())
        having.explode(name).unnest(name).write_parquet(out / f"{name}.parquet", compression="snappy")


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
        pq.write_table(pa.table({**keys, **columns}), out / f"{name}.parquet")

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
