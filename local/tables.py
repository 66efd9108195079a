"""Print the tables in the running local stack: `python -m local.tables [table]`. A door for looking, and an example."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from local import ports
from local.checkout import this_checkout
from local.published import storage_options
from local.stack import STORE_CONTAINER
from speech_backfill.tables.read import read_table


def main(arguments: Sequence[str]) -> int:
    """Print one table; `transcripts` where none is named."""
    chosen = ports.read(this_checkout().stack / "ports.json") or ports.Ports()
    name = arguments[0] if arguments else "transcripts"
    frame = read_table(f"az://{STORE_CONTAINER}/", name, storage_options=storage_options(chosen.azurite))
    print(frame.to_string(max_colwidth=80))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
