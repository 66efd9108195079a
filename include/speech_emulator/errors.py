"""Errors as the service answers them, in its own body and in its gateway's; nothing here knows HTTP routing."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

ErrorShape = Literal["error", "gateway"]

STATUS_OF_CODE: Mapping[str, int] = {
    "InvalidRequest": 400,
    "InvalidArgument": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "NotFound": 404,
    "NotAllowed": 405,
    "Conflict": 409,
    "UnsupportedMediaType": 415,
    "UnprocessableEntity": 422,
    "TooManyRequests": 429,
    "InternalServerError": 500,
    "ServiceUnavailable": 503,
}
"""The obvious HTTP status of each code; the published contract names the codes only (a guess)."""

CODE_OF_STATUS: Mapping[int, str] = {
    400: "InvalidRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "NotAllowed",
    408: "ServiceUnavailable",
    409: "Conflict",
    415: "UnsupportedMediaType",
    422: "UnprocessableEntity",
    429: "TooManyRequests",
    500: "InternalServerError",
    502: "InternalCommunicationFailed",
    503: "ServiceUnavailable",
    504: "ServiceUnavailable",
}


class ServiceError(Exception):
    """An answer other than success, raised by the code that found the reason and rendered at the gate."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        inner: str | None = None,
        status: int | None = None,
        target: str | None = None,
        headers: Mapping[str, str] | None = None,
        shape: ErrorShape = "error",
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.inner = inner
        self.status = status if status is not None else STATUS_OF_CODE[code]
        self.target = target
        self.headers = dict(headers or {})
        self.shape = shape

    def body(self) -> dict[str, Any]:
        """The JSON body of this error."""
        if self.shape == "gateway":
            return {"error": {"code": str(self.status), "message": self.message}}
        body: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.target is not None:
            body["target"] = self.target
        if self.inner is not None:
            body["innerError"] = {"code": self.inner, "message": self.message}
        return body


class CannotStartError(Exception):
    """The emulator cannot run as configured; the message says what is missing and what to type."""


def invalid(message: str, inner: str = "InvalidPayload", *, target: str | None = None) -> ServiceError:
    """A request that the service refuses with 400."""
    return ServiceError("InvalidRequest", message, inner=inner, target=target)


def not_found(what: str) -> ServiceError:
    """An entity that does not exist, or no longer."""
    return ServiceError("NotFound", f"The specified {what} could not be found.")


def encode(value: object) -> bytes:
    """JSON bytes of an answer."""
    return msgspec.json.encode(value)
