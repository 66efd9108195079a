"""A recogniser for load tests: it invents the same words for the same URL each time and says so in every phrase.

It listens to nothing. Where it is told to fetch the audio it downloads and decodes it only to learn whether that
works and how long the audio is.
"""

import hashlib
import random
from urllib.parse import urlsplit

from speech_emulator.audio import AudioFetcher, check_channels
from speech_emulator.config import RecogniserSettings, Settings
from speech_emulator.recognisers.model import Phrase, Recognised, Request, Word

MARK = "[synthetic]"
_TEXT = (
    "account address again agent amount appointment balance billing branch call change check claim "
    "contract customer date delivery deposit details email family form help home hour insurance invoice "
    "letter line manager meeting message minute money month name notice number office order parcel "
    "payment phone please policy price question receipt reference refund report request return service "
    "signature statement station street system ticket today tomorrow transfer value visit water week "
    "window year"
)
_WORDS = _TEXT.split()


class SyntheticRecogniser:
    """Words out of a hash."""

    keeps_results = False

    def __init__(self, settings: Settings, fetcher: AudioFetcher | None) -> None:
        self._settings = settings.recogniser
        self._all = settings
        self._fetcher = fetcher if settings.recogniser.synthetic_fetch_audio else None
        self.workers = max(settings.recogniser.workers, 8) if self._fetcher else 1
        self.keeps_results = self._fetcher is not None

    async def recognise(self, url: str, request: Request) -> Recognised:
        """Invented phrases, after looking at the audio where that was asked for."""
        if self._fetcher is None:
            return self.again(url, request)
        async with self._fetcher.fetched(url) as audio:
            facts = await self._fetcher.facts(audio)
        channels = check_channels(facts, request, self._all)
        return invent(url, channels, facts.duration_ms)

    def again(self, url: str, request: Request) -> Recognised:
        """The same phrases once more."""
        return invent(url, (0,), synthetic_duration_ms(url, self._settings))

    async def aclose(self) -> None:
        """Nothing is held."""


def _seed(url: str) -> int:
    # The query is left out: a fresh SAS must not change what was "said".
    parts = urlsplit(url)
    return int.from_bytes(hashlib.sha256(f"{parts.netloc}{parts.path}".encode()).digest()[:8])


def synthetic_duration_ms(url: str, settings: RecogniserSettings) -> int:
    """A length between the configured bounds, the same for the same URL."""
    shortest, longest = settings.synthetic_shortest_seconds, settings.synthetic_longest_seconds
    return int((shortest + (_seed(url) % 10_000) / 10_000 * (longest - shortest)) * 1000)


def invent(url: str, channels: tuple[int, ...], duration_ms: int) -> Recognised:
    """Phrases of about five words, one every seven seconds, on channels in turn."""
    chance = random.Random(_seed(url))
    phrases: list[Phrase] = []
    start = 200
    while start + 1500 <= duration_ms and len(phrases) < 2000:
        count = chance.randint(4, 8)
        each = min(320, (duration_ms - start) // (count + 1))
        texts = [MARK, *chance.choices(_WORDS, k=count)]
        texts[-1] += "."
        words = tuple(
            Word(text, start + at * each, start + (at + 1) * each - 20, round(chance.uniform(0.6, 0.99), 4))
            for at, text in enumerate(texts)
        )
        confidence = round(sum(word.confidence for word in words) / len(words), 4)
        channel = channels[len(phrases) % len(channels)]
        phrases.append(Phrase(channel, start, words[-1].end_ms, confidence, " ".join(texts), words))
        start += 7000
    return Recognised(duration_ms, channels, tuple(phrases))
