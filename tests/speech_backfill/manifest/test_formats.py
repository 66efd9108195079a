import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_backfill.accounts import AccountKey, StorageAccount, StorageAccounts
from speech_backfill.errors import EmptyManifest, MissingColumn, UnreadableManifest
from speech_backfill.manifest.formats import Reading, csv_table, json_lines, plain_list
from speech_backfill.manifest.lines import ManifestLine, RefusedLine
from speech_backfill.manifest.text import physical_lines
from speech_backfill.manifest.urls import CanonicalUrls
from speech_backfill.model import TranscriptionOptions

ROOT = "https://calls.blob.core.windows.net/rec"
ACCOUNTS = StorageAccounts.of(
    [StorageAccount("calls", "https://calls.blob.core.windows.net", AccountKey("a2V5"))]
)


def _short(lines):
    """(number, name) of good lines, (number, code) of refused ones."""
    return [
        (line.number, line.file.url.removeprefix(f"{ROOT}/") if isinstance(line, ManifestLine) else line.code)
        for line in lines
    ]


class TestPlainList:
    def test_comments_and_empty_lines_are_skipped_and_numbers_are_those_of_the_file(self, manifest):
        lines = manifest("m.txt", "# calls\n\naz://rec/a.wav\r\n  az://rec/b c.wav  \nnonsense\n")

        assert _short(lines) == [(3, "a.wav"), (4, "b%20c.wav"), (5, "InvalidUri")]

    def test_a_sas_never_reaches_a_refused_line(self, manifest):
        (line,) = manifest("m.lst", "https://evil.example/x.wav?sv=1&sig=SECRET\n")

        assert line.code == "UnknownAccount"
        assert line.text == "https://evil.example/x.wav"
        assert "SECRET" not in repr(line)

    def test_paths_that_climb_are_refused(self, manifest):
        lines = manifest("m.txt", f"az://rec/a/../b.wav\n{ROOT}/%2e%2e/b.wav\n../b.wav\n/etc/passwd\n")

        assert [line.code for line in lines] == ["InvalidUri"] * 4

    def test_nul_bytes_refuse_their_line_only(self, manifest):
        assert _short(manifest("m.txt", "az://rec/a\0.wav\naz://rec/b.wav\n")) == [
            (1, "InvalidUri"),
            (2, "b.wav"),
        ]

    def test_only_comments_are_an_empty_manifest(self, manifest):
        with pytest.raises(EmptyManifest):
            manifest("m.txt", "# nothing\n\n")


class TestCsv:
    def test_rows_become_lines_with_the_number_of_their_first_physical_line(self, manifest):
        lines = manifest("m.csv", 'uri,note\naz://rec/a.wav,"two\nlines"\naz://rec/b.wav,x\n')

        assert _short(lines) == [(2, "a.wav"), (4, "b.wav")]
        assert lines[0].file.manifest_columns == {"note": "two\nlines"}

    @pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
    def test_the_separator_is_found_in_the_header(self, manifest, separator):
        lines = manifest(
            "m.csv", f'\n"a,b;c"{separator}URI{separator}x\n1{separator}az://rec/a.wav{separator}\n'
        )

        assert _short(lines) == [(3, "a.wav")]

    def test_ragged_rows_are_refused_and_the_others_are_read(self, manifest):
        lines = manifest(
            "m.csv", "uri,a\naz://rec/1.wav\naz://rec/2.wav,x,y?sig=SECRET\n\n  \naz://rec/3.wav,x\n"
        )

        assert _short(lines) == [(2, "InvalidLine"), (3, "InvalidLine"), (6, "3.wav")]
        assert "3 cells, the header 2" in lines[1].problem
        assert "SECRET" not in repr(lines)

    def test_rows_of_empty_cells_are_skipped_as_spreadsheets_write_them(self, manifest):
        assert _short(manifest("m.csv", "uri,a\naz://rec/1.wav,x\n,\n,x\n")) == [
            (2, "1.wav"),
            (4, "InvalidUri"),
        ]

    def test_an_unclosed_quote_costs_one_line(self, manifest):
        rows = "".join(f"az://rec/{n}.wav,x\n" for n in range(3000))

        lines = manifest("m.csv", f'uri,a\naz://rec/bad.wav,"open\n{rows}')

        assert _short(lines)[:3] == [(2, "InvalidLine"), (3, "0.wav"), (4, "1.wav")]
        assert len(lines) == 3001
        assert lines[-1].number == 3002

    def test_an_unclosed_quote_near_the_end_costs_one_line(self, manifest):
        lines = manifest("m.csv", 'uri,a\naz://rec/bad.wav,"open\naz://rec/b.wav,x\naz://rec/c.wav,x')

        assert _short(lines) == [(2, "InvalidLine"), (3, "b.wav"), (4, "c.wav")]

    def test_text_after_a_closing_quote_refuses_its_line(self, manifest):
        assert _short(manifest("m.csv", 'uri\n"az://rec/a.wav"x\naz://rec/b.wav\n')) == [
            (2, "InvalidLine"),
            (3, "b.wav"),
        ]

    def test_a_line_in_another_encoding_within_a_quoted_cell_loses_no_line(self, manifest):
        content = b'uri,a\naz://rec/a.wav,"x\n\xff\xfe"\naz://rec/b.wav,x\n'

        assert _short(manifest("m.csv", content)) == [(2, "InvalidLine"), (3, "InvalidLine"), (4, "b.wav")]

    def test_an_enormous_cell_is_refused(self, manifest):
        lines = manifest("m.csv", f"uri,a\naz://rec/a.wav,{'x' * 200_000}\naz://rec/b.wav,x\n")

        assert _short(lines) == [(2, "InvalidLine"), (3, "b.wav")]

    def test_a_byte_order_mark_is_no_part_of_the_first_column(self, manifest):
        assert _short(manifest("m.csv", b"\xef\xbb\xbfuri\r\naz://rec/a.wav\r\n")) == [(2, "a.wav")]

    def test_without_a_column_of_uris_the_columns_found_are_named(self, manifest):
        with pytest.raises(MissingColumn, match="found name, date"):
            manifest("m.csv", "name,date\nx,y\n")

    def test_a_column_that_stands_twice_is_an_error(self, manifest):
        with pytest.raises(UnreadableManifest, match="twice"):
            manifest("m.csv", "uri,Locale,locale\na,b,c\n")

    def test_a_header_alone_is_an_empty_manifest(self, manifest):
        with pytest.raises(EmptyManifest):
            manifest("m.csv", "uri,locale\n")

    def test_an_empty_file_is_an_empty_manifest(self, manifest):
        with pytest.raises(EmptyManifest):
            manifest("m.csv", "")

    def test_a_header_that_is_no_text_is_an_error(self, manifest):
        with pytest.raises(UnreadableManifest, match="header"):
            manifest("m.csv", b"\xffuri\naz://rec/a.wav\n")

    @settings(max_examples=50)
    @given(st.lists(st.lists(st.text("a,\"\n; é'", max_size=6), min_size=2, max_size=2), max_size=8))
    def test_what_a_csv_writer_wrote_is_read_back(self, rows):
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["uri", "one", "two"])
        for number, row in enumerate(rows):
            writer.writerow([f"az://rec/{number}.wav", *row])

        lines = list(csv_table(_physical(out.getvalue().encode()), _reading()))

        assert [line.file.url for line in lines] == [f"{ROOT}/{n}.wav" for n in range(len(rows))]
        kept = [{k: v for k, v in zip(("one", "two"), row, strict=True) if v.strip()} for row in rows]
        assert [line.file.manifest_columns for line in lines] == kept


class TestJsonLines:
    def test_objects_of_different_shapes_become_lines(self, manifest):
        rows = [
            {"audio_filepath": "az://rec/a.wav", "duration": 1.5, "text": "hello"},
            {"speaker": {"id": 1}, "uri": "az://rec/b.wav"},
        ]

        lines = manifest("m.jsonl", "\n".join(map(json.dumps, rows)))

        assert _short(lines) == [(1, "a.wav"), (2, "b.wav")]
        assert lines[0].file.duration_ms == 1500
        assert lines[0].file.manifest_columns == {"text": "hello"}
        assert lines[1].file.manifest_columns == {"speaker": '{"id": 1}'}

    @pytest.mark.parametrize(
        "bad", ["{", "[]", "3", "null", '"x"', '{"name": "x"}', '{"uri": null}', "[" * 5000]
    )
    def test_a_bad_line_costs_itself(self, manifest, bad):
        lines = manifest("m.ndjson", f'{bad}\n\n{{"uri": "az://rec/a.wav"}}\n{bad}\n')

        assert [line.number for line in lines] == [1, 3, 4]
        assert [isinstance(line, RefusedLine) for line in lines] == [True, False, True]

    def test_no_object_with_a_uri_at_all_is_a_missing_column(self, manifest):
        with pytest.raises(MissingColumn, match="found name"):
            manifest("m.jsonl", '{"name": "x"}\n' * 3)

    def test_a_json_array_is_not_json_lines(self, manifest):
        with pytest.raises(UnreadableManifest, match="JSON lines"):
            manifest("m.jsonl", json.dumps([{"uri": "az://rec/a.wav"}], indent=1))

    def test_a_file_that_never_gets_good_is_given_up_early(self):
        def endless():
            while True:
                yield "no json"

        with pytest.raises(UnreadableManifest, match="line 1"):
            list(json_lines(endless(), _reading()))


@given(st.binary(max_size=300), st.sampled_from([plain_list, csv_table, json_lines]))
def test_any_bytes_become_lines_or_one_clear_error(data, parse):
    try:
        lines = list(parse(_physical(data), _reading()))
    except (UnreadableManifest, MissingColumn):
        return

    numbers = [line.number for line in lines]
    assert numbers == sorted(set(numbers))


_GOOD = "az://rec/good.wav,fine"
_BROKEN = [
    'az://rec/a.wav,"open',
    '"az://rec/b.wav"x,y',
    "az://rec/c.wav,1,2",
    "az://rec/d.wav",
    "az://rec/\xff,é",
]


@given(st.lists(st.sampled_from([_GOOD, *_BROKEN]), max_size=30), st.booleans())
def test_every_line_of_a_csv_is_a_file_or_a_refusal_whatever_stands_around_it(rows, ends):
    data = ("uri,a\n" + "\n".join(rows)).encode("latin-1") + b"\n" * ends

    lines = list(csv_table(_physical(data), _reading()))

    assert [line.number for line in lines] == list(range(2, len(rows) + 2))
    assert [isinstance(line, ManifestLine) for line in lines] == [row == _GOOD for row in rows]


def _physical(data):
    return physical_lines(iter([data]), source="m", expected="text")


def _reading():
    return Reading("m", CanonicalUrls(ACCOUNTS), TranscriptionOptions())


@pytest.mark.parametrize("value", ["9" * 5000, "9" * 3000, '"\\ud800"', "1e999", '"\\u0000"', "-0", "[[1]]"])
def test_whatever_json_holds_can_be_written_to_a_table(value):
    import pyarrow as pa

    row = f'{{"uri": "az://rec/a.wav", "x": {value}}}'.encode()

    line = next(json_lines(_physical(row + b"\n" + b'{"uri": "az://rec/b.wav"}'), _reading()))

    text = (
        line.file.manifest_columns.get("x", "")
        if isinstance(line, ManifestLine)
        else line.text + line.problem
    )
    assert pa.array([text], pa.string())[0].as_py() == text
