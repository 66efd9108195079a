"""Result files and reports in the service's JSON shape; pure functions of what was recognised and asked for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from speech_emulator.clock import stamp
from speech_emulator.config import Guesses
from speech_emulator.recognisers.model import Phrase, Recognised, Word
from speech_emulator.store import AudioFile
from speech_emulator.text_forms import filtered, lexical, punctuated

TICKS_PER_MS = 10_000


@dataclass(frozen=True, slots=True)
class Shape:
    """The submitted properties that decide what a result file holds."""

    words: bool
    display_words: bool
    profanity: str
    punctuation: str
    diarization: bool
    phrase_locale: str | None

    @staticmethod
    def of(properties: Mapping[str, Any], locale: str) -> "Shape":
        """Read the shape off a transcription's properties."""
        return Shape(
            words=properties["wordLevelTimestampsEnabled"],
            display_words=properties["displayFormWordLevelTimestampsEnabled"],
            profanity=properties["profanityFilterMode"],
            punctuation=properties["punctuationMode"],
            diarization=bool(properties.get("diarization", {}).get("enabled")),
            phrase_locale=locale if "languageIdentification" in properties else None,
        )


def iso_duration(ms: int) -> str:
    """An ISO 8601 duration as the service writes it: `PT2.18S`, `PT1H2M3S`."""
    if 0 <= ms < 60_000:
        return f"PT{ms / 1000:g}S"
    seconds, rest = divmod(abs(ms), 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{rest:03d}".rstrip("0") if rest else ""
    text = f"{hours}H" * bool(hours) + f"{minutes}M" * bool(minutes)
    if seconds or rest or not text:
        text += f"{seconds}{fraction}S"
    return f"{'-' if ms < 0 else ''}PT{text}"


def source_of(file: AudioFile, guesses: Guesses, *, from_container: bool) -> str:
    """How results name their input: the submitted URL, or the path inside the submitted container."""
    if from_container:
        return file.name.removesuffix(".json")
    return file.url if guesses.source_with_query else file.url.partition("?")[0]


def result(
    recognised: Recognised, source: str, finished_at: float, shape: Shape, guesses: Guesses
) -> dict[str, Any]:
    """The result file of one audio file."""
    phrases = [_phrase(phrase, shape, guesses) for phrase in recognised.phrases]
    duration = recognised.duration_ms
    head: dict[str, Any] = {
        "source": source,
        "timestamp": stamp(finished_at),
        "durationInTicks": duration * TICKS_PER_MS,
        "durationMilliseconds": duration,
        "duration": iso_duration(duration),
    }
    if not guesses.result_milliseconds:
        del head["durationMilliseconds"]
    return {
        **head,
        "combinedRecognizedPhrases": list(_combined(recognised, phrases, guesses)),
        "recognizedPhrases": phrases,
    }


def _combined(
    recognised: Recognised, phrases: list[dict[str, Any]], guesses: Guesses
) -> Iterable[dict[str, Any]]:
    for channel in recognised.channels:
        best = [phrase["nBest"][0] for phrase in phrases if phrase["channel"] == channel]
        if best or guesses.silent_channels == "empty_text":
            forms = ("lexical", "itn", "maskedITN", "display")
            yield {
                "channel": channel,
                **{form: " ".join(one[form] for one in best if one[form]) for form in forms},
            }


def _phrase(phrase: Phrase, shape: Shape, guesses: Guesses) -> dict[str, Any]:
    shown: dict[str, Any] = {"recognitionStatus": "Success", "channel": phrase.channel}
    if shape.diarization:
        shown["speaker"] = 1
    if shape.phrase_locale is not None:
        shown["locale"] = shape.phrase_locale
    shown.update(_span(phrase.start_ms, phrase.end_ms, guesses))
    displayed = [word.text for word in phrase.words] or phrase.text.split()
    spoken = lexical(" ".join(displayed))
    best: dict[str, Any] = {
        "confidence": phrase.confidence,
        "lexical": spoken,
        "itn": spoken,
        "maskedITN": " ".join(filtered(spoken.split(), shape.profanity)),
        "display": " ".join(filtered(punctuated(displayed, shape.punctuation), shape.profanity)),
    }
    if shape.words:
        best["words"] = [one for word in phrase.words if (one := _word(word, guesses)) is not None]
    if shape.display_words:
        best["displayWords"] = list(_display_words(phrase.words, shape, guesses))
    shown["nBest"] = [best]
    return shown


def _word(word: Word, guesses: Guesses) -> dict[str, Any] | None:
    text = lexical(word.text)
    if not text:
        return None
    return {"word": text, **_span(word.start_ms, word.end_ms, guesses), "confidence": word.confidence}


def _display_words(words: Iterable[Word], shape: Shape, guesses: Guesses) -> Iterable[dict[str, Any]]:
    for word in words:
        for text in filtered(punctuated([word.text], shape.punctuation), shape.profanity):
            yield {"displayText": text, **_span(word.start_ms, word.end_ms, guesses)}


def _span(start_ms: int, end_ms: int, guesses: Guesses) -> dict[str, Any]:
    duration = end_ms - start_ms
    shown: dict[str, Any] = {
        "offset": iso_duration(start_ms),
        "duration": iso_duration(duration),
        # Ticks arrive as floats although they are whole.
        "offsetInTicks": float(start_ms * TICKS_PER_MS),
        "durationInTicks": float(duration * TICKS_PER_MS),
    }
    if guesses.result_milliseconds:
        shown["offsetMilliseconds"] = start_ms
        shown["durationMilliseconds"] = duration
    return shown


def report(files: Iterable[AudioFile], guesses: Guesses, *, from_container: bool) -> dict[str, Any]:
    """The report of one transcription: every file that was not lost."""
    details: list[dict[str, Any]] = []
    good = bad = 0
    for file in files:
        source = source_of(file, guesses, from_container=from_container)
        if file.outcome == "succeeded":
            good += 1
            details.append({"source": source, "status": "Succeeded"})
        elif file.outcome == "failed":
            bad += 1
            details.append(
                {
                    "source": source,
                    "status": "Failed",
                    "errorKind": file.error_kind,
                    "errorMessage": file.error_message,
                }
            )
    counts: tuple[Any, Any] = (good, bad) if guesses.report_counts == "integers" else (str(good), str(bad))
    return {
        "successfulTranscriptionsCount": counts[0],
        "failedTranscriptionsCount": counts[1],
        "details": details,
    }
