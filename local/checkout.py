"""Where everything lies in a checkout: what is installed, and the state of the local stack. Reads and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Checkout:
    """The folders and files of one checkout, all below *root*."""

    root: Path

    @property
    def venv(self) -> Path:
        """The virtual environment that `make` installs into."""
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        """The interpreter that everything but the installation runs on."""
        return self.venv / "bin" / "python"

    @property
    def uv(self) -> Path:
        """The installer inside the virtual environment."""
        return self.venv / "bin" / "uv"

    @property
    def node_modules(self) -> Path:
        """What npm installs."""
        return self.root / "node_modules"

    @property
    def azurite_main(self) -> Path:
        """The script that is Azurite's blob service."""
        return self.node_modules / "azurite" / "dist" / "src" / "blob" / "main.js"

    @property
    def stack(self) -> Path:
        """The state of the local stack; it can be removed while nothing runs."""
        return self.root / ".stack"

    @property
    def logs(self) -> Path:
        """One log file for each service, and one of the installation."""
        return self.stack / "logs"

    @property
    def recordings(self) -> Path:
        """The recordings that the demo ships."""
        return self.root / "recordings"


def this_checkout() -> Checkout:
    """The checkout that this file lies in."""
    return Checkout(Path(__file__).resolve().parent.parent)
