import codecs
import gzip

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from speech_backfill.errors import UnreadableManifest
from speech_backfill.manifest.text import LINE_LIMIT_BYTES, BadLine, decompressed, physical_lines


def _lines(*chunks):
    return list(physical_lines(iter(chunks), source="m.txt", expected="text"))


def _chunked(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=5)),
    st.integers(1, 7),
)
def test_lines_are_the_same_however_the_bytes_arrive(texts, size):
    data = "".join(f"{text}\r\n" for text in ["first line of all", *texts]).encode()

    assert _lines(*_chunked(data, size)) == ["first line of all", *texts]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_understood_and_dropped(encoding):
    assert _lines(*_chunked("Überstunden\n日本\n".encode(encoding), 3)) == ["Überstunden", "日本"]


def test_big_endian_utf16_is_understood():
    assert _lines(codecs.BOM_UTF16_BE + "a\nb".encode("utf-16-be")) == ["a", "b"]


def test_lone_carriage_returns_end_lines_where_nothing_else_does():
    assert _lines(b"a\rb\rc") == ["a", "b", "c"]


def test_a_line_in_another_encoding_is_bad_alone():
    one, two, three = _lines("good\nÜber\nfine\n".encode("latin-1"))

    assert (one, three) == ("good", "fine")
    assert isinstance(two, BadLine)
    assert "UTF-8" in two.problem


@pytest.mark.parametrize("size", [1 << 16, 1 << 20, 1 << 24])
def test_a_line_of_ten_megabytes_is_refused_and_the_next_is_read(size):
    data = b"before\n" + b"x" * 10_000_000 + b"\nafter\n" + b"y" * 2_000_000

    before, long, after, last = _lines(*_chunked(data, size))

    assert (before, after) == ("before", "after")
    assert isinstance(long, BadLine)
    assert isinstance(last, BadLine)
    assert len(long.text) <= 4096
    assert "longer" in long.problem


def test_a_line_of_just_the_limit_is_read():
    assert _lines(*_chunked(b"x" * LINE_LIMIT_BYTES + b"\nb\n", 4096)) == ["x" * LINE_LIMIT_BYTES, "b"]


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"PAR1....", "Parquet"),
        (gzip.compress(b"a", mtime=0), ".gz"),
        (zstandard.compress(b"a"), ".zst"),
        (b"PK\x03\x04...", "Excel"),
        ("az://c/a\n".encode("utf-16-le"), "UTF-16"),
        (bytes(range(4)) + bytes(100), "binary"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8\x00\x00a", "UTF-16"),
    ],
)
def test_what_is_no_text_is_named(head, said):
    with pytest.raises(UnreadableManifest, match=said):
        _lines(head)


@pytest.mark.parametrize(("codec", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
class TestDecompressed:
    def _read(self, data, codec, size=100):
        return b"".join(decompressed(iter(_chunked(data, size)), codec, source="m"))

    def test_several_members_are_read_as_one(self, codec, compress):
        assert self._read(compress(b"a" * 1000) + compress(b"b"), codec) == b"a" * 1000 + b"b"

    def test_a_truncated_stream_is_an_error_and_not_an_end(self, codec, compress):
        with pytest.raises(UnreadableManifest, match=r"(?i)truncated"):
            self._read(compress(bytes(range(256)) * 1000)[:-6], codec)

    def test_garbage_is_an_error(self, codec, compress):
        with pytest.raises(UnreadableManifest):
            self._read(b"no compression at all" * 10, codec)

    def test_a_bomb_comes_in_bounded_blocks(self, codec, compress):
        blocks = decompressed(iter([compress(bytes(50_000_000))]), codec, source="m")

        assert max(map(len, blocks)) <= 1 << 18

    def test_an_error_of_the_source_comes_through(self, codec, compress):
        def chunks():
            yield compress(bytes(range(256)) * 100)[:50]
            raise KeyError("the source")

        with pytest.raises(KeyError, match="the source"):
            list(decompressed(chunks(), codec, source="m"))
