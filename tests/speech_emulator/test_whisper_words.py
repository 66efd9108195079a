"""What the recogniser hears as pieces becomes words with their times."""

from __future__ import annotations

from types import SimpleNamespace

from speech_emulator.recognisers.whisper import _words


def piece(word: str, start: float, end: float, probability: float) -> SimpleNamespace:
    return SimpleNamespace(word=word, start=start, end=end, probability=probability)


def test_a_piece_without_a_space_before_it_belongs_to_the_word_before():
    """“ cold” and “-hearted” are one word, from the first's start to the last's end, as sure as the less sure one."""
    heard = [piece(" rather", 0.0, 0.3, 0.9), piece(" cold", 0.3, 0.5, 0.8), piece("-hearted", 0.5, 1.0, 0.6)]

    words = _words(heard, 1000)

    assert [(word.text, word.start_ms, word.end_ms, word.confidence) for word in words] == [
        ("rather", 1000, 1300, 0.9),
        ("cold-hearted", 1300, 2000, 0.6),
    ]


def test_a_first_piece_needs_no_space():
    """A segment may begin without one."""
    assert [
        word.text for word in _words([piece("Hello", 0.0, 0.4, 0.9), piece(" you", 0.4, 0.6, 0.9)], 0)
    ] == [
        "Hello",
        "you",
    ]
