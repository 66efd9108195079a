"""Reports of every version and key case, and what becomes of odd ones."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_backfill.results.errors import InvalidReport
from speech_backfill.results.report import ReportDetail, read_report

MIXED = {
    "successfulTranscriptionsCount": 1,
    "failedTranscriptionsCount": 1,
    "details": [
        {"source": "https://acct.blob.core.windows.net/a/fine.wav?sig=abc", "status": "Succeeded"},
        {
            "source": "https://acct.blob.core.windows.net/a/noise.bin?sig=abc",
            "status": "Failed",
            "errorKind": "InvalidData",
            "errorMessage": "The format of the audio is unknown.",
        },
    ],
}
READ = (
    ReportDetail("https://acct.blob.core.windows.net/a/fine.wav", "Succeeded", None, None),
    ReportDetail(
        "https://acct.blob.core.windows.net/a/noise.bin",
        "Failed",
        "InvalidData",
        "The format of the audio is unknown.",
    ),
)


def pascal(value):
    if isinstance(value, dict):
        return {name[0].upper() + name[1:]: pascal(one) for name, one in value.items()}
    return [pascal(one) for one in value] if isinstance(value, list) else value


def test_a_report_lists_its_files_without_their_queries():
    assert read_report(json.dumps(MIXED).encode()) == READ


def test_key_case_counts_as_text_and_a_byte_order_mark_do_not_matter():
    counted = {**MIXED, "successfulTranscriptionsCount": "1", "failedTranscriptionsCount": "1"}
    assert read_report(b"\xef\xbb\xbf" + json.dumps(pascal(counted)).encode()) == READ


def test_version_3_0_names_the_url_source_url():
    old = json.dumps(MIXED).replace('"source"', '"sourceUrl"')
    assert read_report(old.encode()) == READ


def test_a_report_may_list_no_file():
    assert read_report(b'{"successfulTranscriptionsCount":0,"failedTranscriptionsCount":0}') == ()
    assert read_report(b'{"details":null,"failedTranscriptionsCount":0}') == ()
    assert read_report(b'{"details":[]}') == ()


@pytest.mark.parametrize(
    ("detail", "read"),
    [
        (
            {"source": "u"},
            ReportDetail("u", "Failed", None, "The report gives no reason; its status is absent."),
        ),
        (
            {"source": "u", "status": "Skipped"},
            ReportDetail("u", "Failed", None, "The report gives no reason; its status is Skipped."),
        ),
        ({"source": "u", "status": "Failed"}, ReportDetail("u", "Failed", None, None)),
        ({"source": "u", "status": "succeeded"}, ReportDetail("u", "Succeeded", None, None)),
        ({"status": "Succeeded"}, ReportDetail("", "Succeeded", None, None)),
        (
            {"source": "u", "status": "Failed", "errorKind": "", "errorMessage": 3},
            ReportDetail("u", "Failed", None, None),
        ),
    ],
)
def test_a_detail_with_gaps_counts_as_succeeded_only_where_it_says_so(detail, read):
    assert read_report(json.dumps({"details": [detail]}).encode()) == (read,)


def test_a_url_within_an_error_message_loses_its_query():
    message = "Could not fetch 'https://acct.blob.core.windows.net/a/b.wav?sv=1&sig=SECRET'. Try (HTTPS://x/y?sig=SECRET)."
    detail = {"source": "u", "status": "Failed", "errorMessage": message}
    (read,) = read_report(json.dumps({"details": [detail]}).encode())
    assert "SECRET" not in read.error_message
    assert "https://acct.blob.core.windows.net/a/b.wav'. Try (HTTPS://x/y" in read.error_message


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"error":{}}', b'{"details":{}}', b'{"details":[3]}'],
)
def test_what_is_no_report_is_refused(body):
    with pytest.raises(InvalidReport) as caught:
        read_report(body)
    assert caught.value.reason


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_but_the_one_error(body):
    with suppress(InvalidReport):
        read_report(body)
