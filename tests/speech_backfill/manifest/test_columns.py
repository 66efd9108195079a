from datetime import UTC, datetime

import pytest

from speech_backfill.errors import MissingColumn
from speech_backfill.manifest.columns import RowReader
from speech_backfill.manifest.urls import CanonicalUrls
from speech_backfill.model import TranscriptionOptions


@pytest.fixture
def row(accounts):
    """One row with the columns given by name."""

    def reading(defaults=TranscriptionOptions(), uri="az://rec/a.wav", uri_column="", **cells):  # noqa: B008
        names = [uri_column or "uri", *cells]
        rows = RowReader(
            names, source="m", urls=CanonicalUrls(accounts), defaults=defaults, uri_column=uri_column
        )
        return rows.read(1, (uri, *cells.values()))

    return reading


@pytest.mark.parametrize(
    ("column", "cell", "field", "value"),
    [
        ("etag", '"0x8D"', "etag", "0x8D"),
        ("ETag", "0x8D", "etag", "0x8D"),
        ("size", "17", "size_bytes", 17),
        ("size_bytes", 17.0, "size_bytes", 17),
        ("size", "9007199254740993", "size_bytes", 9007199254740993),
        ("last_modified", "2026-11-01T00:00:00Z", "modified_at", 1793491200.0),
        ("last_modified", "2026-11-01 01:00:00+01:00", "modified_at", 1793491200.0),
        ("modified_at", "2026-11-01", "modified_at", 1793491200.0),
        ("modified_at", "Sun, 01 Nov 2026 00:00:00 GMT", "modified_at", 1793491200.0),
        ("modified_at", "1793491200", "modified_at", 1793491200.0),
        ("modified_at", 1793491200000, "modified_at", 1793491200.0),
        ("modified_at", datetime(2026, 11, 1, tzinfo=UTC), "modified_at", 1793491200.0),
        ("duration", "1.2345", "duration_ms", 1234),
        ("Duration_Seconds", 2, "duration_ms", 2000),
        ("duration_ms", "1500", "duration_ms", 1500),
    ],
)
def test_known_columns_describe_the_file(row, column, cell, field, value):
    line = row(**{column: cell})

    assert getattr(line.file, field) == value
    assert line.file.manifest_columns == {}


@pytest.mark.parametrize(
    ("cells", "field", "value"),
    [
        ({"locale": "de-DE"}, "locale", "de-DE"),
        ({"lang": " fr-FR "}, "locale", "fr-FR"),
        ({"candidate_locales": "en-US, de-DE"}, "candidate_locales", ("en-US", "de-DE")),
        ({"candidate_locales": "en-US;de-DE;en-US"}, "candidate_locales", ("en-US", "de-DE")),
        ({"candidate_locales": '["en-US","de-DE"]'}, "candidate_locales", ("en-US", "de-DE")),
        ({"candidate_locales": ["en-US", "de-DE"]}, "candidate_locales", ("en-US", "de-DE")),
        ({"channels": "1,0"}, "channels", (0, 1)),
        ({"channels": [0]}, "channels", (0,)),
        ({"channels": 1}, "channels", (1,)),
        ({"max_speakers": "3"}, "max_speakers", 3),
        ({"diarization": 2}, "max_speakers", 2),
        ({"diarization": False}, "max_speakers", None),
        ({"word_times": "Yes"}, "word_times", True),
        ({"display_word_times": True}, "display_word_times", True),
        ({"profanity": "removed"}, "profanity", "Removed"),
        ({"punctuation": "AUTOMATIC"}, "punctuation", "Automatic"),
        ({"model": "https://x/models/1"}, "model", "https://x/models/1"),
    ],
)
def test_known_columns_choose_options(row, cells, field, value):
    assert getattr(row(**cells).options, field) == value


@pytest.mark.parametrize("empty", ["", "  ", None, float("nan")])
def test_empty_cells_count_as_absent(row, empty):
    line = row(etag=empty, size=empty, locale=empty, channels=empty, agent=empty)

    assert line.options == TranscriptionOptions()
    assert (line.file.etag, line.file.size_bytes, line.file.manifest_columns) == (None, None, {})


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("locale", "english"),
        ("candidate_locales", "en-US"),
        ("candidate_locales", "de-DE,fr-FR"),
        ("candidate_locales", "[1"),
        ("channels", "left"),
        ("channels", "-1"),
        ("max_speakers", "99"),
        ("diarization", "true"),
        ("word_times", "perhaps"),
        ("profanity", "yes"),
        ("punctuation", 7),
        ("size", "-1"),
        ("size", "1.5"),
        ("size", True),
        ("duration", "inf"),
        ("duration", "long"),
        ("duration_ms", -1),
        ("last_modified", "yesterday"),
        ("last_modified", "nan"),
        ("last_modified", -5),
    ],
)
def test_a_bad_value_refuses_the_row_and_names_its_column(row, column, cell):
    line = row(**{column: cell})

    assert line.code == "InvalidOption"
    assert column in line.problem
    assert line.text == "az://rec/a.wav"


def test_a_mere_yes_means_the_runs_number_of_speakers(row):
    assert row(TranscriptionOptions(max_speakers=4), diarization="true").options.max_speakers == 4


def test_a_row_that_names_a_locale_leaves_the_runs_candidates(row):
    defaults = TranscriptionOptions(candidate_locales=("en-US", "de-DE"))

    assert row(defaults, locale="fr-FR").options.candidate_locales == ()
    assert row(defaults, locale="").options.candidate_locales == ("en-US", "de-DE")


def test_unknown_columns_and_second_aliases_are_carried_as_text(row):
    line = row(uri="az://rec/a.wav", path="old/place.wav", agent=7, ok=True, tags=["a", "ü"])

    assert line.file.manifest_columns == {
        "path": "old/place.wav",
        "agent": "7",
        "ok": "true",
        "tags": '["a", "ü"]',
    }


def test_a_signature_in_a_carried_column_is_masked(row):
    line = row(backup="https://x/y.wav?sv=1&sig=SECRET&se=2")

    assert "SECRET" not in repr(line)
    assert line.file.manifest_columns["backup"].endswith("&se=2")


def test_the_named_column_is_the_only_one_looked_for(row, accounts):
    assert row(uri_column="Recording", uri="az://rec/a.wav", path="x").file.url.endswith("/rec/a.wav")
    with pytest.raises(MissingColumn, match="recording"):
        RowReader(
            ["uri"],
            source="m",
            urls=CanonicalUrls(accounts),
            defaults=TranscriptionOptions(),
            uri_column="recording",
        )


def test_equal_options_are_one_object(accounts):
    rows = RowReader(
        ["uri", "locale", "channels"],
        source="m",
        urls=CanonicalUrls(accounts),
        defaults=TranscriptionOptions(),
    )

    one, two = (rows.read(n, (f"az://rec/{n}.wav", "de-DE", "0")) for n in (1, 2))

    assert one.options is two.options


def test_numbers_and_truth_values_that_compare_equal_are_kept_apart(accounts):
    rows = RowReader(
        ["uri", "channels"], source="m", urls=CanonicalUrls(accounts), defaults=TranscriptionOptions()
    )

    assert rows.read(1, ("az://rec/a.wav", 1)).options.channels == (1,)
    assert rows.read(2, ("az://rec/a.wav", True)).code == "InvalidOption"


@pytest.mark.parametrize("column", ["size", "channels", "max_speakers"])
@pytest.mark.parametrize("cell", [10**19, "9" * 40, 1e300])
def test_numbers_that_fit_no_table_are_refused(row, column, cell):
    assert row(**{column: cell}).code == "InvalidOption"


def test_a_header_of_very_many_columns_is_read_in_time(accounts):
    names = ["uri", *map(str, range(200_000))]

    rows = RowReader(names, source="m", urls=CanonicalUrls(accounts), defaults=TranscriptionOptions())

    assert len(rows.read(1, ["az://rec/a.wav", *["x"] * 200_000]).file.manifest_columns) == 200_000
