"""The emulator's settings: one frozen tree, read from TOML or JSON, overridden from the command line.

Structs stand in for dataclasses because they refuse unknown keys and wrong types with the path of the culprit.
Every span is in seconds of the service's time: the clock shortens it by `clock.time_scale`.
"""

import json
import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from speech_emulator.errors import CannotStartError, ErrorShape


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the server listens and where it keeps its state."""

    host: str = "127.0.0.1"
    port: int = 8085
    public_url: str | None = None
    """Base of every link in answers; None takes the address by which the request came."""
    data: str | None = None
    """Folder that keeps state over restarts; None forgets it at the end."""
    admin_token: str | None = None
    """With a token, admin operations need `Authorization: Bearer <token>`; without, they answer loopback only."""
    access_log: bool = False

    def __repr__(self) -> str:
        return f"ServerSettings(host={self.host!r}, port={self.port}, data={self.data!r})"


class ResourceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One emulated Speech resource."""

    name: str
    key: str
    region: str = "eastus"

    def __repr__(self) -> str:
        return f"ResourceSettings(name={self.name!r}, region={self.region!r})"


class AuthSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What counts as signed in, apart from each resource's key."""

    bearer_tokens: tuple[str, ...] = ()
    """Tokens that are accepted until a `token_expired` fault revokes them."""
    token_lifetime_seconds: float = 3600
    """Life of a token that `/admin/tokens` issues."""

    def __repr__(self) -> str:
        return f"AuthSettings(bearer_tokens=<{len(self.bearer_tokens)} hidden>)"


class ClockSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast configured spans pass."""

    time_scale: float = 1.0


class QueueSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a region works through its transcriptions, one at a time."""

    start_delay_seconds: float = 1.0
    """From acceptance until a transcription may leave NotStarted."""
    overhead_seconds: float = 0.0
    """Least time that processing one transcription takes, beside its audio."""
    audio_speed: float = 0.0
    """Audio seconds per second; 0 is as fast as the recogniser goes. The service's usual speed is about 5."""
    order: Literal["fifo", "lifo", "random"] = "fifo"
    seed: int = 0


class RecogniserSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who listens."""

    kind: Literal["whisper", "synthetic"] = "whisper"
    workers: int = 1
    """Threads that recognise at the same time, each on one core."""
    beam_size: int = 1
    window_seconds: float = 120
    """Longest stretch of audio that is held in memory at once, per channel."""
    silence_dbfs: float = -55.0
    """A stretch whose loudest tenth of a second stays below this is silence."""
    fetch_timeout_seconds: float = 60
    synthetic_fetch_audio: bool = False
    """Whether the synthetic recogniser downloads and decodes the audio, so that a dead URL fails."""
    synthetic_shortest_seconds: float = 5
    synthetic_longest_seconds: float = 65


class ThrottleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The service's request limit, per resource."""

    enabled: bool = True
    requests: int = 100
    per_seconds: float = 10
    retry_after: bool = True
    """Whether a 429 carries Retry-After (a guess: the contract specifies it on 200s only)."""
    error_shape: ErrorShape = "gateway"
    """Body of a 429 (a guess)."""


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Published limits, lowered by tests that want to meet them cheaply."""

    content_urls: int = 1000
    container_blobs: int = 10_000
    container_bytes: int = 5_000_000_000
    file_bytes: int = 1_000_000_000
    diarization_minutes: float = 240
    page_size: int = 100


class Guesses(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the published contract leaves open; each default is a guess and listed in the README."""

    end_of_list: Literal["absent", "null"] = "absent"
    largest_top: int = 1000
    display_name_longest: int | None = None
    delete_not_allowed_status: int = 400
    retry_after_seconds: int = 10
    running_while_queued: bool = True
    filter_parentheses: bool = True
    filter_doubled_quotes: bool = True
    check_locale: bool = True
    check_model: bool = False
    duplicate_urls: Literal["keep", "drop"] = "keep"
    result_index: Literal["input_order", "shuffled"] = "input_order"
    result_milliseconds: bool = True
    source_with_query: bool = True
    silent_channels: Literal["no_phrases", "empty_text"] = "no_phrases"
    report_for_failed: bool = True
    report_counts: Literal["integers", "strings"] = "integers"
    all_failed_is_failed: bool = True
    refused_source_kind: str = "InvalidUri"
    stereo_diarization_kind: str = "InvalidData"
    missing_channel_kind: str = "InvalidData"
    empty_file_kind: str = "InvalidData"
    too_large_kind: str = "InvalidData"
    accept_m4a: bool = True
    destination_blob_name: str = "{transcription_id}/{name}"
    sas_shortest_minutes: int = 1
    sas_longest_minutes: int = 60 * 24 * 31
    blobs_refuse_key: bool = True
    bill_per_channel: bool = False
    webhook_event_case: Literal["camel", "pascal"] = "camel"
    webhook_attempts: int = 3
    webhook_backoff_seconds: float = 5
    webhook_timeout_seconds: float = 10
    unauthorized_shape: ErrorShape = "error"


DEFAULT_RESOURCE = ResourceSettings(name="local", key="local-emulator-key", region="eastus")
"""The resource of an emulator that was not told otherwise; its key is public, as a local emulator's is."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be configured."""

    server: ServerSettings = ServerSettings()
    resources: tuple[ResourceSettings, ...] = (DEFAULT_RESOURCE,)
    auth: AuthSettings = AuthSettings()
    clock: ClockSettings = ClockSettings()
    queue: QueueSettings = QueueSettings()
    recogniser: RecogniserSettings = RecogniserSettings()
    throttle: ThrottleSettings = ThrottleSettings()
    limits: LimitSettings = LimitSettings()
    guesses: Guesses = Guesses()
    faults: tuple[dict[str, Any], ...] = ()
    """Fault rules in the form that `/admin/faults` takes."""


def load(path: Path | None, overrides: dict[str, Any] | None = None) -> Settings:
    """Settings of a TOML or JSON file (or none), with overrides laid over it section by section."""
    raw: dict[str, Any] = {}
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
            raw = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except (OSError, ValueError) as error:
            raise CannotStartError(f"The settings file {path} cannot be read: {error}") from error
    for section, values in (overrides or {}).items():
        raw[section] = {**raw.get(section, {}), **values} if isinstance(values, dict) else values
    return from_mapping(raw)


def from_mapping(raw: dict[str, Any]) -> Settings:
    """Settings of a plain mapping, every key known and every value of its type."""
    try:
        settings = msgspec.convert(raw, Settings)
    except msgspec.ValidationError as error:
        raise CannotStartError(f"The emulator's settings are wrong: {error}") from error
    names = [resource.name for resource in settings.resources]
    if not names:
        raise CannotStartError("The emulator needs at least one resource: add a [[resources]] table.")
    reserved = {"speechtotext", "blob", "admin", "health"}
    if (
        len(set(names)) != len(names)
        or reserved & set(names)
        or any("/" in name or not name for name in names)
    ):
        raise CannotStartError(
            f"Resource names must differ, contain no '/' and not be one of {sorted(reserved)}: {names}"
        )
    if settings.clock.time_scale <= 0 or settings.recogniser.workers < 1:
        raise CannotStartError("clock.time_scale must be above 0 and recogniser.workers at least 1.")
    return settings
