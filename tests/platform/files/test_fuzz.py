"""A thousand damaged files, in a process of its own with little memory to spare (issue 6: "It must show" 5)."""

import json
import subprocess
import sys
from pathlib import Path

MUTATIONS = Path(__file__).parents[2] / "mutations.py"
FILES = 1000
MOST_GROWN_BYTES = 200 * 2**20


def test_damaged_files_are_read_or_refused_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, MUTATIONS, "0", str(FILES)], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["faults"] == {}
    assert report["read"] + report["refused"] == FILES
    assert min(report["read"], report["refused"]) > FILES / 10  # not all damage is fatal, and not all is harmless
    assert report["grown_bytes"] < MOST_GROWN_BYTES
