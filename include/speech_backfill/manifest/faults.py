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
from speech_backfill.errors import SourceNotFound, SourceRefused, SpeechBackfillError, UnreadableManifest
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
    except (NotFoundError, FileNotFoundError) as error:
        what = (
            "the container does not exist" if "ContainerNotFound" in str(error) else "there is no such blob"
        )
        raise SourceNotFound(source, what) from None
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise SourceRefused(source, _refusal(error, account)) from None
    except PreconditionError:
        raise UnreadableManifest(
            source, "one version of a manifest", "it changed while it was read"
        ) from None
    except TimeoutError:
        raise SourceUnreachable(source, f"no answer within {FIRST_ANSWER_SECONDS:.0f} seconds") from None
    except Exception as error:  # the client has one class a fault; the reader needs one message
        # `from None`: the client's own text may quote the URL it asked for, with its signature.
        raise SourceUnreachable(source, said(error)) from None


def first_answer(call: Callable[[], _T], *, seconds: float = FIRST_ANSWER_SECONDS) -> _T:
    """The result of *call*, or TimeoutError: a black hole in the network must not cost the client's full retries."""
    answers: SimpleQueue[tuple[_T | None, BaseException | None]] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:  # handed over to the thread that waits
            answers.put((None, error))

    threading.Thread(target=ask, daemon=True, name="first-answer").start()
    try:
        result, error = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # None only where the call's own result is None


def said(error: Exception) -> str:
    """What a client's error says in one line, without queries and secrets."""
    text = " ".join(str(error).split("\n\nDebug source", 1)[0].split())
    return without_secrets(re.sub(r"\?\S*", "?…", text))[:300] or type(error).__name__


def _refusal(error: Exception, account: StorageAccount) -> str:
    match account.credential:
        case SasToken(expires_at=float() as ends) if ends < time.time():
            ended = time.strftime("%Y-%m-%d %H:%M", time.gmtime(ends))
            return f"the SAS of account {account.name} expired at {ended} UTC"
        case SasToken():
            kind = "its SAS"
        case _:
            kind = "the credential"
    code = re.search(r"<Code>(\w+)</Code>", str(error))
    status = re.search(r"\b(401|403)\b", str(error))
    said_so = ", ".join(one.group(1) for one in (status, code) if one)
    return f"{kind} of account {account.name} was refused" + (f" ({said_so})" if said_so else "")
