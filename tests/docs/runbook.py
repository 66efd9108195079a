"""The runbook taken apart: sections, their points, what stands between backticks, and the commands that are typed."""

import re
import shlex
from dataclasses import dataclass

from tests.docs.documents import read

TEXT = read("docs/RUNBOOK.md")
POINTS = ("You see", "Why", "State", "Type")
_POINT = re.compile(rf"^- \*\*({'|'.join(POINTS)})\*\* ", flags=re.MULTILINE)
_FENCE = re.compile(r"^ *```.*?\n(.*?)^ *```$", flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Section:
    """A heading of the third level, the part it stands in, and what follows."""

    part: str
    heading: str
    text: str

    @property
    def points(self):
        """The names of the section's points in their order, and the text before the first as the point ""."""
        return ["", *_POINT.findall(self.text)]

    def point(self, name):
        """What the section says under *name*; empty where it has no such point."""
        texts = _POINT.split(self.text)
        return dict(zip(["", *texts[1::2]], texts[::2], strict=True)).get(name, "")


def sections():
    """Every section of the runbook."""
    for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        name, _, rest = part.partition("\n")
        for one in re.split(r"^### ", rest, flags=re.MULTILINE)[1:]:
            heading, _, text = one.partition("\n")
            yield Section(name, heading, text.strip())


SECTIONS = {one.heading: one for one in sections()}


def errors_and_codes():
    """The sections of errors and of reasons: those that a person looks up by what the log or the table shows."""
    return [one for one in SECTIONS.values() if one.part.startswith(("Errors of ", "Reasons of "))]


def spans(text):
    """What stands between backticks in a line of text; a span may go on in the next line."""
    return [" ".join(one.split()) for one in re.findall(r"`([^`]+)`", _FENCE.sub("", text))]


def fenced(text):
    """The lines of fenced code."""
    return [line.strip() for block in _FENCE.findall(text) for line in block.splitlines() if line.strip()]


def italics(text):
    """What stands in italics: labels, words of a log, names of roles."""
    bare = re.sub(r"`[^`]+`|\*\*.+?\*\*", " ", _FENCE.sub("", text), flags=re.DOTALL)
    return [" ".join(one.split()) for one in re.findall(r"(?<![*\w])\*([^*]+)\*(?![*\w])", bare)]


def typed(text=TEXT):
    """Every command as words, from fenced code and from spans; what no shell could read is no command."""
    for line in [*fenced(text), *spans(text)]:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        while words:
            end = next((at for at, word in enumerate(words) if word in {"&&", "|", "<", ">"}), len(words))
            yield words[:end]
            words = words[end + 1 :]


def arguments(*program):
    """The arguments of every command that runs *program*, whatever stands before it."""
    length = len(program)
    found = []
    for words in typed():
        for at in range(len(words) - length):
            if tuple(words[at : at + length]) == program:
                found.append(words[at + length :])
    return found
