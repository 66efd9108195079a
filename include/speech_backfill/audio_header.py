"""How long an audio file is, from its header and a few blocks more. Decodes no audio, trusts no file.

mutagen reads MP3, FLAC, Ogg (Vorbis, Opus, Speex, FLAC) and MP4. The others are read here: mutagen takes a WAV's claim
for its content and knows only uncompressed ones, keeps a WMA's header with all its pictures, judges an AAC by its first
seconds, and does not know AMR. What a file is, its first bytes say, not its name. WebM and files without a header are
not known.

A file is hostile until it is parsed, so whatever goes wrong means unknown. So does a duration that can't be, and one
that contradicts the file's size: a wrong figure is worse than none, for unknown files are estimated on the safe side.
mutagen is imported when the first header is parsed: DAG files and merges never pay for it. Where somebody has left it out
(docs/adr/0016), what is read here is known all the same.
"""

from __future__ import annotations

import struct
import threading
from contextlib import suppress
from typing import Any

from speech_backfill.ranged_file import BLOCK, RangedFile

_LONGEST_SECONDS = 1000 * 3600
_FEWEST_BYTES_PER_SECOND = 20
"""Silence in FLAC or Opus takes little more."""
_MOST_BYTES_PER_SECOND = 4_000_000
"""Eight channels of studio WAV, or an MP4 with video."""

_RIFF = (b"RIFF", b"RF64", b"BW64")
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")

_OGG_PAGE = 256 * 256
"""No page is larger, so the last one begins within so many bytes of the end."""

_FRAMES_LOOKED_AT = 40
"""Frames of an MP3 without a count of its frames that must have one bit rate before it is taken for constant."""

_AAC_PLACES = 3
_AAC_STRETCH = 2 * BLOCK
"""Places of an AAC file that are looked at, and how much of each."""
_AAC_MAY_DIFFER = 1.5
"""By how much the seconds in a byte may differ between them."""
_AAC_FRAMES = 5
"""So many headers, each where the one before says, are no chance."""
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)

_AMR = {
    b"#!AMR\n": (13, 14, 16, 18, 20, 21, 27, 32),
    b"#!AMR-WB\n": (18, 24, 33, 37, 41, 47, 51, 59, 61),
}
"""Bytes of a 20 ms frame by the mode in its header (RFC 4867, sections 5.1 and 5.3)."""

_IMPORTING = threading.Lock()


def read_duration_ms(file: RangedFile, *, suffix: str = "") -> int | None:
    """The duration of *file* in milliseconds; None where its header does not say it credibly. Never raises."""
    try:
        with suppress(ImportError):
            _import_library()
        seconds = _seconds(file, suffix)
    except Exception:
        # A hostile file makes a parser raise anything: it is unknown then, and no other is harmed.
        return None
    if seconds is None or not 0 < seconds <= _LONGEST_SECONDS:
        return None
    if not _FEWEST_BYTES_PER_SECOND <= file.size / seconds <= _MOST_BYTES_PER_SECOND:
        return None
    return round(seconds * 1000) or None


def _import_library() -> None:
    """Import at once all that is used below: its modules import each other, and threads that begin it together see halves."""
    with _IMPORTING:
        import mutagen.flac
        import mutagen.mp3
        import mutagen.mp4
        import mutagen.oggflac
        import mutagen.oggopus
        import mutagen.oggspeex
        import mutagen.oggvorbis  # noqa: F401  the functions below import what they use by name


def _seconds(file: RangedFile, suffix: str) -> float | None:
    start = _after_tags(file)
    head = _at(file, start, 64)
    if head[:4] in _RIFF and head[8:12] == b"WAVE":
        return _wav(file, start)
    if head.startswith(b"OggS"):
        return _ogg(file, start, head)
    if head.startswith(b"fLaC"):
        return _flac(file, start)
    if head[4:8] == b"ftyp":
        return _mp4(file)
    if head.startswith(_ASF):
        return _asf(file, start)
    for magic, sizes in _AMR.items():
        if head.startswith(magic):
            return _amr(file, start + len(magic), sizes)
    if head[:1] == b"\xff" and head[1] & 0xF6 == 0xF0:
        return _aac(file, start)
    if start or suffix == "mp3" or (head[:1] == b"\xff" and head[1] & 0xE0 == 0xE0):
        return _mp3(file, start)
    return None


def _at(file: RangedFile, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _after_tags(file: RangedFile) -> int:
    """Where the audio begins: behind the ID3 tags, of which there may be several."""
    start = 0
    while (head := _at(file, start, 10)).startswith(b"ID3"):
        size = 0
        for seven_bits in head[6:10]:
            size = size << 7 | seven_bits & 0x7F
        start += 10 + size
    return start


def _wav(file: RangedFile, start: int) -> float | None:
    """What stands between the data chunk's beginning and its end, or the file's, over what the format takes a second."""
    at = start + 12
    rate = 0
    while True:  # to the end of the file at the most, where unpacking fails
        name, length = struct.unpack("<4sI", _at(file, at, 8))
        at += 8
        if name == b"data":
            break
        if name == b"fmt ":
            rate = _wav_rate(file.read(16))
        at += length + length % 2
    there = file.size - at
    if length == 0 or length > there:
        # Written by a stream that could not go back, or cut short: decoders take what there is.
        length = there
    elif length < there // 2:
        return None  # a header that was not brought up to date, or much that is no audio
    return length / rate if rate else None


def _wav_rate(form: bytes) -> int:
    """Bytes a second; 0 where the header contradicts itself."""
    tag, _, samples, rate, frame, _ = struct.unpack("<HHIIHH", form)
    # PCM, float, A-law, mu-law, extensible: one sample of each channel is a block. All others say their mean rate.
    if tag in {1, 3, 6, 7, 0xFFFE} and rate != frame * samples:
        return 0
    return int(rate)


def _flac(file: RangedFile, start: int) -> float | None:
    from mutagen.flac import StreamInfo

    # Always the first block; those behind it may be pictures.
    block = _at(file, start + 4, 38)
    if block[0] & 0x7F or int.from_bytes(block[1:4], "big") != 34:
        return None
    info: Any = StreamInfo(block[4:])  # type: ignore[no-untyped-call]  # untyped there, here and below
    return float(info.length)


def _ogg(file: RangedFile, start: int, head: bytes) -> float | None:
    from mutagen.oggflac import OggFLAC
    from mutagen.oggopus import OggOpus
    from mutagen.oggspeex import OggSpeex
    from mutagen.oggvorbis import OggVorbis

    kinds = {b"OpusHead": OggOpus, b"\x01vorbis": OggVorbis, b"Speex   ": OggSpeex, b"\x7fFLAC": OggFLAC}
    kind: Any = next((kind for magic, kind in kinds.items() if magic in head), None)
    if kind is None or start:
        return None
    tail = _at(file, max(0, file.size - _OGG_PAGE), _OGG_PAGE)
    last = tail[tail.rindex(b"OggS") :]
    file.seek(0)
    info = kind(file).info
    # Streams one behind the other, or side by side: the first one's length says nothing of the whole.
    return float(info.length) if struct.unpack("<I", last[14:18])[0] == info.serial else None


def _mp4(file: RangedFile) -> float | None:
    from mutagen.mp4 import Atoms, MP4Info  # type: ignore[attr-defined]  # MP4 itself would read the cover

    atoms: Any = Atoms(file)
    if any(one.offset + one.length > file.size for one in atoms.atoms):
        return None  # cut short; its header tells of what is missing too
    info: Any = MP4Info(atoms, file)  # type: ignore[no-untyped-call]
    return float(info.length)


def _asf(file: RangedFile, start: int) -> float | None:
    """The play duration less the preroll, from the header's object of file properties (ASF specification, 3.2)."""
    at = start + 30
    while True:
        name, length = struct.unpack("<16sQ", _at(file, at, 24))
        if name == _ASF_FILE_PROPERTIES:
            size, _, _, ticks, _, preroll_ms, flags = struct.unpack("<16xQQQQQQI", file.read(68))
            # Broadcast: written by a stream that could not go back. Another size: cut short.
            return None if flags & 1 or size != file.size else ticks / 1e7 - preroll_ms / 1e3
        at += max(24, length)


def _amr(file: RangedFile, start: int, sizes: tuple[int, ...]) -> float | None:
    """Frames of one mode all along; where the mode changes only a walk through the whole file could count them."""
    mode = _at(file, start, 1)[0]
    size = sizes[mode >> 3 & 0xF]
    frames, rest = divmod(file.size - start, size)
    if rest:
        return None
    for place in (0, frames // 2, max(0, frames - 400)):
        stretch = _at(file, start + place * size, size * min(400, frames))
        if any(one != mode for one in stretch[::size]):
            return None
    return frames * 0.02


def _aac(file: RangedFile, start: int) -> float | None:
    """ADTS counts nothing: the frames at some places, if they agree, stand for all. A small file is counted whole."""
    length = file.size - start
    places = [start + length * place // _AAC_PLACES for place in range(_AAC_PLACES)]
    if length <= _AAC_PLACES * _AAC_STRETCH:
        places = [start]
    stretch = length if len(places) == 1 else _AAC_STRETCH
    rates = [_adts_seconds_per_byte(_at(file, place, stretch)) for place in places]
    if not all(rates) or max(rates) > _AAC_MAY_DIFFER * min(rates):
        return None
    return length * sum(rates) / len(rates)


def _adts_seconds_per_byte(stretch: bytes) -> float:
    """Of the frames from the first place on at which some follow each other; 0 where there is none."""
    begin = -1
    while (begin := stretch.find(b"\xff", begin + 1)) >= 0:
        at, samples, frames = begin, 0, 0
        # The fixed part of the header (ISO/IEC 13818-7, 6.2.1) is the same in every frame.
        fixed = _adts_fixed(stretch, begin)
        while at + 7 <= len(stretch) and fixed is not None and _adts_fixed(stretch, at) == fixed:
            size = (stretch[at + 3] & 3) << 11 | stretch[at + 4] << 3 | stretch[at + 5] >> 5
            if size < 7 or at + size > len(stretch):
                break
            samples += 1024 * ((stretch[at + 6] & 3) + 1)
            frames += 1
            at += size
        if fixed is not None and frames >= _AAC_FRAMES:
            return samples / _AAC_RATES[fixed[1]] / (at - begin)
    return 0.0


def _adts_fixed(stretch: bytes, at: int) -> tuple[bytes, int] | None:
    """The part of a frame's header that does not change, and the number of its sampling rate; None where there is no header."""
    head = stretch[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return None
    rate = head[2] >> 2 & 0xF
    return None if rate >= len(_AAC_RATES) else (bytes((head[1], head[2], head[3] & 0xF0)), rate)


def _mp3(file: RangedFile, start: int) -> float | None:
    """From the count of frames in a Xing, Info or VBRI header; without one only where the bit rate is constant."""
    from mutagen.mp3 import BitrateMode, MPEGInfo

    info: Any = MPEGInfo(file, start)
    audio = file.size - info.frame_offset
    # The header of a file that was cut short, or that others were appended to, counts what is not there, or too little.
    if abs(info.length * info.bitrate / 8 - audio) > audio / 5 + 2048:
        return None
    if info.bitrate_mode == BitrateMode.UNKNOWN and not _constant(file, info):
        return None
    return float(info.length)


def _constant(file: RangedFile, first: Any) -> bool:
    from mutagen.mp3 import HeaderNotFoundError, MPEGFrame, MPEGInfo

    file.seek(first.frame_offset)
    for _ in range(_FRAMES_LOOKED_AT):
        try:
            frame: Any = MPEGFrame(file)  # type: ignore[no-untyped-call]
        except HeaderNotFoundError:
            break  # the end of a short file, or tags
        if frame.bitrate != first.bitrate:
            return False
    middle = (first.frame_offset + file.size) // 2
    return bool(MPEGInfo(file, middle).bitrate == first.bitrate)
