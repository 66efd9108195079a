"""HTTP to the services on this machine, past any proxy that the environment names. Knows no service."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import Any

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

NO_PROXY = "127.0.0.1,localhost"


def send(request: urllib.request.Request, *, timeout_seconds: float) -> Any:
    """The JSON that answers *request*; raises HTTPError and OSError as urllib does, ValueError for what is no JSON."""
    with _OPENER.open(request, timeout=timeout_seconds) as answer:
        return json.load(answer)


def get_json(url: str, *, timeout_seconds: float) -> Any:
    """The JSON at *url*."""
    return send(
        urllib.request.Request(url, headers={"Accept": "application/json"}), timeout_seconds=timeout_seconds
    )


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """*environment* with this machine excepted from its proxies."""
    present = [environment.get(name, "") for name in ("NO_PROXY", "no_proxy")]
    excepted = ",".join(dict.fromkeys([*filter(None, ",".join(present).split(",")), *NO_PROXY.split(",")]))
    return {**environment, "NO_PROXY": excepted, "no_proxy": excepted}
