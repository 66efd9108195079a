"""What can go wrong at the Speech service, sorted by what the caller may do next.

SpeechServiceError
├── RequestRefused        the service understood and said no; a repeat gets the same answer
├── Unauthorized          key, token, role or network rule; nothing was carried out
├── NotFound              no such transcription, or no such path at this endpoint
├── Throttled             429: refused for now, certainly not carried out
├── ServiceUnavailable    5xx, 408 or a broken connection, on a call that may be repeated
├── NotSent               the connection never stood, so certainly nothing happened
├── AnswerLost            a submission was sent and may have been carried out
├── UnreadableAnswer      an answer that is not what the contract promises
├── ForeignLink           a next page on another host, which must not see our key
├── ResultExpired         the SAS of a result file has ended; list the files again
├── ResultsRefused        the host of the result files refuses fresh links, and not of one file alone
├── ResultNotFound        a result file is not there, also after waiting for it
└── ResultTooLarge        a result file beyond the bound on memory

No message holds a key, a token, a SAS or any other query of a URL.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from speech_backfill.errors import SpeechBackfillError

_QUERY = re.compile(r"(https?://[^\s\"'<>?]*)\?[^\s\"'<>]*", re.IGNORECASE)
_SIGNATURE = re.compile(r"\bsig=[^&\s\"']+", re.IGNORECASE)
_LONGEST_DETAIL = 500

INVALID_SUBSCRIPTION = "InvalidSubscription"
"""The code for a resource of a tier that has no batch transcription (the Standard tier has)."""


def without_secrets(text: str) -> str:
    """*text* on one line, shortened, without the queries of URLs (where a SAS would stand)."""
    clean = _SIGNATURE.sub("sig=…", _QUERY.sub(r"\1", " ".join(text.split())))
    return clean if len(clean) <= _LONGEST_DETAIL else clean[: _LONGEST_DETAIL - 1] + "…"


class SpeechServiceError(SpeechBackfillError):
    """The Speech service did not do what was asked. *resource* is the connection's name."""

    def __init__(self, message: str, *, resource: str) -> None:
        """Take the finished *message*; subclasses build it."""
        super().__init__(message)
        self.resource = resource


class RequestRefused(SpeechServiceError):
    """The service said no for a reason that a repeat does not cure."""

    def __init__(self, *, resource: str, action: str, http_status: int, code: str, detail: str) -> None:
        """*code* is the service's innermost error code, *detail* its message."""
        detail = without_secrets(detail)
        remedy = (
            "The resource must be of the Standard (S0) tier: batch transcription refuses F0."
            if code == INVALID_SUBSCRIPTION
            else "Correct what it names, then run the same step again."
        )
        super().__init__(
            f"Speech resource {resource} refused to {action} ({http_status} {code}: {detail}). "
            f"Nothing was carried out, and a repeat would get the same answer. {remedy}",
            resource=resource,
        )
        self.http_status = http_status
        self.code = code
        self.detail = detail

    @property
    def by_its_tier(self) -> bool:
        """Whether it is the resource that can't do it, whatever is asked: another one may."""
        return self.code == INVALID_SUBSCRIPTION


class Unauthorized(SpeechServiceError):
    """Key, token, role or network rule."""

    def __init__(self, *, resource: str, action: str, http_status: int | None, detail: str) -> None:
        """*http_status* is None where no token could be had at all."""
        detail = without_secrets(detail)
        said = f"{http_status} {detail}" if http_status is not None else detail
        super().__init__(
            f"Speech resource {resource} does not let us {action} ({said}). Nothing was carried out. "
            "Check the connection: the key belongs to this very endpoint; with Entra ID the endpoint is the "
            "resource's custom subdomain and the identity has the role Cognitive Services Speech Contributor; "
            "the resource's network rules admit this machine. Then run the same step again.",
            resource=resource,
        )
        self.http_status = http_status
        self.detail = detail


class NotFound(SpeechServiceError):
    """No such transcription, or no such path at this endpoint."""

    def __init__(self, *, resource: str, action: str, detail: str) -> None:
        """*detail* is the service's message."""
        super().__init__(
            f"Speech resource {resource} could not {action}: not found ({without_secrets(detail)}). "
            "The transcription's time to live has ended, it belongs to another resource, or the endpoint is wrong. "
            "Check the connection's endpoint and api-version.",
            resource=resource,
        )


class Throttled(SpeechServiceError):
    """429: refused for now; certainly not carried out."""

    def __init__(self, *, resource: str, action: str, retry_after_seconds: float | None, detail: str) -> None:
        """*retry_after_seconds* is what the service advised, None where it said nothing."""
        advice = f"after {retry_after_seconds:.0f} s" if retry_after_seconds is not None else "in a while"
        super().__init__(
            f"Speech resource {resource} is throttling and did not {action} ({without_secrets(detail)}). "
            f"Nothing was carried out. It may be tried again {advice}.",
            resource=resource,
        )
        self.retry_after_seconds = retry_after_seconds


class ServiceUnavailable(SpeechServiceError):
    """5xx, 408 or a broken connection on a call that may be repeated without harm."""

    def __init__(self, *, resource: str, action: str, detail: str) -> None:
        """*detail* names the status or the broken connection."""
        super().__init__(
            f"Speech resource {resource} could not {action} ({without_secrets(detail)}). "
            "Nothing changed at the service. The same step may be run again at any time.",
            resource=resource,
        )


class NotSent(SpeechServiceError):
    """The connection never stood: certainly nothing happened."""

    def __init__(self, *, resource: str, action: str, detail: str) -> None:
        """*detail* says what kept the request here."""
        super().__init__(
            f"Speech resource {resource} was not reached to {action} ({without_secrets(detail)}). "
            "Nothing was sent. Check the connection's endpoint, name resolution, proxy and firewall; "
            "then run the same step again.",
            resource=resource,
        )


class AnswerLost(SpeechServiceError):
    """A submission was sent, its answer never came or can't be trusted: the service may have carried it out."""

    def __init__(self, *, resource: str, action: str, detail: str) -> None:
        """*detail* says how the answer was lost."""
        super().__init__(
            f"Speech resource {resource} was asked to {action}, but the answer was lost ({without_secrets(detail)}). "
            "The transcription may exist and cost money. It must be looked for by its token before it is "
            "submitted again; running the same step again does so.",
            resource=resource,
        )


class UnreadableAnswer(SpeechServiceError):
    """An answer that is not what the contract promises; it is never taken for an empty one."""

    def __init__(self, *, resource: str, action: str, detail: str) -> None:
        """*detail* says what was expected and what came."""
        super().__init__(
            f"Speech resource {resource} gave an unreadable answer when asked to {action} ({without_secrets(detail)}). "
            "It was not acted upon. Check that the endpoint is a Speech resource (and not a proxy or a portal) "
            "and that the api-version is supported; then run the same step again.",
            resource=resource,
        )


class ForeignLink(SpeechServiceError):
    """A next page on another host."""

    def __init__(self, *, resource: str, host: str) -> None:
        """*host* is where the link pointed."""
        super().__init__(
            f"Speech resource {resource} names a next page on another host, {without_secrets(host)!r}. It was not "
            "followed, for that would have shown our key to it. Set the connection's endpoint to the host that the "
            "service uses in its own links.",
            resource=resource,
        )


class ResultExpired(SpeechServiceError):
    """The SAS of a result file has ended."""

    def __init__(self, *, resource: str, url: str, detail: str) -> None:
        """*url* may carry its query: it is left out of the message."""
        super().__init__(
            f"The result file {without_secrets(url)} refuses its own link ({without_secrets(detail)}). "
            "It was not read. List the transcription's files again: that gives fresh links.",
            resource=resource,
        )


class ResultsRefused(SpeechServiceError):
    """The host of the result files refuses fresh links: trouble of the way to it, not of one file."""

    def __init__(self, *, resource: str, transcription_id: str, url: str) -> None:
        """*url* is a link that was refused; only its host is named."""
        host = urlsplit(url).netloc.rpartition("@")[2] or "their host"
        super().__init__(
            f"Speech resource {resource}: {host} refuses the result files of transcription {transcription_id} under links that "
            "the service gave moments ago, and not of one file alone (401 or 403). Nothing of this shard was merged, counted as "
            "missing or submitted again, and nothing is deleted: the results lie at the service until their time to live ends. "
            f"Check what stands between this machine and {host} (a proxy or gateway, the storage account's firewall or private "
            "endpoint) and this machine's clock, then clear this task (or run the same command) again.",
            resource=resource,
        )


class ResultNotFound(SpeechServiceError):
    """A result file is not there."""

    def __init__(self, *, resource: str, url: str) -> None:
        """*url* may carry its query: it is left out of the message."""
        super().__init__(
            f"The result file {without_secrets(url)} is listed but not there, also after waiting for it. "
            "Run the same step again; if it stays away, its audio file counts as missing and can be repaired.",
            resource=resource,
        )


class ResultTooLarge(SpeechServiceError):
    """A result file beyond the bound on memory."""

    def __init__(self, *, resource: str, url: str, max_bytes: int) -> None:
        """*url* may carry its query: it is left out of the message."""
        super().__init__(
            f"The result file {without_secrets(url)} is larger than {max_bytes} bytes. It was not read to its end, so "
            "its audio file ends as missing. Cut the recording into shorter ones and plan them instead.",
            resource=resource,
        )
