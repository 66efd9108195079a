"""What a person reads of a plan: how much audio, how sure, and that the price is a setting."""

from __future__ import annotations

from typing import Any

import pytest

from speech_backfill.plan.request import PlanSummary


def _summary(**changes: Any) -> PlanSummary:
    values: dict[str, Any] = {
        "plan_id": "p",
        "partition": "day",
        "run_key": "run",
        "source": "az://calls/",
        "base_version": 0,
        "files": 52_345,
        "duplicates": 0,
        "to_submit": 52_345,
        "under_way": 0,
        "carried": 0,
        "elsewhere": 0,
        "refused": 0,
        "chunks": 53,
        "shards": 48,
        "audio_hours": 1234.5,
        "audio_hours_estimated": True,
        "price": 222.21,
        "price_per_audio_hour": 0.18,
        "task_instances": 148,
        "dry_run": True,
    }
    return PlanSummary(**(values | changes))


SAMPLED = {"audio_hours_error": 12.3, "headers_asked": 400, "headers_read": 400, "durations_sampled": 51_945}


@pytest.mark.parametrize(
    ("changes", "audio"),
    [
        (SAMPLED, "1,234.50 h ± 12.30 h (95 %, headers of 400 of 52,345 files read)"),
        (
            SAMPLED | {"durations_in_manifest": 2345, "durations_sampled": 49_600},
            "1,234.50 h ± 12.30 h (95 %, headers of 400 of 50,000 files read; 2,345 durations from the manifest)",
        ),
        (
            SAMPLED
            | {
                "headers_read": 390,
                "durations_sampled": 51_855,
                "durations_guessed": 100,
                "audio_hours_guessed": 3.0,
            },
            (
                "1,234.50 h ± 12.30 h (95 %, headers of 390 of 52,345 files read; "
                "100 files guessed from sizes, 3.00 h of it; 10 of 400 headers could not be read)"
            ),
        ),
        (
            {"audio_hours_estimated": False, "durations_in_manifest": 52_345},
            "1,234.50 h (exact, from the manifest)",
        ),
        (
            {"audio_hours_estimated": False, "headers_asked": 52_345, "headers_read": 52_345},
            "1,234.50 h (exact, from the headers of 52,345 files)",
        ),
        (
            {"audio_hours_estimated": False, "durations_in_manifest": 52_000, "headers_asked": 345}
            | {"headers_read": 345},
            "1,234.50 h (exact, from the manifest and the headers of 345 files)",
        ),
        (
            {"durations_guessed": 52_345, "audio_hours_guessed": 1234.5},
            "about 1,234.50 h (guessed from sizes)",
        ),
        (
            {"durations_in_manifest": 52_340, "durations_guessed": 5, "audio_hours_guessed": 0.5},
            "about 1,234.50 h (5 of 52,345 files guessed from sizes, 0.5000 h of it)",
        ),
        (
            {"headers_asked": 400, "durations_guessed": 52_345, "audio_hours_guessed": 1234.5},
            "about 1,234.50 h (guessed from sizes; 400 of 400 headers could not be read)",
        ),
    ],
)
def test_the_hours_say_where_they_come_from_and_how_sure_they_are(
    changes: dict[str, Any], audio: str
) -> None:
    assert f"  audio             {audio}\n" in _summary(**changes).text


@pytest.mark.parametrize(
    ("changes", "price"),
    [
        (SAMPLED, "222.21 ± 2.21"),
        ({"audio_hours_estimated": False, "durations_in_manifest": 52_345}, "222.21"),
        ({"durations_guessed": 52_345}, "about 222.21"),
    ],
)
def test_the_price_is_as_sure_as_the_hours_and_said_to_be_a_setting(
    changes: dict[str, Any], price: str
) -> None:
    made = _summary(**changes)
    assert (
        f"  price             {price} (at the price in the settings, not verified with Azure)\n" in made.text
    )
    assert made.to_dict()["price_basis"] == (
        "the setting SPEECH_BACKFILL_PRICE_PER_AUDIO_HOUR, not verified with Azure"
    )
