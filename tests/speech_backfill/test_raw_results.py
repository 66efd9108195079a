"""Raw results come back as the service wrote them, but for the signatures."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_backfill.raw_results import kept_results, raw_results, without_signatures, write_line
from speech_backfill.store import Store

SIGNED = b"https://acct.blob.core.windows.net/audio/a%20b.wav?sv=2024&sig=SECRET%3D"
PLAIN = SIGNED.partition(b"?")[0]


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b'{"source":"%s","x":[]}', b'{"source":"%s","x":[]}'),
        (b'{"x":"why?","source" : "%s"}', b'{"x":"why?","source" : "%s"}'),
        (b'{"source":"%s","x":{"source":"%s"}}', b'{"source":"%s","x":{"source":"%s"}}'),
        (b'{"source":"plain","x":{"source":"%s"}}', b'{"source":"plain","x":{"source":"%s"}}'),
        (b'{"source":null,"source":"%s"}', b'{"source":null,"source":"%s"}'),
        (b'{"source":"%s","x":"\\u003d \\"source\\":"}', b'{"source":"%s","x":"\\u003d \\"source\\":"}'),
    ],
)
def test_signatures_are_taken_out_of_every_source(content, kept):
    signed = content.replace(b"%s", SIGNED)
    assert without_signatures(signed) == kept.replace(b"%s", PLAIN)
    escaped = signed.replace(b"?sv", rb"\u003Fsv").replace(b"=", rb"\u003d")
    assert b"SECRET" not in without_signatures(escaped)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"source":"https://x/y.wav","display":"1 + 1 = 2?"}', b'{"display":"source?"}']
)
def test_what_carries_no_query_stays_as_it_is(content):
    assert without_signatures(content) == content


texts = st.sampled_from([SIGNED.decode(), PLAIN.decode(), 'a "source" = \\ why?', "", "?"])
documents = st.recursive(
    st.none() | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["source", "x", "y?"]), inner)
    ),
    max_leaves=8,
)


def with_sources(value, change, key=None):
    """*value* with every text under the key source changed."""
    match value:
        case dict():
            return {name: with_sources(one, change, name) for name, one in value.items()}
        case list():
            return [with_sources(one, change) for one in value]
        case str() if key == "source":
            return change(value)
        case _:
            return value


@given(st.fixed_dictionaries({"all": documents}), st.sampled_from([None, 1]))
def test_every_source_loses_its_signature_and_nothing_else_changes(document, indent):
    found = json.loads(without_signatures(json.dumps(document, indent=indent).encode()))
    sources = []
    with_sources(found, sources.append)
    assert SIGNED.decode() not in sources
    for one in (found, document):
        one["all"] = with_sources(one["all"], lambda url: url.partition("?")[0])
    assert found == document


def test_kept_results_come_back_with_their_ids_a_line_each(tmp_path):
    store = Store.open("memory://")
    files = {
        "f1": b'{\r\n  "display": "a\\nb",\n  "source": "u"}',
        "f2": b'\xef\xbb\xbf{"source":"%s"}' % SIGNED,
    }
    with raw_results(tmp_path / "raw", "raw/x.zst", store) as raw:
        for file_id, content in files.items():
            write_line(raw, file_id, content)
    store.download("raw/x.zst", tmp_path / "kept")
    assert dict(kept_results(tmp_path / "kept")) == {
        "f1": b'{    "display": "a\\nb",   "source": "u"}',
        "f2": b'{"source":"%s"}' % PLAIN,
    }


def test_a_line_is_one_line():
    target = io.BytesIO()
    write_line(target, "f", b'{"a":\r\n1}')
    assert target.getvalue() == b'{"file_id":"f","result":{"a":  1}}\n'
