"""The project's documents as text: found, and taken apart into headings, links, tables and code."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LOOKED_IN = ("docs", "include", "plugins", "recordings", "tests", "bench", "local")

DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(path for folder in _LOOKED_IN for path in (ROOT / folder).rglob("*.md"))]
)


def name(path):
    """How a document is called in a test's id."""
    return path.relative_to(ROOT).as_posix()


def prose(text):
    """*text* without its fenced code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(text):
    """The headings of *text*, without their marks."""
    return re.findall(r"^#+ (.+)$", prose(text), flags=re.MULTILINE)


def anchor(heading):
    """The anchor that GitHub gives a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower())
    return kept.replace(" ", "-")


def links(text):
    """The targets of Markdown links."""
    return re.findall(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)", prose(text))


def code_blocks(text, language):
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def read(relative):
    """A document's text."""
    return (ROOT / relative).read_text(encoding="utf-8")


def literals(*folders):
    """Every string that the Python files of *folders* write, the pieces of f-strings among them; a line each."""
    return "\n".join(
        one.value
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        for one in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    )
