"""Command line of the Speech emulator: reads settings, says where it listens, and serves until stopped."""

import argparse
import sys
import tomllib
from pathlib import Path
from typing import Any

from speech_emulator.config import Settings, load
from speech_emulator.emulator import Emulator
from speech_emulator.errors import CannotStartError
from speech_emulator.server import bind, build


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m speech_emulator",
        description="A local HTTP server that speaks the contract of Azure AI Speech batch transcription.",
    )
    add = parser.add_argument
    add("--config", type=Path, help="settings file, TOML or JSON")
    add("--host", help="address to listen on (default 127.0.0.1)")
    add("--port", type=int, help="port to listen on (default 8085)")
    add("--public-url", help="base of every link in answers (default: as the caller addressed the emulator)")
    add("--data", help="folder that keeps state over restarts (default: none, everything is forgotten)")
    add(
        "--admin-token",
        help="token for admin operations (default: none needed on this machine, refused from others)",
    )
    add("--recogniser", choices=["whisper", "synthetic"], help="who listens (default whisper)")
    add("--workers", type=int, help="recogniser threads (default 1)")
    add("--time-scale", type=float, help="how many seconds of the service's time pass in one (default 1)")
    add("--start-delay", type=float, help="seconds of the service's time before a transcription may start")
    add("--no-throttle", action="store_true", help="answer without a request limit")
    add(
        "--resource", action="append", metavar="NAME=KEY@REGION", help="an emulated resource; repeat for more"
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="any setting, value as in TOML",
    )
    return parser


def _resource(text: str) -> dict[str, str]:
    name, _, rest = text.partition("=")
    key, _, region = rest.rpartition("@")
    if not (name and key and region):
        raise CannotStartError("--resource takes NAME=KEY@REGION, for example east=local-emulator-key@eastus")
    return {"name": name, "key": key, "region": region}


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    flags = {
        ("server", "host"): arguments.host,
        ("server", "port"): arguments.port,
        ("server", "public_url"): arguments.public_url,
        ("server", "data"): arguments.data,
        ("server", "admin_token"): arguments.admin_token,
        ("recogniser", "kind"): arguments.recogniser,
        ("recogniser", "workers"): arguments.workers,
        ("clock", "time_scale"): arguments.time_scale,
        ("queue", "start_delay_seconds"): arguments.start_delay,
        ("throttle", "enabled"): False if arguments.no_throttle else None,
    }
    laid: dict[str, Any] = {}
    for (section, key), value in flags.items():
        if value is not None:
            laid.setdefault(section, {})[key] = value
    for text in arguments.set:
        path, found, value = text.partition("=")
        section, dot, key = path.partition(".")
        if not (found and dot):
            raise CannotStartError(f"--set takes SECTION.KEY=VALUE, not '{text}'")
        laid.setdefault(section, {})[key] = _value(value)
    if arguments.resource:
        laid["resources"] = [_resource(text) for text in arguments.resource]
    return laid


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped; 2 when the emulator cannot start."""
    parsed = _parser().parse_args(arguments)
    try:
        settings: Settings = load(parsed.config, _overrides(parsed))
        listener = bind(settings.server.host, settings.server.port)
        server = build(settings, Emulator(settings))
    except CannotStartError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"Speech emulator ({settings.recogniser.kind}) listens on http://{shown}:{port}", flush=True)
    server.run(sockets=[listener])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
