"""Fetch uv from a Python package index with nothing but the standard library.

Debian and Ubuntu split ensurepip off their Python, and installing it takes root. uv's wheel holds one program, so the
wheel is all that is needed. Where pip is at hand this module is not used.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import sys
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

UV_VERSION = "0.13.9"
SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"


def fetch_uv(target: Path, *, index_url: str) -> None:
    """Write the program uv to *target*; raises OSError or ValueError where the index has none for this machine."""
    page_url = f"{index_url.rstrip('/')}/uv/"
    page = json.loads(_get(page_url, accept=SIMPLE_JSON))
    file = choose_wheel(page, platform_marks(sys.platform, platform.machine(), platform.libc_ver()[0]))
    wheel = _get(urllib.parse.urljoin(page_url, file["url"]), accept="*/*")
    if hashlib.sha256(wheel).hexdigest() != file["hashes"]["sha256"]:
        raise ValueError(f"{file['filename']} does not have the hash that the index states; it was not used")
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        program = archive.read(f"uv-{UV_VERSION}.data/scripts/uv")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(program)
    target.chmod(0o755)


def choose_wheel(page: dict[str, Any], marks: tuple[str, ...]) -> dict[str, Any]:
    """The pinned version's wheel whose platform bears all *marks*; raises ValueError where there is none."""
    for file in page["files"]:
        name = str(file["filename"])
        if (
            name.startswith(f"uv-{UV_VERSION}-")
            and name.endswith(".whl")
            and all(mark in name for mark in marks)
        ):
            return dict(file)
    raise ValueError(
        f"the index has no wheel of uv {UV_VERSION} for {' '.join(marks)}; install python3-venv or uv"
    )


def platform_marks(system: str, machine: str, libc: str) -> tuple[str, ...]:
    """What the file name of a fitting wheel contains."""
    machine = {"amd64": "x86_64", "AMD64": "x86_64"}.get(machine, machine)
    if system == "darwin":
        return ("macosx", "arm64" if machine in {"arm64", "aarch64"} else "x86_64")
    return ("manylinux" if libc == "glibc" else "musllinux", machine)


def _get(url: str, *, accept: str) -> bytes:
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=60) as answer:
        body: bytes = answer.read()
    return body
