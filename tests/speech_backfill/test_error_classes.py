"""Every known error is in one class, and what is not known is never paid for again."""

from __future__ import annotations

import pytest

from speech_backfill.error_classes import KNOWN, ErrorClass, OurCode, can_retry, error_class


def test_no_code_stands_in_the_table_twice() -> None:
    codes = [one.code.lower() for one in KNOWN]
    assert len(set(codes)) == len(codes)


def test_every_code_of_ours_stands_in_the_table_and_every_line_has_evidence() -> None:
    assert set(OurCode) <= {one.code for one in KNOWN}
    assert all(one.evidence for one in KNOWN)


@pytest.mark.parametrize("one", KNOWN, ids=lambda one: one.code)
def test_only_what_may_pass_is_tried_again(one: object) -> None:
    code, known = one.code, one.error_class  # type: ignore[attr-defined]
    assert error_class(code.upper(), None) is known
    assert can_retry(code, None) is (known is not ErrorClass.NEVER)


@pytest.mark.parametrize("code", ["SomethingNew", "", None])
def test_an_unknown_code_is_never_tried_again(code: str | None) -> None:
    assert not can_retry(code, "whatever")


def test_a_signature_that_ended_passes_under_any_code() -> None:
    message = "Authentication failed for recordings URI."
    assert error_class("InvalidData", message) is ErrorClass.AGAIN
    assert error_class(None, message) is ErrorClass.AGAIN


def test_purged_results_are_for_a_setting_to_say() -> None:
    assert not can_retry(OurCode.RESULTS_PURGED, None)
    assert can_retry(OurCode.RESULTS_PURGED, None, resubmit_purged=True)


def test_whoever_did_not_stand_alone_may_be_good() -> None:
    assert can_retry("InvalidData", None, alone=False)
