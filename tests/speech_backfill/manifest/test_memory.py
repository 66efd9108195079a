"""A million lines stream through: measured in a process of its own, so that nothing else counts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOM_MB = 25
"""What reading may add to the process: blocks, windows and caches, whatever the length of the manifest."""

_MEASURE = r"""
import json, re, sys, time
from pathlib import Path
from speech_backfill.accounts import AccountKey, StorageAccount, StorageAccounts
from speech_backfill.manifest.lookup import look_up
from speech_backfill.manifest.source import read_source
from speech_backfill.model import TranscriptionOptions

accounts = StorageAccounts.of([StorageAccount("calls", "https://calls.blob.core.windows.net", AccountKey("a2V5"))])
# The kernel's high-water mark of this process alone; getrusage would inherit that of its parent.
peak_mb = lambda: int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text()).group(1)) / 1024
lines = look_up(read_source(sys.argv[1], accounts=accounts, defaults=TranscriptionOptions()),
                accounts=accounts, max_file_bytes=10**9)
for count, line in enumerate(lines, 1):
    if count == 20_000:
        before, began = peak_mb(), time.process_time()
spent = time.process_time() - began
print(json.dumps({"lines": count, "grown_mb": peak_mb() - before, "lines_per_cpu_second": (count - 20_000) / spent}))
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc"
)
@pytest.mark.parametrize(("name", "count"), [("m.csv", 1_000_000), ("m.csv.zst", 300_000)])
def test_a_million_lines_take_no_more_memory_than_twenty_thousand(tmp_path, name, count):
    path = tmp_path / name
    rows = (
        f"az://rec/calls/2026/{n % 12 + 1:02}/{n % 28 + 1:02}/call-{n:07}.wav,0x8D{n:X},{n + 1},en-US,agent {n % 50}\n"
        for n in range(count)
    )
    if name.endswith(".zst"):
        import zstandard

        with zstandard.open(path, "wt") as out:
            out.write("uri,etag,size,locale,agent\n")
            out.writelines(rows)
    else:
        with path.open("w") as out:
            out.write("uri,etag,size,locale,agent\n")
            out.writelines(rows)

    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[3] / "include")},
    )

    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["lines"] == count
    assert measured["grown_mb"] < ROOM_MB
    assert measured["lines_per_cpu_second"] > 20_000
