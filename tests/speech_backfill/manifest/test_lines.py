from hypothesis import given
from hypothesis import strategies as st

from speech_backfill.manifest.lines import RefusedLine, shown, without_secrets


def test_nothing_after_a_question_mark_is_shown():
    assert shown("https://a/c/x.wav?sv=1&sig=abc") == "https://a/c/x.wav"


def test_signatures_keys_and_passwords_are_masked_without_a_question_mark_too():
    text = "sv=1&sig=abc%3D&se=2 %26sig%3Ddef AccountKey=ghi==;x https://user:jkl@host/"

    masked = without_secrets(text)

    assert not any(secret in masked for secret in ("abc", "def", "ghi", "jkl"))
    assert "&se=2" in masked
    assert "https://user@host/" in masked


@given(st.text())
def test_a_refused_line_is_short_and_printable(text):
    line = RefusedLine.of(1, text * 50, "InvalidUri", text)

    assert len(line.text) <= 300
    assert not any(ord(letter) < 32 or 0xD800 <= ord(letter) <= 0xDFFF for letter in line.text + line.problem)


@given(st.text(), st.text(), st.from_regex(r"[A-Za-z0-9%]{8,20}", fullmatch=True))
def test_a_signature_never_stays(before, after, secret):
    text = f"{before}sig={secret} {after}"

    assert f"sig={secret}" not in shown(text)
    assert f"sig={secret}" not in without_secrets(text)
