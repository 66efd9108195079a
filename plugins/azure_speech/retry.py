"""Which failures of a task are worth another try, for every task that calls the core. Names errors, imports none.

The names are dotted paths, so that the parsing of DAG files stays light.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

_SPEECH = "speech_backfill.speech.errors"
_CORE = "speech_backfill.errors"

FINAL = (
    f"{_SPEECH}.RequestRefused",
    f"{_SPEECH}.Unauthorized",
    f"{_SPEECH}.NotFound",
    f"{_SPEECH}.ForeignLink",
    f"{_CORE}.SettingsError",
    f"{_CORE}.OptionsError",
    f"{_CORE}.ManifestError",
    f"{_CORE}.UnknownPlan",
    f"{_CORE}.BudgetExhausted",
    "speech_backfill.submit.SupersededPlan",
)
"""A person has to act first: a repeat would say the same."""

SOON = (
    f"{_SPEECH}.Throttled",
    f"{_SPEECH}.ServiceUnavailable",
    f"{_SPEECH}.NotSent",
    f"{_SPEECH}.AnswerLost",
    f"{_SPEECH}.UnreadableAnswer",
    f"{_CORE}.StoreConflict",
    f"{_CORE}.LedgerUnavailable",
)
"""Passing trouble; the step goes on where it was."""

SOON_DELAY = timedelta(minutes=1)


_FINAL_RULE = RetryRule(exception=list(FINAL), action=RetryAction.FAIL, reason="A person has to act first")
_SOON_RULE = RetryRule(
    exception=list(SOON), action=RetryAction.RETRY, retry_delay=SOON_DELAY, reason="Passing trouble"
)


def retry_policy() -> ExceptionRetryPolicy:
    """The policy of every task of ours; it needs `retries` of 2 or more beside it."""
    return ExceptionRetryPolicy(rules=[_FINAL_RULE, _SOON_RULE])


def is_final(error: Exception) -> bool:
    """Whether a person has to act before another try can help."""
    return _FINAL_RULE.matches(error)
