"""What a transcript sums up of its phrases, and that rows do not depend on how the files fell into batches."""

import json

import pyarrow.parquet as pq
import pytest

from speech_backfill.results.decode import decode_result
from speech_backfill.tables.batches import Batch
from speech_backfill.tables.parts import PartWriter
from speech_backfill.tables.result_rows import PhraseRows, TranscriptRows, WordRows


def phrase(ticks=10_000, confidence=0.5, *, channel=0, locale=None, **best):
    alternative = {"confidence": confidence, "display": "x", **best}
    given = {"channel": channel, "offsetInTicks": 0, "durationInTicks": ticks, "nBest": [alternative]}
    return given | ({} if locale is None else {"locale": locale})


def raw(*phrases, **top):
    return json.dumps({"source": "https://x/y.wav", "recognizedPhrases": phrases, **top}).encode()


def transcripts(tmp_path, *raws, **options):
    with PartWriter(tmp_path, **options) as writer:
        for index, one in enumerate(raws):
            writer.add(f"{index}", f"https://x/{index}", one)
    return pq.read_table(writer.close()["transcripts"].path).to_pylist()


@pytest.mark.parametrize(
    ("phrases", "mean"),
    [
        ([phrase(30_000, 0.9), phrase(10_000, 0.5)], 0.8),
        ([phrase(30_000, 0.9), phrase(10_000, None)], 0.9),
        ([phrase(0, 0.9), phrase(0, 0.5)], 0.7),
        ([phrase(-5, 0.9), phrase(1e30, 0.1), phrase(10, 0.5)], 0.5),
        ([phrase(-10_000, 0.9), phrase(10_000, 0.5)], 0.5),
        ([phrase(30_000, None), phrase(0, 0.5)], 0.5),
        ([phrase(0, None)], None),
    ],
)
def test_confidence_is_weighted_by_duration_and_leaves_out_what_is_unknown(tmp_path, phrases, mean):
    (row,) = transcripts(tmp_path, raw(*phrases))
    assert row["confidence"] == (None if mean is None else pytest.approx(mean))


def test_an_absurd_confidence_makes_its_transcripts_unknown_and_no_others(tmp_path):
    first, second = transcripts(tmp_path, raw(phrase(1e15, 1e300)), raw(phrase(10, 0.5)))
    assert (first["confidence"], second["confidence"]) == (None, 0.5)


def test_speech_time_leaves_out_durations_beyond_belief(tmp_path):
    (row,) = transcripts(tmp_path, raw(phrase(20_000), phrase(1e30), phrase(-10_000)))
    assert (row["speech_ms"], row["phrase_count"]) == (2, 3)


def test_speech_time_beyond_belief_is_none_at_all(tmp_path):
    (row,) = transcripts(tmp_path, raw(phrase(9e15), phrase(9e15)))
    assert row["speech_ms"] == 0


def test_a_channel_with_combined_text_only_has_no_speech_and_no_confidence(tmp_path):
    spoken, silent = transcripts(
        tmp_path,
        raw(phrase(channel=1), combinedRecognizedPhrases=[{"channel": 1}, {"channel": 2, "display": "y"}]),
    )
    assert (spoken["channel"], spoken["phrase_count"], spoken["confidence"]) == (1, 1, 0.5)
    assert (silent["channel"], silent["phrase_count"], silent["confidence"]) == (2, 0, None)


@pytest.mark.parametrize("batch_bytes", [1, 1 << 20])
def test_every_channel_of_every_file_gets_its_own_sums_and_locale(tmp_path, batch_bytes):
    rows = transcripts(
        tmp_path,
        raw(phrase(10_000, 0.25, channel=7), phrase(20_000, 0.5, channel=2)),
        raw(),
        raw(phrase(30_000, 0.75, channel=2, locale="de-DE"), phrase(50_000, 1, locale="en-US")),
        batch_bytes=batch_bytes,
    )
    assert [(row["file_id"], row["channel"], row["locale"]) for row in rows] == [
        ("0", 2, None),
        ("0", 7, None),
        ("2", 0, "en-US"),
        ("2", 2, "de-DE"),
    ]
    assert [(row["speech_ms"], row["confidence"]) for row in rows] == [(2, 0.5), (1, 0.25), (5, 1), (3, 0.75)]


@pytest.mark.parametrize("batch_bytes", [1, 400, 1 << 20])
def test_a_file_without_words_between_files_with_words_shifts_no_word(tmp_path, batch_bytes):
    word = {"word": "w", "offsetInTicks": 0, "durationInTicks": 0}
    with PartWriter(tmp_path, batch_bytes=batch_bytes) as writer:
        for index, count in enumerate((1, 0, 2)):
            writer.add(f"{index}", "u", raw(phrase(words=[word] * count), phrase(displayWords=[])))
    words = pq.read_table(writer.close()["words"].path).to_pylist()
    assert [(one["file_id"], one["phrase_index"], one["word_index"]) for one in words] == [
        ("0", 0, 0),
        ("2", 0, 0),
        ("2", 0, 1),
    ]


@pytest.mark.parametrize("rows", [TranscriptRows, PhraseRows, WordRows])
def test_the_size_of_growing_rows_is_near_that_of_their_columns(rows):
    word = {"word": "wörd", "offsetInTicks": 0, "durationInTicks": 0}
    batch = Batch()
    for _ in range(10):
        batch.add(decode_result(raw(*[phrase(display="ä" * 100, words=[word] * 20)] * 50)))
    batch.end()
    growing = rows()
    growing.take(batch)
    columns = growing.columns().values()
    size = sum(column.nbytes for column in columns)
    assert size / 2 < growing.size_bytes < size * 2


def test_a_service_that_says_something_new_in_every_phrase_fills_a_row_group(tmp_path):
    files = [raw(phrase() | {"recognitionStatus": f"{index}" * 5_000}) for index in range(10)]
    with PartWriter(tmp_path, batch_bytes=1, row_group_bytes=20_000) as writer:
        for index, one in enumerate(files):
            writer.add(f"{index}", "u", one)
    assert pq.read_metadata(writer.close()["phrases"].path).num_row_groups > 1
