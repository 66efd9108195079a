"""Azurite, the blob emulator: how it is started and reached. Its blobs lie in .stack/azurite and survive a restart."""

from __future__ import annotations

import os

from local.checkout import Checkout
from local.errors import NotInstalledError
from local.install import find_node
from local.ports import AZURITE_VARIABLE, listens
from local.processes import Service

ACCOUNT = "devstoreaccount1"

WELL_KNOWN_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The key of every Azurite everywhere, published by Microsoft: it guards nothing."""


def endpoint(port: int) -> str:
    """The URL of the emulated account."""
    return f"http://127.0.0.1:{port}/{ACCOUNT}"


def connection_string(port: int) -> str:
    """What the Azure SDK and Airflow's connection need to reach the emulated account."""
    return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={WELL_KNOWN_KEY};BlobEndpoint={endpoint(port)};"


def service(checkout: Checkout, port: int) -> Service:
    """Azurite's blob service on *port*; raises NotInstalledError."""
    node = find_node(checkout, os.environ)
    if node is None or not checkout.azurite_main.is_file():
        raise NotInstalledError("Azurite")
    command = (
        node.node,
        str(checkout.azurite_main),
        *("--blobHost", "127.0.0.1", "--blobPort", str(port)),
        *("--location", str(checkout.stack / "azurite")),
        # The SDK speaks newer versions of the API than any Azurite knows.
        "--skipApiVersionCheck",
        *("--silent", "--disableTelemetry"),
    )
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return Service("azurite", command, environment, lambda: listens(port), port, AZURITE_VARIABLE)
