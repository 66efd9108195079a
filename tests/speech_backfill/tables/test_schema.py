"""The schemas hold what readers everywhere understand, and the document says the same."""

from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pytest

from speech_backfill.tables.document import document, main
from speech_backfill.tables.rows import OutcomeRow
from speech_backfill.tables.schema import OUTCOMES, SCHEMA_VERSION, TABLES, VERSION_KEY, comment_of

DOCUMENT = Path(__file__).parents[3] / "docs" / "TABLES.md"

COLUMNS = [pytest.param(one, id=f"{table}.{one.name}") for table, schema in TABLES.items() for one in schema]


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_has_its_sentence(column):
    assert comment_of(column).endswith(".")
    assert "|" not in comment_of(column)


@pytest.mark.parametrize("column", COLUMNS)
def test_every_type_is_one_that_spark_reads(column):
    allowed = {
        pa.string(), pa.int32(), pa.int64(), pa.float32(), pa.bool_(), pa.timestamp("us", "UTC"),
        pa.map_(pa.string(), pa.string()),
    }  # fmt: skip
    assert column.type in allowed


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_its_sentence_and_version_and_no_partition_column(table):
    schema = TABLES[table]
    assert comment_of(schema).endswith(".")
    assert schema.metadata[VERSION_KEY.encode()] == str(SCHEMA_VERSION).encode()
    assert "partition" not in schema.names
    assert schema.names[0] == "file_id"


def test_outcome_rows_have_the_columns_of_the_table():
    assert [one.name for one in fields(OutcomeRow)] == OUTCOMES.names


def test_the_document_is_current():
    assert DOCUMENT.read_text(encoding="utf-8") == document(), (
        "run: python -m speech_backfill.tables.document docs/TABLES.md"
    )


def test_the_document_names_every_column():
    for schema in TABLES.values():
        for one in schema:
            assert f"| `{one.name}` |" in document()


def test_the_document_is_written_where_asked(tmp_path, capsys):
    assert main([str(tmp_path / "x.md")]) == 0
    assert (tmp_path / "x.md").read_text(encoding="utf-8") == document()
    assert main([]) == 0
    assert capsys.readouterr().out == document()
    assert main(["a", "b"]) == 2
