"""CPU of importing each DAG file, beyond what importing Airflow costs by itself.

    python -m bench dag_import

A first process notes which of Airflow's own modules a DAG file brings in; a second one has them already when the clock
starts. The least of several rounds counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.figures import Figure, at_most, table

ROOT = Path(__file__).resolve().parent.parent
DAGS = ("speech_backfill_daily", "speech_backfill_manifest", "speech_backfill_repair")
ROUNDS = 5

_PROGRAM = """
import importlib, json, sys, time
dag, before = sys.argv[1], json.loads(sys.argv[2])
for name in before:
    importlib.import_module(name)
known = set(sys.modules)
began = time.process_time()
importlib.import_module(dag)
spent = time.process_time() - began
new = [name for name in sys.modules if name not in known]
print(json.dumps({"seconds": spent, "airflow": [name for name in new if name.split(".")[0] in ("airflow", "pendulum")],
                  "heavy": sorted({name.split(".")[0] for name in new} & {"pyarrow", "duckdb", "sqlalchemy", "pandas", "aiohttp", "obstore"})}))
"""


def main(_arguments: list[str]) -> int:
    """Measure and print."""
    found = rows()
    print(table(found))
    return 0 if all(one.good for one in found) else 1


def rows() -> list[Figure]:
    """Every DAG file in processes of its own."""
    slowest = 0.0
    with tempfile.TemporaryDirectory(prefix="dag-import-") as home:
        for dag in DAGS:
            airflow = [name for name in _imported(dag, [], home)["airflow"] if "__main__" not in name]
            found = [_imported(dag, airflow, home) for _ in range(ROUNDS)]
            least = min(one["seconds"] for one in found)
            slowest = max(slowest, least)
            print(
                f"  {dag:<26} {least * 1000:6.1f} ms CPU; heavy modules: {', '.join(found[0]['heavy']) or 'none'}"
            )
    what = "importing a DAG file beyond Airflow itself, CPU"
    return [at_most(what, 150, slowest * 1000, "ms")]


def _imported(dag: str, before: list[str], home: str) -> dict:
    path = os.pathsep.join(str(ROOT / one) for one in ("include", "plugins", "dags"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, dag, json.dumps(before)],
        env={**kept, "PYTHONPATH": path, "AIRFLOW_HOME": home},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])
