"""The local stack's own keys: made up once, kept in .stack/secrets.json for this user only, never printed but for the login."""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

LOGIN_NAME = "admin"


@dataclass(frozen=True)
class Secrets:
    """What the services sign and encrypt with, and how a person logs in."""

    admin_password: str = field(repr=False)
    fernet_key: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    api_secret: str = field(repr=False)
    speech_key: str = field(repr=False)


def made_up() -> Secrets:
    """New keys, each as long as its user wants it."""
    return Secrets(
        admin_password=secrets.token_urlsafe(9),
        fernet_key=base64.urlsafe_b64encode(os.urandom(32)).decode(),
        jwt_secret=secrets.token_urlsafe(64),  # Airflow warns of less than 64 bytes
        api_secret=secrets.token_urlsafe(32),
        speech_key=secrets.token_hex(16),
    )


def load(path: Path) -> Secrets:
    """The keys in *path*, made up and written there the first time."""
    try:
        return Secrets(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        made = made_up()
        write_private(path, json.dumps(asdict(made), indent=1))
        return made


def write_private(path: Path, text: str) -> None:
    """Write *text* so that only this user can read it, not even for a moment by others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
