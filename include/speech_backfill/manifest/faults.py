"""Turns what obstore raises into the errors of a source; never lets a query string through."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import TypeVar

from obstore.exceptions import (
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from speech_backfill.accounts import SasToken, StorageAccount
from speech_backfill.errors import (
    ManifestError,
    SourceNotFound,
    SourceRefused,
    SpeechBackfillError,
    UnreadableManifest,
)
from speech_backfill.manifest.errors import SourceUnreachable
from speech_backfill.manifest.lines import without_secrets

FIRST_ANSWER_SECONDS = 20.0
"""How long an account may take for its first answer before it counts as down."""

_T = TypeVar("_T")


@contextmanager
def explained(source: str, account: StorageAccount) -> Iterator[None]:
    """Raise the error of a source for whatever the storage client raises inside. *source* carries no query."""
    try:
        yield
    except SpeechBackfillError:
        raise
    except PreconditionError:
        raise UnreadableManifest(
            source, "one version of a manifest", "it changed while it was read"
        ) from None
    except TimeoutError:
        raise SourceUnreachable(source, f"no answer within {FIRST_ANSWER_SECONDS:.0f} seconds") from None
    except Exception as error:  # the client has one class a fault; the reader needs one message
        # `from None`: the client's own text may quote the URL it asked for, with its signature.
        raise _explanation(source, account, error) from None


def _explanation(source: str, account: StorageAccount, error: Exception) -> ManifestError:
    """The error of a source that *error* means: refusals of a listing come without a class of their own."""
    text = str(error)
    found = re.search(r"status code: (\d{3})", text)
    status = found.group(1) if found else str(getattr(error, "status_code", ""))
    if isinstance(error, (NotFoundError, FileNotFoundError)):
        if "ContainerNotFound" in text:
            return SourceNotFound(source, "the container does not exist")
        return SourceNotFound(source, "there is no such blob, or no such container")
    if status == "404" and "ContainerNotFound" in text:
        return SourceNotFound(source, "the container does not exist")
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or status in {"401", "403"}:
        return SourceRefused(source, _refusal(error, account))
    if "Invalid Access Key" in text:
        return SourceRefused(
            source, f"the key of account {account.name} is not Base64, so it is no account key"
        )
    return SourceUnreachable(source, said(error))


def first_answer(call: Callable[[], _T]) -> _T:
    """The result of *call*, or TimeoutError: a black hole in the network must not cost the client's full retries."""
    answers: SimpleQueue[tuple[_T | None, BaseException | None]] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:  # handed over to the thread that waits
            answers.put((None, error))

    threading.Thread(target=ask, daemon=True, name="first-answer").start()
    try:
        result, error = answers.get(timeout=FIRST_ANSWER_SECONDS)
    except Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # None only where the call's own result is None


def said(error: Exception) -> str:
    """What a client's error says in one line, without queries and secrets."""
    text = " ".join(str(error).split("\n\nDebug source", 1)[0].split())
    text = text.split(": <", 1)[0].removeprefix("Generic MicrosoftAzure error: ")
    return without_secrets(re.sub(r"\?\S*", "?…", text))[:300].rstrip(".: ") or type(error).__name__


def _refusal(error: Exception, account: StorageAccount) -> str:
    match account.credential:
        case SasToken(expires_at=float() as ends) if ends < time.time():
            ended = time.strftime("%Y-%m-%d %H:%M", time.gmtime(ends))
            return f"the SAS of account {account.name} expired at {ended} UTC"
        case SasToken():
            kind = "the SAS"
        case _:
            kind = "the credential"
    code = re.search(r"<Code>(\w+)</Code>", str(error))
    status = re.search(r"\b(401|403)\b", str(error))
    said_so = ", ".join(one.group(1) for one in (status, code) if one)
    return f"{kind} of account {account.name} was refused" + (f" ({said_so})" if said_so else "")
