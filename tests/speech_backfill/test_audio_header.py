"""Durations come from headers, of every format, in a few small reads; what is doubtful is unknown."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio_files import FILES, GSM, NO_XING, VARIABLE, amr, chunk, encoded, id3, speex, wav
from speech_backfill.audio_header import read_duration_ms
from speech_backfill.ranged_file import BLOCK, MOST_BYTES, MOST_REQUESTS, RangedFile

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = sorted(path for path in (ROOT / "recordings" / "calls").rglob("*") if path.is_file())
BROKEN = {"notes.wav", "upload-broke-off.m4a"}


def _read(content: bytes, suffix: str = "") -> int | None:
    """The duration; fails where the bounds of a file were not kept."""
    asked: list[int] = []

    def read_range(offset: int, length: int) -> bytes:
        asked.append(length)
        return content[offset : offset + length]

    found = read_duration_ms(RangedFile(read_range, len(content)), suffix=suffix)
    assert len(asked) <= MOST_REQUESTS
    assert sum(asked) <= MOST_BYTES
    return found


@pytest.mark.parametrize("name", FILES)
def test_the_duration_of_every_format_is_read(name: str) -> None:
    seconds, suffix, make = FILES[name]
    found = _read(make(), suffix)
    assert found is not None
    # Encoders pad with a frame or two; ADTS counts nothing, so a long file is extrapolated.
    assert found == pytest.approx(seconds * 1000, rel=0.03 if name == "aac, long" else 0.001, abs=110)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_the_shipped_recordings_are_as_long_as_they_decode(path: Path) -> None:
    found = _read(path.read_bytes(), path.suffix[1:])
    if path.name in BROKEN:
        assert found is None
        return
    with av.open(str(path)) as audio:
        samples = [(frame.samples, frame.sample_rate) for frame in audio.decode(audio=0)]
    assert found == pytest.approx(sum(count / rate for count, rate in samples) * 1000, abs=110)


def test_what_a_file_is_its_first_bytes_say_and_not_its_name() -> None:
    content = encoded("wav", "pcm_alaw", rate=8000)
    assert {_read(content, suffix) for suffix in ("wav", "alaw", "mp3", "m4a", "")} == {4000}


# --- a header that lies, or a file that is not whole -------------------------------------------------------------


@pytest.mark.parametrize("claims", [0, 0xFFFFFFFF, 0x7FFFFFFF, 16_001])
def test_a_wav_holds_what_is_there_whatever_it_claims(claims: int) -> None:
    assert _read(wav(bytes(16_000), claims=claims)) == 1000


@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
def test_a_large_wav_has_its_size_elsewhere(magic: bytes) -> None:
    before = chunk(b"JUNK", bytes(28))
    assert _read(wav(bytes(16_000), claims=0xFFFFFFFF, magic=magic, before=before)) == 1000


def test_other_chunks_of_a_wav_are_no_audio() -> None:
    before, after = chunk(b"LIST", bytes(201)), chunk(b"LIST", bytes(5000))
    assert _read(wav(bytes(16_000), before=before, after=after)) == 1000


def test_half_a_wav_is_half_as_long() -> None:
    content = encoded("wav", "pcm_s16le")
    assert _read(content[: len(content) // 2]) == pytest.approx(2000, abs=5)


def test_half_an_mp3_that_counts_its_frames_is_unknown_and_one_that_does_not_is_half_as_long() -> None:
    counted, plain = (
        encoded("mp3", "libmp3lame", seconds=60.0),
        encoded("mp3", "libmp3lame", seconds=60.0, muxer=NO_XING),
    )
    assert _read(counted[: len(counted) // 2], "mp3") is None
    assert _read(plain[: len(plain) // 2], "mp3") == pytest.approx(30_000, rel=0.01)


def test_half_an_ogg_ends_with_its_last_whole_page() -> None:
    content = speex(40)
    assert _read(content[: len(content) // 2]) == pytest.approx(20_000, abs=1100)


UNKNOWN = {
    "nothing": b"",
    "one byte": b"\xff",
    "zeros": bytes(100_000),
    "text": b"milk\nbread\neggs\n" * 2000,
    "an ID3 tag alone": id3(1000),
    "an ID3 tag that does not end": b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(1000),
    "webm": encoded("webm", "libopus", rate=48000),
    "raw a-law": bytes([0xD5]) * 80_000,
    "a wav without data": wav(b""),
    "a wav without a format": b"RIFF\0\0\0\0WAVE" + chunk(b"data", bytes(16_000)),
    "a wav whose numbers do not fit together": wav(bytes(16_000), bytes_per_second=48_000),
    "a wav of a rate of zero": wav(bytes(16_000), rate=0, bytes_per_second=0),
    "a wav whose header was left as it began": wav(bytes(160_000), claims=2000),
    "a wav of chunks without end": b"RIFF\0\0\0\0WAVE" + chunk(b"LIST", b"") * 5000,
    "an adpcm wav without its rate": wav(bytes(16_000), tag=GSM[0], rate=1, frame=0),
    "an m4a cut short, header first": encoded("ipod", "aac", muxer=(("movflags", "faststart"),))[:20_000],
    "an m4a cut short, header last": encoded("ipod", "aac")[:20_000],
    "an m4a in fragments": encoded("ipod", "aac", muxer=(("movflags", "frag_keyframe+empty_moov"),)),
    "an mp3 of changing rate that counts nothing": encoded(
        "mp3", "libmp3lame", seconds=20.0, muxer=NO_XING, encoder=VARIABLE
    ),
    "two mp3s one behind the other": encoded("mp3", "libmp3lame", seconds=20.0) * 2,
    "two oggs one behind the other": speex(20) + speex(20, serial=8),
    "a flac that knows no length": encoded("flac", "flac")[:18]
    + struct.pack(">IQ", 0, 0)[:8]
    + encoded("flac", "flac")[26:],
    "a wma cut short": encoded("asf", "wmav2", rate=44100, bit_rate=64000)[:20_000],
    "noise that begins as aac does": b"\xff\xf1\x60\x40\x38\x9f\xfc" + random.Random(1).randbytes(20_000),
    "amr that changes its mode": amr(10, mode=7) + amr(10, mode=2)[6:],
    "amr cut within a frame": amr(10)[:-5],
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_doubtful_is_unknown(name: str) -> None:
    assert _read(UNKNOWN[name], "mp3" if "mp3" in name else "") is None


def _with(content: bytes, name: bytes, offset: int, new: bytes) -> bytes:
    """*content* with other bytes at *offset* from the first *name*."""
    at = content.index(name) + offset
    return content[:at] + new + content[at + len(new) :]


@pytest.mark.parametrize(
    "content",
    [
        # A duration of days in a file of some kilobytes.
        _with(encoded("ipod", "aac"), b"mdhd", 20, b"\x7f\xff\xff\xff"),
        _with(encoded("ipod", "aac"), b"mdhd", 16, b"\x00\x00\x00\x00"),
        _with(encoded("flac", "flac"), b"fLaC", 21, b"\x0f\xff\xff\xff\xff"),
        # A moment: hundreds of bytes in a millisecond.
        _with(encoded("ipod", "aac"), b"mdhd", 20, b"\x00\x00\x00\x01"),
        wav(bytes(100_000_000), rate=10_000_000),
    ],
    ids=[
        "m4a of days",
        "m4a without a unit",
        "flac of years",
        "m4a of a moment",
        "wav of a moment",
    ],
)
def test_a_duration_that_cannot_be_is_unknown(content: bytes) -> None:
    assert _read(content) is None


def test_a_wma_written_by_a_stream_is_unknown() -> None:
    content = encoded("asf", "wmav2", rate=44100, bit_rate=64000)
    properties = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
    assert _read(content) is not None
    assert _read(_with(content, properties, 24 + 64, b"\x01\x00\x00\x00")) is None


# --- hostile files ---------------------------------------------------------------------------------------------

SEEDS = [make() for _, _, make in FILES.values()]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_file_never_raises_and_never_has_an_impossible_duration(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 6))):
        # Headers are at the beginning and at the end.
        at = data.draw(st.one_of(st.integers(0, 200), st.integers(len(content) - 2000, len(content) - 9)))
        content[at : at + 8] = data.draw(
            st.one_of(st.binary(min_size=8, max_size=8), st.sampled_from([b"\xff" * 8, bytes(8)]))
        )
    content = content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))]
    found = _read(bytes(content), data.draw(st.sampled_from(["", "mp3", "wav"])))
    if found is not None:
        assert 0 < found <= 1000 * 3_600_000
        assert 15 <= len(content) / found * 1000 <= 5_000_000


@settings(max_examples=200, deadline=None)
@given(
    magic=st.sampled_from(
        [
            b"RIFF\0\0\0\0WAVE",
            b"OggS",
            b"fLaC",
            b"\0\0\0 ftyp",
            b"\xff\xf1",
            b"\xff\xfb",
            b"ID3\x04",
            b"#!AMR\n",
            b"",
        ]
    ),
    rest=st.binary(max_size=3000),
    times=st.integers(1, 100),
)
def test_noise_behind_a_magic_number_never_raises(magic: bytes, rest: bytes, times: int) -> None:
    _read((magic + rest) * times, "mp3")


def test_atoms_within_atoms_without_end_are_left_unread() -> None:
    deep = b""
    for _ in range(5000):
        deep = struct.pack(">I4s", len(deep) + 8, b"moov") + deep
    assert _read(struct.pack(">I4s", 16, b"ftyp") + b"M4A \0\0\0\0" + deep) is None


def test_a_file_whose_parts_cannot_be_read_is_unknown() -> None:
    content = encoded("ogg", "libopus", rate=48000)

    def read_range(offset: int, length: int) -> bytes:
        if offset:
            raise OSError("gone")
        return content[:length]

    assert read_duration_ms(RangedFile(read_range, len(content), begins=content[:BLOCK])) is None


# --- what it costs ---------------------------------------------------------------------------------------------


def test_a_header_of_an_hour_of_audio_takes_a_small_part_of_it() -> None:
    content = wav(bytes(3600 * 16_000))
    read: list[int] = []

    def read_range(offset: int, length: int) -> bytes:
        read.append(length)
        return content[offset : offset + length]

    assert read_duration_ms(RangedFile(read_range, len(content))) == 3_600_000
    assert read == [BLOCK]


@pytest.mark.parametrize("module", ["pipeline", "merge", "plan.planner", "publish.publisher", "durations"])
def test_the_library_is_not_imported_before_a_header_is_parsed(module: str) -> None:
    code = f"import sys, speech_backfill.{module}; sys.exit(any(one.startswith('mutagen') for one in sys.modules))"
    subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "include")}, check=True, timeout=120
    )


_FIRST_HEADER = """
import sys
from speech_backfill.audio_header import read_duration_ms
from speech_backfill.ranged_file import RangedFile
read_duration_ms(RangedFile(lambda offset, length: bytes(length), 10))
before = set(sys.modules)
for content in map(bytes.fromhex, sys.argv[1:]):
    read_duration_ms(RangedFile(lambda offset, length: content[offset:offset + length], len(content)))
sys.exit(str({one for one in set(sys.modules) - before if one.startswith("mutagen")} or 0))
"""


def test_the_library_is_imported_whole_with_the_first_header() -> None:
    # Where threads each began with the part they needed, one run in ten took an MP3 for no audio.
    kinds = ["mp3 without xing", "flac", "ogg vorbis", "ogg opus", "ogg speex", "ogg flac", "mp4"]
    starts = [FILES[one][2]()[:4000].hex() for one in kinds]
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_HEADER, *starts],
        env={"PYTHONPATH": str(ROOT / "include")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr.strip() == "0"


_WITHOUT_THE_LIBRARY = """
import sys
sys.modules["mutagen"] = None
from speech_backfill.audio_header import read_duration_ms
from speech_backfill.ranged_file import RangedFile
for content in map(bytes.fromhex, sys.argv[1:]):
    print(read_duration_ms(RangedFile(lambda offset, length: content[offset:offset + length], len(content))))
"""


def test_without_the_library_the_formats_that_need_it_are_unknown_and_no_others() -> None:
    known = ["wav gsm", "aac", "wma", "amr"]
    unknown = ["mp3 without xing", "ogg flac", "mp4", "ogg opus"]
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_THE_LIBRARY, *(FILES[one][2]().hex() for one in [*known, *unknown])],
        env={"PYTHONPATH": str(ROOT / "include")},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = done.stdout.split()
    assert "None" not in found[: len(known)]
    assert found[len(known) :] == ["None"] * len(unknown)


def test_the_test_files_are_what_they_are_called() -> None:
    decodable = {
        name: make() for name, (_, _, make) in FILES.items() if name not in {"ogg speex", "ogg flac"}
    }
    for name, content in decodable.items():
        if name in {"wav gsm", "amr, long"}:
            continue  # silence put together by hand
        with av.open(io.BytesIO(content)) as audio:
            assert sum(1 for _ in audio.decode(audio=0)) > 10, name
