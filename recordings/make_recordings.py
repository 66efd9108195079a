"""Speak the demo's recordings with a synthesiser and compress them; never needed to run the demo.

The files beside this script are its output and are kept in the repository. README.md here says what the script needs
and how to run it again.
"""

# ruff: noqa: INP001  a script, not a package
import csv
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]

HERE = Path(__file__).resolve().parent
SPEECH_RATE_HZ = 16_000
PAUSE_BETWEEN_TURNS_MS = 450
LEAD_IN_MS = 300

SYNTHESISERS = {
    "rms": ["flite", "-voice", "rms"],
    "slt": ["flite", "-voice", "slt"],
    "awb": ["flite", "-voice", "awb"],
    "slt-hts": ["text2wave", "-eval", "(voice_cmu_us_slt_arctic_hts)"],
}
"""The command that speaks with each voice: flite's men and woman, and festival's statistical voice."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one voice says before the other one answers."""

    channel: int
    voice: str
    text: str


@dataclass(frozen=True, slots=True)
class Recording:
    """One spoken file: where it lies, how it is compressed, who says what."""

    path: str
    codec: str
    rate_hz: int
    turns: tuple[Turn, ...]

    @property
    def channels(self) -> int:
        """One more than the highest channel that somebody speaks on."""
        return 1 + max(turn.channel for turn in self.turns)


def voicemail(path: str, voice: str, text: str, *, codec: str, rate_hz: int = SPEECH_RATE_HZ) -> Recording:
    """One voice on one channel."""
    return Recording(path, codec, rate_hz, (Turn(0, voice, text),))


def call(
    path: str, left: str, right: str, *texts: str, codec: str, rate_hz: int = SPEECH_RATE_HZ
) -> Recording:
    """Two voices that take turns, *left* on channel 0 beginning, *right* on channel 1."""
    voices = (left, right)
    turns = tuple(Turn(i % 2, voices[i % 2], text) for i, text in enumerate(texts))
    return Recording(path, codec, rate_hz, turns)


SPOKEN = (
    # --- the first of November -----------------------------------------------------------------
    voicemail(
        "calls/2026/11/01/garden-gate.ogg",
        "rms",
        "Good morning, this is a message about the garden gate. The wood is old and the paint is coming off. "
        "Could you please send someone to look at it before the winter begins?",
        codec="libopus",
    ),
    voicemail(
        "calls/2026/11/01/lost-umbrella.mp3",
        "slt",
        "Hello, I think I left my umbrella on the train yesterday evening. It is long and black with a wooden handle. "
        "If somebody has found it, please keep it at the station and I will come by tomorrow.",
        codec="libmp3lame",
    ),
    call(
        "calls/2026/11/01/water-under-the-sink.ogg",
        "rms",
        "slt",
        "Good afternoon, how can I help you today?",
        "Hello, there is water on the floor of my kitchen and I think it comes from under the sink.",
        "I am sorry to hear that. Please turn off the water and put a bucket under the pipe.",
        "I have done that already, but the bucket is nearly full.",
        "Then I will send our plumber to your house this afternoon.",
        "Thank you very much, I will wait for him at home.",
        codec="libopus",
    ),
    voicemail(
        "calls/2026/11/01/birthday party for grandmother.m4a",
        "slt-hts",
        "Hi, it is your sister. We want to have a birthday party for our grandmother on Sunday. "
        "Can you bring a chocolate cake and some flowers from your garden?",
        codec="aac",
    ),
    voicemail(
        "calls/2026/11/01/library-book.flac",
        "awb",
        "This is the public library. The book that you asked for has arrived. "
        "You can pick it up at the front desk any day this week.",
        codec="flac",
    ),
    voicemail(
        "calls/2026/11/01/dentist-appointment.wav",
        "slt",
        "Hello, this is a message from your dentist. We have to move your appointment from Monday morning "
        "to Tuesday afternoon. Please call us back if that is not possible.",
        codec="pcm_mulaw",
        rate_hz=8_000,
    ),
    voicemail(
        "calls/2026/11/01/Zürich office – Anna Müller.ogg",  # noqa: RUF001  the dash is meant
        "rms",
        "Hello Anna, the meeting in our office was moved to the big room on the second floor. "
        "Please bring the letters from the bank and a copy of the contract.",
        codec="libopus",
    ),
    # --- the second of November ----------------------------------------------------------------
    voicemail(
        "calls/2026/11/02/broken-window.ogg",
        "slt",
        "Hello, I am calling because the window in the bathroom is broken. The glass has a long crack and the wind "
        "comes in at night. When can you repair it?",
        codec="libopus",
    ),
    call(
        "calls/2026/11/02/table for friday.mp3",
        "slt",
        "awb",
        "Thank you for calling the river restaurant. What can I do for you?",
        "I would like to have a table for my family on Friday evening.",
        "Of course. Would you like to sit inside or on the terrace?",
        "Inside would be better, because my mother does not like the cold.",
        "Very good. We are looking forward to seeing you on Friday.",
        codec="libmp3lame",
    ),
    voicemail(
        "calls/2026/11/02/train-is-late.mp3",
        "rms",
        "Hi, my train is late again and I will miss the beginning of the meeting. Please start without me. "
        "I have sent the pictures to everybody this morning.",
        codec="libmp3lame",
    ),
    voicemail(
        "calls/2026/11/02/日本語の留守電 from the hotel.ogg",
        "slt-hts",
        "Good evening, this is the hotel reception. The driver will wait for you in front of the main entrance "
        "tomorrow morning after breakfast. Have a pleasant night.",
        codec="libopus",
    ),
    voicemail(
        "calls/2026/11/02/weather-report.flac",
        "rms",
        "Tomorrow will be cloudy with some rain in the afternoon. In the evening the sky will be clear "
        "and the wind will come from the north.",
        codec="flac",
    ),
    call(
        "calls/2026/11/02/parcel+neighbor & dog.m4a",
        "awb",
        "slt-hts",
        "Hello, I have a parcel for you but nobody opened the door.",
        "I am at work right now. Could you leave it with my neighbor?",
        "Yes, I can do that. Is it the house with the green door?",
        "That is right, but please be careful because she has a very big dog.",
        codec="aac",
    ),
    voicemail(
        "calls/2026/11/02/lost-cat.amr",
        "rms",
        "Hello, my neighbor told me that you are looking for your cat. I think she is sleeping in our garage. "
        "She is gray with white feet and she looks very hungry.",
        codec="libopencore_amrnb",
        rate_hz=8_000,
    ),
    # --- the third of November -----------------------------------------------------------------
    voicemail(
        "calls/2026/11/03/piano-lesson.ogg",
        "slt",
        "Good afternoon, I am sorry but my daughter cannot come to her piano lesson today. "
        "She has a cold and has to stay in bed. We hope to see you again next week.",
        codec="libopus",
    ),
    call(
        "calls/2026/11/03/internet is slow.ogg",
        "rms",
        "slt-hts",
        "Welcome to the service desk. What is the problem?",
        "My internet has been very slow since yesterday morning.",
        "Did you turn the small white box off and on again?",
        "Yes, I did that, but nothing has changed.",
        "Then I will test your line from here. Please stay on the phone.",
        "All right, I will wait.",
        codec="libopus",
    ),
    voicemail(
        "calls/2026/11/03/apples-and-pears.mp3",
        "awb",
        "Hello, this is the farm shop. The apples and pears that you ordered are ready. "
        "We also have fresh eggs and honey. The shop is open until the evening.",
        codec="libmp3lame",
    ),
    voicemail(
        "calls/2026/11/03/Señora Ibáñez – llamada.m4a",  # noqa: RUF001  the dash is meant
        "rms",
        "Good morning, this is the doctor. The results of your test are very good and there is no reason to worry. "
        "Please drink a lot of water and come back in the spring.",
        codec="aac",
    ),
    voicemail(
        "calls/2026/11/03/bicycle-shop.wav",
        "rms",
        "Your bicycle is ready. We have repaired the brakes and changed the back wheel. "
        "You can collect it whenever you like.",
        codec="pcm_s16le",
    ),
    call(
        "calls/2026/11/03/Überstunden/night shift.flac",
        "slt",
        "rms",
        "Can you work for me on Thursday night?",
        "Maybe. Why do you need a free evening?",
        "My brother is coming home and we want to cook together.",
        "That sounds nice. I will take your shift if you take mine on Saturday.",
        codec="flac",
        rate_hz=8_000,
    ),
    voicemail(
        "calls/2026/11/03/100% sure #call back.ogg",
        "slt",
        "Hello again, I am now quite sure that I want to buy the blue car. "
        "Please call me back so that we can talk about the price.",
        codec="libopus",
    ),
)

SILENT = "calls/2026/11/02/nobody-spoke.ogg"
"""Six seconds in which nobody speaks: transcribed, with an empty text."""

CORRUPT = "calls/2026/11/03/upload-broke-off.m4a"
"""The first part of an m4a whose index stood at its end, so that no decoder can open it."""

NOT_AUDIO = "calls/2026/11/01/notes.wav"
"""A text that somebody named .wav."""

NOTES = "These are the notes of a call, typed by hand.\nSomebody gave the file the name of a recording.\n"


def speak(turn: Turn) -> Samples:
    """The samples of one turn at *SPEECH_RATE_HZ*."""
    with tempfile.TemporaryDirectory() as folder:
        text_file, wav_file = Path(folder, "text.txt"), Path(folder, "speech.wav")
        text_file.write_text(turn.text, encoding="ascii")
        command = SYNTHESISERS[turn.voice]
        if command[0] == "flite":
            arguments = [*command, "-f", str(text_file), "-o", str(wav_file)]
        else:
            arguments = [*command, str(text_file), "-o", str(wav_file)]
        subprocess.run(arguments, check=True, capture_output=True)
        return resampled(wav_file)


def resampled(wav_file: Path) -> Samples:
    """The first channel of *wav_file* as 16-bit samples at *SPEECH_RATE_HZ*."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SPEECH_RATE_HZ)
    parts: list[Samples] = []
    with av.open(str(wav_file)) as container:
        for frame in container.decode(audio=0):
            parts += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    parts += [out.to_ndarray()[0] for out in resampler.resample(None)]
    return np.concatenate(parts)


def silence(duration_ms: int) -> Samples:
    """*duration_ms* of nothing."""
    return np.zeros(SPEECH_RATE_HZ * duration_ms // 1000, dtype=np.int16)


def mixed(recording: Recording) -> NDArray[np.int16]:
    """All turns one after the other, each on its own channel while the other channels are silent."""
    parts = [np.tile(silence(LEAD_IN_MS), (recording.channels, 1))]
    for turn in recording.turns:
        speech = speak(turn)
        block = np.zeros((recording.channels, len(speech)), dtype=np.int16)
        block[turn.channel] = speech
        parts += [block, np.tile(silence(PAUSE_BETWEEN_TURNS_MS), (recording.channels, 1))]
    return np.concatenate(parts, axis=1)


def compress(samples: NDArray[np.int16], path: Path, *, codec: str, rate_hz: int) -> None:
    """Write *samples* (channels by time, at *SPEECH_RATE_HZ*) to *path* with *codec* at *rate_hz*."""
    path.parent.mkdir(parents=True, exist_ok=True)
    layout = "stereo" if samples.shape[0] == 2 else "mono"
    bit_rates = {"libopus": 24_000, "libmp3lame": 32_000, "aac": 32_000, "libopencore_amrnb": 12_200}
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=48_000 if codec == "libopus" else rate_hz, layout=layout)
        if codec in bit_rates:
            stream.bit_rate = bit_rates[codec] * samples.shape[0]
        frame = av.AudioFrame.from_ndarray(samples.T.reshape(1, -1).copy(), format="s16", layout=layout)
        frame.rate = SPEECH_RATE_HZ
        resampler = av.AudioResampler(
            format=stream.codec_context.format or "s16",
            layout=layout,
            rate=stream.rate,
            frame_size=stream.codec_context.frame_size or 1024,
        )
        for out in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(out))
        container.mux(stream.encode(None))


def expected_rows() -> list[tuple[str, int, str, str, str]]:
    """What the demo expects of each file and channel: path, channel, text, voice, outcome."""
    rows = []
    for recording in SPOKEN:
        for channel in range(recording.channels):
            turns = [turn for turn in recording.turns if turn.channel == channel]
            text = " ".join(turn.text for turn in turns)
            rows.append((recording.path, channel, text, turns[0].voice, "transcribed"))
    rows.append((SILENT, 0, "", "", "transcribed"))
    rows += [(CORRUPT, 0, "", "", "failed"), (NOT_AUDIO, 0, "", "", "failed")]
    return sorted(rows)


def main() -> int:
    """Make every file anew; the exit status is 1 when a synthesiser is missing."""
    missing = sorted({command[0] for command in SYNTHESISERS.values() if shutil.which(command[0]) is None})
    if missing:
        print(f"Not found: {', '.join(missing)}. recordings/README.md says how to install the synthesisers.")
        return 1
    shutil.rmtree(HERE / "calls", ignore_errors=True)
    for recording in SPOKEN:
        path = HERE / recording.path
        compress(mixed(recording), path, codec=recording.codec, rate_hz=recording.rate_hz)
        print(f"{path.stat().st_size:>9,} bytes  {recording.path}")
    compress(silence(6_000)[np.newaxis], HERE / SILENT, codec="libopus", rate_hz=SPEECH_RATE_HZ)
    broken = HERE / CORRUPT
    compress(mixed(SPOKEN[3]), broken, codec="aac", rate_hz=SPEECH_RATE_HZ)
    broken.write_bytes(broken.read_bytes()[:20_000])
    (HERE / NOT_AUDIO).write_text(NOTES, encoding="ascii")
    with (HERE / "expected.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "channel", "text", "voice", "outcome"))
        writer.writerows(expected_rows())
    return 0


if __name__ == "__main__":
    sys.exit(main())
