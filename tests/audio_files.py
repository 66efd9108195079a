"""Small audio files of every format, encoded by PyAV or put together by hand; what is in them is noise."""

from __future__ import annotations

import struct
import tempfile
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np

GSM = (0x31, 65, 1625, 320, 8000)
"""Format tag, block, bytes a second, samples a block, rate of GSM 6.10 in a WAV."""


@cache
def encoded(
    container: str,
    codec: str,
    *,
    seconds: float = 4.0,
    rate: int = 16000,
    layout: str = "mono",
    bit_rate: int = 0,
    muxer: tuple[tuple[str, str], ...] = (),
    encoder: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """*seconds* of noise that rises and falls, as a file."""
    count, channels = int(seconds * rate), 1 if layout == "mono" else 2
    swell = np.abs(np.sin(np.arange(count) / rate * 2))
    noise = np.random.default_rng(1).normal(0, 4000, count) * swell
    samples = np.repeat(noise.clip(-32000, 32000).astype("<i2"), channels)[None, :]
    # Some muxers go back to the file by its name.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audio"
        with av.open(str(path), "w", format=container, options=dict(muxer)) as output:
            stream: Any = output.add_stream(codec, rate=rate, layout=layout, options=dict(encoder))
            if bit_rate:
                stream.bit_rate = bit_rate
            stream.time_base = Fraction(1, rate)
            stream.codec_context.open()
            resampler = av.AudioResampler(
                format=stream.format, layout=layout, rate=rate, frame_size=stream.frame_size or 1024
            )
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
            frame.sample_rate = rate
            at = 0
            for piece in (*resampler.resample(frame), *resampler.resample(None), None):
                for packet in stream.encode(piece):
                    if packet.pts is None:  # the Vorbis encoder leaves that to others
                        packet.pts = packet.dts = at
                    at += packet.duration or 0
                    output.mux(packet)
        return path.read_bytes()


def wav(
    data: bytes,
    *,
    tag: int = 1,
    channels: int = 1,
    rate: int = 8000,
    frame: int = 2,
    bytes_per_second: int | None = None,
    claims: int | None = None,
    before: bytes = b"",
    after: bytes = b"",
    magic: bytes = b"RIFF",
) -> bytes:
    """A WAV around *data*, whose header may lie: *claims* is what it says of its data's length."""
    form = struct.pack(
        "<HHIIHH", tag, channels, rate, bytes_per_second or rate * frame, frame, 8 * frame // channels
    )
    length = len(data) if claims is None else claims
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + before + b"data" + struct.pack("<I", length)
    return magic + struct.pack("<I", len(body) + len(data)) + body + data + after


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a RIFF file, padded to an even length."""
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def amr(seconds: float, mode: int = 7) -> bytes:
    """AMR of one mode."""
    size = (13, 14, 16, 18, 20, 21, 27, 32)[mode]
    return b"#!AMR\n" + (bytes([mode << 3 | 4]) + bytes(size - 1)) * round(seconds * 50)


def ogg(
    headers: list[bytes], *, pages: int, samples_a_page: int, serial: int = 7, page_bytes: int = 4000
) -> bytes:
    """An Ogg stream of *headers*, one a page, and *pages* of noise."""
    from mutagen.ogg import OggPage

    written = []
    packets = [*headers, *[b"\x55" * page_bytes] * pages]
    for number, packet in enumerate(packets):
        page = OggPage()
        page.serial, page.sequence, page.packets = serial, number, [packet]
        page.position = max(0, number + 1 - len(headers)) * samples_a_page
        page.first, page.last = number == 0, number == len(packets) - 1
        written.append(page.write())
    return b"".join(written)


_NO_COMMENT = struct.pack("<I", 4) + b"none" + struct.pack("<I", 0)


def speex(seconds: int, *, rate: int = 8000, serial: int = 7) -> bytes:
    """Speex in Ogg, a page a second."""
    header = b"Speex   " + bytes(28) + struct.pack("<III", rate, 0, 4) + struct.pack("<II", 1, 0) + bytes(24)
    return ogg([header, _NO_COMMENT], pages=seconds, samples_a_page=rate, serial=serial)


def ogg_flac(seconds: int) -> bytes:
    """FLAC in Ogg, whose header does not know the number of samples."""
    block = (
        struct.pack(">HH", 4608, 4608) + bytes(6) + (16000 << 44 | 15 << 36).to_bytes(8, "big") + bytes(16)
    )
    header = b"\x7fFLAC\x01\x00\x00\x01fLaC\x00\x00\x00\x22" + block
    return ogg([header, b"\x84\x00\x00\x0c" + _NO_COMMENT], pages=seconds, samples_a_page=16000)


def id3(size: int) -> bytes:
    """An ID3 tag as large as a cover."""
    return b"ID3\x04\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + bytes(size)


NO_XING = (("write_xing", "0"),)
VARIABLE = (("global_quality", "600"), ("flags", "+qscale"))

FILES: dict[str, tuple[float, str, Any]] = {
    "wav": (4.0, "wav", lambda: encoded("wav", "pcm_s16le")),
    "wav a-law": (4.0, "wav", lambda: encoded("wav", "pcm_alaw", rate=8000)),
    "wav mu-law": (4.0, "wav", lambda: encoded("wav", "pcm_mulaw", rate=8000)),
    "wav stereo float": (4.0, "wav", lambda: encoded("wav", "pcm_f32le", rate=44100, layout="stereo")),
    "wav adpcm": (4.0, "wav", lambda: encoded("wav", "adpcm_ms", rate=8000, bit_rate=32000)),
    "wav gsm": (
        8.0,
        "wav",
        lambda: wav(bytes(65 * 200), tag=GSM[0], frame=GSM[1], bytes_per_second=GSM[2]),
    ),
    "mp3 with xing": (4.0, "mp3", lambda: encoded("mp3", "libmp3lame")),
    "mp3 without xing": (4.0, "mp3", lambda: encoded("mp3", "libmp3lame", muxer=NO_XING)),
    "mp3 variable with xing": (4.0, "mp3", lambda: encoded("mp3", "libmp3lame", encoder=VARIABLE)),
    "mp3 behind a cover": (4.0, "mp3", lambda: id3(300_000) + encoded("mp3", "libmp3lame")),
    "flac": (4.0, "flac", lambda: encoded("flac", "flac")),
    "ogg vorbis": (
        4.0,
        "ogg",
        lambda: encoded("ogg", "vorbis", layout="stereo", rate=44100, encoder=(("strict", "-2"),)),
    ),
    "ogg opus": (4.0, "opus", lambda: encoded("ogg", "libopus", rate=48000)),
    "ogg speex": (20.0, "spx", lambda: speex(20)),
    "ogg flac": (4.0, "ogg", lambda: ogg_flac(4)),
    "m4a, header last": (4.0, "m4a", lambda: encoded("ipod", "aac")),
    "m4a, header first": (4.0, "m4a", lambda: encoded("ipod", "aac", muxer=(("movflags", "faststart"),))),
    "mp4": (4.0, "mp4", lambda: encoded("mp4", "aac")),
    "aac": (4.0, "aac", lambda: encoded("adts", "aac")),
    "aac, long": (60.0, "aac", lambda: encoded("adts", "aac", seconds=60.0)),
    "wma": (4.0, "wma", lambda: encoded("asf", "wmav2", rate=44100, bit_rate=64000)),
    "amr": (4.0, "amr", lambda: encoded("amr", "libopencore_amrnb", rate=8000)),
    "amr, long": (120.0, "amr", lambda: amr(120, mode=2)),
}
"""What it is → (seconds, suffix, the file)."""
