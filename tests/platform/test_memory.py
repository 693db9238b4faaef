"""What is freed goes back to the system, as the operating system counts it, in a process of its own."""

import subprocess
import sys

import pytest

PROGRAM = """
import re, sys
from pathlib import Path
from hydrapicker.memory import give_back_large_buffers

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024

if sys.argv[1] == "given back":
    give_back_large_buffers()
start, pins = resident(), []
for _ in range(2):  # freeing the first makes the C library keep what is no larger
    buffers = []
    for _ in range(6):
        buffers.append(bytearray(20 * 2**20))
        buffers[-1][::4096] = bytes([1]) * 5120
        pins.append([bytearray(900) for _ in range(200)])
    held = resident() - start
    del buffers
print(held, resident() - start)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="how glibc does it")
@pytest.mark.parametrize("how", ["given back", "as it is"])
def test_large_buffers_are_given_back(how: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, timeout=60)
    held, kept = map(int, done.stdout.split())
    assert held > 110
    assert (kept < 20) == (how == "given back")
