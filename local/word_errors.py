"""How well a transcript agrees with what was said: the word error rate. Reads no file and knows no table."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import jiwer

SPELLINGS = {
    "neighbour": "neighbor",
    "grey": "gray",
    "alright": "all right",
    "cannot": "can not",
    "okay": "ok",
}
"""Words that are right in more than one spelling."""


@dataclass(frozen=True)
class WordErrors:
    """Errors and words of one or more texts."""

    errors: int
    words: int

    @property
    def rate(self) -> float:
        """Errors for each word that was said; 0 where nothing was said and nothing was heard."""
        if self.words == 0:
            return float(self.errors > 0)
        return self.errors / self.words

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(self.errors + other.errors, self.words + other.words)


def compare(said: str, heard: str) -> WordErrors:
    """The errors in *heard*: words that are wrong, missing or too many. Case and punctuation do not count."""
    reference, hypothesis = plain(said), plain(heard)
    if not reference:
        return WordErrors(len(hypothesis.split()), 0)
    found = jiwer.process_words(reference, hypothesis)
    words = found.hits + found.substitutions + found.deletions
    return WordErrors(found.substitutions + found.deletions + found.insertions, words)


def total(parts: Iterable[WordErrors]) -> WordErrors:
    """All *parts* together, so that a long text weighs more than a short one."""
    return sum(parts, WordErrors(0, 0))


def plain(text: str) -> str:
    """*text* as words alone: no capitals, no punctuation, one spelling."""
    letters = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")  # noqa: RUF001  that is the one replaced
    kept = "".join(letter if letter.isalnum() or letter == "'" else " " for letter in letters)
    return " ".join(SPELLINGS.get(word, word) for word in kept.split())
