"""Every way in which the emulator can be told to fail, as a closed union of typed faults; when is a rule's business.

Structs stand in for dataclasses because they decode from JSON and TOML by their `kind` and refuse what they do not
know. Each fault belongs to one family, which is asked for at one place in the emulator.
"""

from typing import Literal

import msgspec


class _Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What goes wrong."""


# --- instead of, or after, the answer to a request -------------------------------------------------


class HttpStatus(_Fault, frozen=True, kw_only=True, tag="http_status"):
    """Answer with this status and do nothing."""

    status: int
    body: Literal["error", "gateway", "text", "html", "empty"] = "error"
    retry_after: int | None = None
    code: str | None = None
    inner: str | None = None
    message: str = "The emulator was told to fail this request."


class ConnectionReset(_Fault, frozen=True, kw_only=True, tag="connection_reset"):
    """Drop the connection and do nothing."""


class Hang(_Fault, frozen=True, kw_only=True, tag="hang"):
    """Do nothing and answer nothing; drop the connection after so many real seconds."""

    seconds: float = 600


class Slow(_Fault, frozen=True, kw_only=True, tag="slow"):
    """Answer properly, so many real seconds late."""

    seconds: float = 5


class AnswerLost(_Fault, frozen=True, kw_only=True, tag="answer_lost"):
    """Do what was asked, then drop the connection, hang, or answer with a failure."""

    how: Literal["reset", "hang", "status"] = "reset"
    status: int = 500
    body: Literal["error", "gateway", "text", "html", "empty"] = "error"
    seconds: float = 600


class TokenExpired(_Fault, frozen=True, kw_only=True, tag="token_expired"):
    """Revoke the bearer token that this request carries, and answer 401 from now on until another is used."""


RequestFault = HttpStatus | ConnectionReset | Hang | Slow | AnswerLost | TokenExpired

# --- in lists ------------------------------------------------------------------------------------


class FilterIgnored(_Fault, frozen=True, kw_only=True, tag="filter_ignored"):
    """Answer the list as if no filter had been sent."""


class ItemsSkipped(_Fault, frozen=True, kw_only=True, tag="items_skipped"):
    """Leave out so many items from the start of the page, while the paging goes on as if they had been shown."""

    count: int = 1


ListFault = FilterIgnored | ItemsSkipped

# --- in the life of one transcription, drawn when it is accepted -------------------------------------


class ListLag(_Fault, frozen=True, kw_only=True, tag="list_lag"):
    """The transcription shows in lists only after so many seconds; GET by id works at once."""

    seconds: float


class NeverEnds(_Fault, frozen=True, kw_only=True, tag="never_ends"):
    """The transcription stays Running for ever."""

    blocks_region: bool = False


class Overtaken(_Fault, frozen=True, kw_only=True, tag="overtaken"):
    """Every other waiting transcription of the region is processed first."""


class Delayed(_Fault, frozen=True, kw_only=True, tag="delayed"):
    """Processing takes so many seconds more."""

    seconds: float


class FailsWhole(_Fault, frozen=True, kw_only=True, tag="fails_whole"):
    """The transcription ends as Failed; no file is transcribed."""

    code: str = "Internal"
    message: str = "An internal error occurred."


class FilesFail(_Fault, frozen=True, kw_only=True, tag="files_fail"):
    """Files whose URL path matches the pattern fail."""

    files: str = "*"
    error_kind: str = "InvalidData"
    error_message: str = "The recordings URI contains invalid data."


class FilesLost(_Fault, frozen=True, kw_only=True, tag="files_lost"):
    """Files whose URL path matches the pattern are neither in the report nor among the results."""

    files: str = "*"


class ReportMissing(_Fault, frozen=True, kw_only=True, tag="report_missing"):
    """The transcription has no report."""


class PurgedEarly(_Fault, frozen=True, kw_only=True, tag="purged_early"):
    """The transcription and its results vanish so many seconds after its end, whatever its time to live."""

    seconds: float = 0


LifeFault = (
    ListLag
    | NeverEnds
    | Overtaken
    | Delayed
    | FailsWhole
    | FilesFail
    | FilesLost
    | ReportMissing
    | PurgedEarly
)

# --- when a result file or report is downloaded ------------------------------------------------------


class ResultNotFound(_Fault, frozen=True, kw_only=True, tag="result_not_found"):
    """The first so many downloads of each file answer 404."""

    first: int = 1


class ResultExpires(_Fault, frozen=True, kw_only=True, tag="result_expires"):
    """The connection drops in mid-download and this SAS is refused from then on."""


class ResultCorrupt(_Fault, frozen=True, kw_only=True, tag="result_corrupt"):
    """The file is complete but wrong: no JSON, no UTF-8, or JSON of another shape."""

    how: Literal["not_json", "not_utf8", "wrong_shape"] = "not_json"


class ResultTruncated(_Fault, frozen=True, kw_only=True, tag="result_truncated"):
    """Half of the file: either as a proper answer, or with the connection dropped."""

    how: Literal["short", "connection"] = "short"


DownloadFault = ResultNotFound | ResultExpires | ResultCorrupt | ResultTruncated

# --- when a webhook is notified ----------------------------------------------------------------------


class NotificationLost(_Fault, frozen=True, kw_only=True, tag="notification_lost"):
    """The notification is never sent."""


class NotificationDuplicated(_Fault, frozen=True, kw_only=True, tag="notification_duplicated"):
    """The notification is sent again so many times, with the same invocationId."""

    copies: int = 1


NotificationFault = NotificationLost | NotificationDuplicated

Fault = (
    HttpStatus
    | ConnectionReset
    | Hang
    | Slow
    | AnswerLost
    | TokenExpired
    | FilterIgnored
    | ItemsSkipped
    | ListLag
    | NeverEnds
    | Overtaken
    | Delayed
    | FailsWhole
    | FilesFail
    | FilesLost
    | ReportMissing
    | PurgedEarly
    | ResultNotFound
    | ResultExpires
    | ResultCorrupt
    | ResultTruncated
    | NotificationLost
    | NotificationDuplicated
)
