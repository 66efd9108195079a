import gzip
import socket

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from speech_backfill.accounts import AccountKey, StorageAccount, StorageAccounts
from speech_backfill.errors import EmptyManifest, ManifestError, SourceNotFound, UnreadableManifest
from speech_backfill.manifest import faults
from speech_backfill.manifest.errors import SourceUnreachable, UnusableSource
from speech_backfill.manifest.source import is_manifest, read_source
from speech_backfill.model import TranscriptionOptions

CSV = b"uri\naz://rec/a.wav\naz://rec/b.wav\n"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("m.csv", CSV),
        ("M.CSV", CSV),
        ("m.csv.gz", gzip.compress(CSV, mtime=0)),
        ("m.csv.zst", zstandard.compress(CSV)),
        ("m.jsonl", b'{"uri":"az://rec/a.wav"}\n{"uri":"az://rec/b.wav"}'),
        ("m.ndjson.gz", gzip.compress(b'{"uri":"az://rec/a.wav"}\n{"uri":"az://rec/b.wav"}', mtime=0)),
        ("m.txt", b"az://rec/a.wav\naz://rec/b.wav\n"),
        ("m.lst.zst", zstandard.compress(b"az://rec/a.wav\naz://rec/b.wav\n")),
    ],
)
def test_every_format_is_read_alike_from_a_folder_and_from_a_container(account, manifest, read, name, data):
    account.upload("lists", f"x/{name}", data)

    local, remote = manifest(name, data), read(f"az://lists/x/{name}?sv=1&sig=SECRET")

    assert local == remote
    assert [line.file.url.rpartition("/")[2] for line in local] == ["a.wav", "b.wav"]


def test_a_remote_manifest_larger_than_a_range_is_read_whole(account, read):
    account.upload(
        "lists", "m.txt", b"".join(b"az://rec/call-%09d-%s.wav\n" % (n, b"x" * 50) for n in range(120_000))
    )

    lines = read("az://lists/m.txt")

    assert [line.number for line in lines] == list(range(1, 120_001))


def test_a_manifest_that_changes_while_it_is_read_is_an_error(account, accounts):
    data = b"az://rec/a.wav\n" * 600_000
    account.upload("lists", "m.txt", data)
    lines = read_source("az://lists/m.txt", accounts=accounts, defaults=TranscriptionOptions())
    next(lines)
    account.upload("lists", "m.txt", data)

    with pytest.raises(UnreadableManifest, match="changed while it was read"):
        list(lines)


def test_a_remote_parquet_manifest_is_read(account, tmp_path, read):
    pq.write_table(pa.table({"uri": ["az://rec/a.wav"]}), tmp_path / "m")
    account.upload("lists", "m.parquet", (tmp_path / "m").read_bytes())

    assert len(read("abfss://lists@calls.dfs.core.windows.net/m.parquet")) == 1


def test_file_uris_and_relative_paths_name_local_manifests(tmp_path, monkeypatch, read):
    (tmp_path / "calls of may.csv").write_bytes(CSV)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")

    assert len(read(f"file://{tmp_path}/calls%20of%20may.csv")) == 2
    assert len(read("../calls of may.csv")) == 2


def test_truncated_compression_is_an_error_and_no_short_manifest(manifest):
    text = b"".join(b"az://rec/%d.wav\n" % n for n in range(50_000))

    with pytest.raises(UnreadableManifest, match=r"(?i)truncated"):
        manifest("m.txt.gz", gzip.compress(text)[:-10])


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("", UnusableSource),
        ("s3://bucket/m.csv", UnusableSource),
        ("https://evil.example/rec/m.csv?sig=SECRET", UnusableSource),
        ("https://evil.example/rec/?sig=SECRET", UnusableSource),
        ("http://[x/m.csv?sig=SECRET", UnusableSource),
        ("az://lists/../m.csv", UnusableSource),
        ("no/such.csv", SourceNotFound),
        ("az://lists/gone.csv?sig=SECRET", SourceNotFound),
        ("az://gone/m.csv", SourceNotFound),
        ("m\0.csv", UnusableSource),
        ("x" * 5000 + ".csv", UnusableSource),
    ],
)
def test_sources_that_cannot_be_have_errors_without_secrets(account, read, source, error):
    account.upload("lists", "m.csv", CSV)

    with pytest.raises(error) as caught:
        read(source)

    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None or "SECRET" not in str(caught.value.__cause__)
    assert "Nothing was planned or submitted" in str(caught.value)


def test_a_local_folder_is_no_source(tmp_path, read):
    with pytest.raises(UnusableSource, match="upload the audio"):
        read(tmp_path)


def test_a_local_file_without_a_manifests_suffix_is_an_error(manifest):
    with pytest.raises(UnreadableManifest, match="suffix"):
        manifest("m.xlsx", "x")


def test_an_empty_remote_manifest_is_an_empty_manifest(account, read):
    account.upload("lists", "m.csv", b"")

    with pytest.raises(EmptyManifest):
        read("az://lists/m.csv")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("az://c/m.csv?x", True),
        ("m.jsonl.GZ", True),
        ("az://c/calls.2026/", False),
        ("az://c/a.wav", False),
        ("x.parquet.gz", False),
    ],
)
def test_a_manifest_is_known_by_its_suffix(source, expected):
    assert is_manifest(source) is expected


@pytest.mark.parametrize("source", ["az://rec/calls/", "az://rec/m.csv", "az://rec/m.parquet"])
class TestAnAccountThatIsDown:
    def _read(self, source, port):
        account = StorageAccount("calls", f"http://127.0.0.1:{port}/calls", AccountKey("a2V5"))
        return list(
            read_source(source, accounts=StorageAccounts.of([account]), defaults=TranscriptionOptions())
        )

    def test_a_closed_port_is_unreachable(self, source):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with pytest.raises(SourceUnreachable, match="error sending request") as caught:
                self._read(source, unused.getsockname()[1])

        assert isinstance(caught.value, ManifestError)

    def test_silence_is_unreachable_within_the_limit(self, source, monkeypatch):
        monkeypatch.setattr(faults, "FIRST_ANSWER_SECONDS", 0.3)
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            with pytest.raises(SourceUnreachable, match="no answer within"):
                self._read(source, silent.getsockname()[1])
