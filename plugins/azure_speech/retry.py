"""Which failures of a task are worth another try, for every task that calls the core."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from speech_backfill import errors as core
from speech_backfill.manifest.errors import SourceUnreachable
from speech_backfill.speech import errors as speech
from speech_backfill.tables.errors import InvalidPartitionKey, UnreadablePartitionFile

SOON_DELAY = timedelta(minutes=1)

_FINAL = RetryRule(
    exception=[
        speech.RequestRefused,
        speech.Unauthorized,
        speech.NotFound,
        speech.ForeignLink,
        core.SettingsError,
        core.OptionsError,
        core.ManifestError,
        core.UnknownPlan,
        core.NothingTaken,
        core.BudgetExhausted,
        core.UnexplainedFiles,
        core.SupersededPlan,
        core.StalePlan,
        core.NotSubmitted,
        InvalidPartitionKey,
        UnreadablePartitionFile,
    ],
    action=RetryAction.FAIL,
    reason="A person has to act first: a repeat would say the same",
)

_SOON = RetryRule(
    exception=[core.StoreConflict],
    action=RetryAction.RETRY,
    retry_delay=SOON_DELAY,
    reason="Another writer was first; the step sees what it wrote",
)

_OUTAGE = RetryRule(
    exception=[speech.SpeechServiceError, core.LedgerUnavailable],
    action=RetryAction.RETRY,
    reason="Passing trouble, of a minute or of half an hour: ever longer, as the task says; the step goes on where it was",
)

_UNREACHABLE = RetryRule(
    exception=[SourceUnreachable],
    action=RetryAction.RETRY,
    reason="The only ManifestError that passes by itself",
)


def retry_policy() -> ExceptionRetryPolicy:
    """The policy of every task of ours; it needs `retries` of 2 or more beside it."""
    return ExceptionRetryPolicy(rules=[_UNREACHABLE, _FINAL, _SOON, _OUTAGE])


def is_final(error: Exception) -> bool:
    """Whether a person has to act before another try can help."""
    return _FINAL.matches(error) and not _UNREACHABLE.matches(error)
