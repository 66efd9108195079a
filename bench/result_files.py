"""A corpus of result files as the service writes them, with and without word times, from a fixed seed."""

from __future__ import annotations

import json
import random
from pathlib import Path

VOCABULARY = (  # noqa: SIM905
    "the a to and of in that it is was for you we on with as have not be at this but they what all can will there if "
    "about which when make like time just know take people into year your good some could them see other than then "
    "now look only come its over think also back after use two how our work first well way even new want because any "
    "account number invoice address delivery order payment please confirm customer morning afternoon question answer "
    "manager department transfer appointment Tuesday Wednesday weather telephone computer password email schedule"
).split()
TICKS = 10_000


def iso(ms: int) -> str:
    return f"PT{ms / 1000:g}S"


def timed(offset_ms: int, duration_ms: int) -> dict:
    return {
        "offset": iso(offset_ms),
        "duration": iso(duration_ms),
        "offsetInTicks": float(offset_ms * TICKS),
        "durationInTicks": float(duration_ms * TICKS),
        "offsetMilliseconds": offset_ms,
        "durationMilliseconds": duration_ms,
    }


def result_file(rng: random.Random, index: int, *, words: bool) -> dict:
    """A call of about 60 phrases on one or two channels."""
    channels = rng.choice((1, 2))
    with_display = rng.random() < 0.5
    phrases, said, clock = [], {channel: [] for channel in range(channels)}, 0
    for _ in range(max(1, int(rng.gauss(62, 18)))):
        spoken = rng.choices(VOCABULARY, k=max(1, int(rng.gauss(12, 5))))
        channel = rng.randrange(channels)
        start, lexical_words, display_words = clock, [], []
        for position, word in enumerate(spoken):
            duration_ms = 10 * rng.randint(8, 60)
            shown = (
                word.capitalize() if position == 0 else word + ("." if position == len(spoken) - 1 else "")
            )
            lexical_words.append(
                {"word": word, **timed(clock, duration_ms), "confidence": round(rng.uniform(0.4, 1), 7)}
            )
            display_words.append({"displayText": shown, **timed(clock, duration_ms)})
            clock += duration_ms
        lexical = " ".join(spoken)
        display = lexical.capitalize() + "."
        best = {
            "confidence": round(rng.uniform(0.4, 1), 7),
            "lexical": lexical,
            "itn": lexical,
            "maskedITN": lexical,
            "display": display,
        }
        if words:
            best["words"] = lexical_words
            if with_display:
                best["displayWords"] = display_words
        phrases.append(
            {
                "recognitionStatus": "Success",
                "channel": channel,
                **timed(start, clock - start),
                "nBest": [best],
            }
        )
        said[channel].append((lexical, display))
        clock += 10 * rng.randint(1, 150)
    return {
        "source": f"https://account.blob.core.windows.net/audio/2026/11/01/call-{index:07}.wav?sv=2024&sig=x",
        "timestamp": "2026-11-01T10:00:00Z",
        "durationInTicks": clock * TICKS,
        "durationMilliseconds": clock,
        "duration": iso(clock),
        "combinedRecognizedPhrases": [
            {
                "channel": channel,
                **{form: " ".join(one for one, _ in texts) for form in ("lexical", "itn", "maskedITN")},
                "display": " ".join(one for _, one in texts),
            }
            for channel, texts in said.items()
        ],
        "recognizedPhrases": phrases,
    }


def corpus(folder: Path, files: int, *, words: bool) -> list[Path]:
    rng = random.Random(20261101)
    folder.mkdir(parents=True)
    paths = []
    for index in range(files):
        path = folder / f"{index:07}.json"
        path.write_text(json.dumps(result_file(rng, index, words=words), separators=(",", ":")))
        paths.append(path)
    return paths
