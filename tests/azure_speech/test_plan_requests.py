"""Forms become plan requests, or a message that says what to correct."""

from __future__ import annotations

from datetime import date

import pytest

from azure_speech.plan_requests import checked_form, daily_request, manifest_request
from speech_backfill.errors import SettingsError
from speech_backfill.settings import Settings

SETTINGS = Settings()


def test_the_form_of_a_manifest_becomes_a_request() -> None:
    conf = {"source": " az://recordings/calls/ ", "partition": "calls", "budget_hours": 3, "channels": [0]}

    request = manifest_request(conf, SETTINGS, run_id="run 1")

    assert (request.source, request.partition, request.run_key) == (
        "az://recordings/calls/",
        "calls",
        "run 1",
    )
    assert (request.budget_hours, request.options.channels, request.options.locale) == (3.0, (0,), "en-US")


def test_a_source_with_a_sas_is_refused_and_not_repeated() -> None:
    """The message is logged: it must not hold what it complains of."""
    conf = {"source": "https://a.blob.core.windows.net/c/m.csv?sv=1&SIG=abcdef", "partition": "x"}

    with pytest.raises(SettingsError, match="carries a SAS") as caught:
        manifest_request(conf, SETTINGS, run_id="run 1")

    assert "abcdef" not in str(caught.value)


def test_a_form_without_a_partition_is_refused() -> None:
    with pytest.raises(SettingsError, match="gives it no name"):
        manifest_request({"source": "az://x/y/", "partition": " "}, SETTINGS, run_id="run 1")


def test_a_day_fills_in_the_template_of_its_source() -> None:
    request = daily_request({}, SETTINGS, day=date(2026, 11, 1), run_id="run 1")

    assert (request.source, request.partition) == ("az://recordings/calls/2026/11/01/", "2026-11-01")


def test_a_template_that_cannot_be_filled_in_names_its_setting() -> None:
    with pytest.raises(SettingsError, match="SPEECH_BACKFILL_DAILY_SOURCE"):
        daily_request({}, Settings(daily_source="az://x/{day}/"), day=date(2026, 11, 1), run_id="run 1")


def test_a_field_that_the_form_does_not_have_is_refused() -> None:
    with pytest.raises(SettingsError, match="no such field"):
        checked_form({"pefix": "x"}, fields=["prefix"])
