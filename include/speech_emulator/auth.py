"""Who may call a resource: its key, or a bearer token that is known, unexpired and not revoked."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping

from speech_emulator.clock import Clock
from speech_emulator.config import ResourceSettings, Settings
from speech_emulator.errors import ServiceError

_PREFIX = "emulator"


class Doorkeeper:
    """Checks credentials; tokens that it issues carry their own end and need no memory."""

    def __init__(self, settings: Settings, clock: Clock, key: bytes) -> None:
        self._settings = settings
        self._clock = clock
        self._key = key
        self._revoked: set[str] = set()

    def issue(self, lifetime_seconds: float | None = None) -> str:
        """A bearer token that every resource accepts until it expires."""
        lifetime = (
            self._settings.auth.token_lifetime_seconds if lifetime_seconds is None else lifetime_seconds
        )
        body = f"{_PREFIX}.{self._clock.now() + self._clock.span(lifetime):.3f}.{secrets.token_hex(8)}"
        return f"{body}.{self._signature(body)}"

    def revoke(self, headers: Mapping[str, str]) -> None:
        """Refuse from now on the bearer token that these headers carry."""
        if (token := _bearer(headers)) is not None:
            self._revoked.add(_digest(token))

    def check(self, resource: ResourceSettings, headers: Mapping[str, str]) -> None:
        """Return when the caller may use the resource, raise Unauthorized otherwise."""
        key = headers.get("ocp-apim-subscription-key")
        if key is not None and hmac.compare_digest(key.encode(), resource.key.encode()):
            return
        token = _bearer(headers)
        if token is not None and _digest(token) not in self._revoked and self._known(token):
            return
        problem = (
            "The credentials are not valid or have expired." if key or token else "No credentials were sent."
        )
        message = f"Authentication is required to access the resource. {problem}"
        shape = self._settings.guesses.unauthorized_shape
        raise ServiceError("Unauthorized", message, shape=shape)

    def _known(self, token: str) -> bool:
        if any(
            hmac.compare_digest(token.encode(), known.encode()) for known in self._settings.auth.bearer_tokens
        ):
            return True
        body, _, signature = token.rpartition(".")
        if not body.startswith(f"{_PREFIX}.") or not hmac.compare_digest(
            signature.encode(), self._signature(body).encode()
        ):
            return False
        return self._clock.now() < float(body.removeprefix(f"{_PREFIX}.").rpartition(".")[0])

    def _signature(self, body: str) -> str:
        digest = hmac.new(self._key, b"token\n" + body.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
