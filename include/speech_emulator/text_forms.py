"""Lexical, ITN, masked and display forms of recognised text, as far as they can be had honestly.

The recogniser writes numbers as digits already, so lexical and ITN are the same text here: lower case, no
punctuation. Profanity is known by a short English list.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

_LIST = (
    "arse arsehole ass asshole bastard bitch bollocks bullshit crap damn dick dickhead fuck fucked fucker "
    "fucking goddamn motherfucker piss pissed prick shit shitty slut twat wanker whore"
)
_PROFANE = frozenset(_LIST.split())
_EDGES = re.compile(r"^[^\w$€£%+]+|[^\w$€£%+]+$")
_INNER = re.compile('[,;:!?"“”()\\[\\]…\u2014\u2013]+|[.](?!\\d)')
_MARKS = re.compile(r"[.,;:!?…]+$")


@lru_cache(4096)
def lexical(text: str) -> str:
    """Lower case without punctuation; apostrophes and hyphens inside words stay."""
    return " ".join(bare for word in text.lower().split() if (bare := _bare(word)))


@lru_cache(4096)
def _bare(word: str) -> str:
    parts = (_EDGES.sub("", part) for part in _INNER.sub(" ", word).split())
    return " ".join(part for part in parts if part)


def is_profane(word: str) -> bool:
    """Whether a word, as displayed, is on the list."""
    return lexical(word) in _PROFANE


def filtered(words: Sequence[str], mode: str) -> list[str]:
    """Words with profanity as the mode wants it: untouched, removed, tagged or masked after the first letter."""
    if mode == "None":
        return list(words)
    kept: list[str] = []
    for word in words:
        if not is_profane(word):
            kept.append(word)
        elif mode == "Masked":
            kept.append(_mask(word))
        elif mode == "Tags":
            kept.append(f"<profanity>{word}</profanity>")
    return kept


def punctuated(words: Sequence[str], mode: str) -> list[str]:
    """Display words with the recogniser's punctuation, which is automatic, kept or taken off."""
    if mode in {"Automatic", "DictatedAndAutomatic"}:
        return list(words)
    return [bare for word in words if (bare := _MARKS.sub("", word))]


def _mask(word: str) -> str:
    letters = [at for at, letter in enumerate(word) if letter.isalnum()]
    return "".join("*" if at in letters[1:] else letter for at, letter in enumerate(word))
