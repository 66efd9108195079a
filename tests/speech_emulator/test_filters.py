import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_emulator.errors import ServiceError
from speech_emulator.filters import FILES, TRANSCRIPTIONS, parse

ROW = {
    "displayName": "chunk-1",
    "description": None,
    "createdDateTime": 1_643_713_200.0,  # 2022-02-01T11:00:00Z
    "lastActionDateTime": 1_643_716_800.0,
    "status": "Failed",
    "locale": "en-US",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("status eq 'Failed'", True),
        ("status ne 'Failed'", False),
        ("createdDateTime gt 2022-02-01T11:00:00Z", False),
        ("createdDateTime ge 2022-02-01T11:00:00Z", True),
        ("createdDateTime lt 2022-02-01T12:00:01+01:00", True),
        ("lastActionDateTime le 2022-02-01T11:59:59Z", False),
        ("displayName eq 'chunk-1' and not status eq 'Succeeded'", True),
        ("status eq 'Succeeded' or displayName eq 'chunk-1' and locale eq 'de-DE'", False),
        ("status eq 'Failed' or displayName eq 'chunk-1' and locale eq 'de-DE'", True),
        ("(status eq 'Failed' or displayName eq 'x') and locale eq 'de-DE'", False),
        ("not not locale eq 'en-US'", True),
    ],
)
def test_the_published_grammar_selects_what_it_says(text, expected):
    assert parse(text, TRANSCRIPTIONS)(ROW) is expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "status",
        "status eq",
        "status eq Failed",
        "status = 'Failed'",
        "status gt 'Failed'",
        "status eq 'Failed",
        "Status eq 'Failed'",
        "self eq 'x'",
        "customProperties eq 'x'",
        "startswith(displayName,'x')",
        "contains(displayName,'x')",
        "status eq 'Failed' and",
        "status eq 'Failed' status eq 'Failed'",
        "createdDateTime gt yesterday",
        "createdDateTime gt '",
        "'status' eq 'Failed'",
        "(status eq 'Failed'",
        "not " * 500 + "status eq 'Failed'",
    ],
)
def test_anything_beyond_the_grammar_is_refused(text):
    with pytest.raises(ServiceError) as refused:
        parse(text, TRANSCRIPTIONS)
    assert (refused.value.status, refused.value.inner) == (400, "UnsupportedFilter")


def test_files_have_properties_of_their_own():
    assert parse("name eq 'a.json' and kind eq 'Transcription'", FILES)(
        {"name": "a.json", "kind": "Transcription"}
    )
    with pytest.raises(ServiceError):
        parse("status eq 'Failed'", FILES)


def test_guessed_syntax_can_be_switched_off():
    for text, switch in (("(status eq 'x')", "parentheses"), ("status eq 'it''s'", "doubled_quotes")):
        parse(text, TRANSCRIPTIONS)
        with pytest.raises(ServiceError):
            parse(text, TRANSCRIPTIONS, **{switch: False})


@given(st.text())
def test_any_name_can_be_asked_for_with_doubled_quotes(name):
    quoted = name.replace("'", "''")
    predicate = parse(f"displayName eq '{quoted}'", TRANSCRIPTIONS)
    assert predicate({"displayName": name})
    assert not predicate({"displayName": name + "x"})


@given(st.text(alphabet=" '()andortequsx-Z:0123T\\\n", max_size=40))
def test_no_text_brings_the_parser_down(text):
    # Nothing but a refusal may come out of it.
    with contextlib.suppress(ServiceError):
        parse(text, TRANSCRIPTIONS)
