"""`python -m bench NAME [options]`: run one measurement; without a name, list them."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

_NOT_MEASUREMENTS = {
    "__main__",
    "contrast_schedule",
    "contrast_score",
    "figures",
    "json_to_parquet",
    "local_shard",
    "process_memory",
    "regions",
    "result_files",
    "straightforward_client",
    "straightforward_life",
}


def main(arguments: list[str]) -> int:
    """Hand over to the measurement that is named."""
    names = sorted(
        one.name
        for one in pkgutil.iter_modules([str(Path(__file__).parent)])
        if one.name not in _NOT_MEASUREMENTS
    )
    if not arguments or arguments[0] not in names:
        print("usage: python -m bench NAME [options]\n")
        for name in names:
            says = (importlib.import_module(f"bench.{name}").__doc__ or "").strip().split("\n", 1)[0]
            print(f"  {name:<16} {says}")
        return 2 if arguments else 0
    status: int = importlib.import_module(f"bench.{arguments[0]}").main(arguments[1:])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
