"""The disk cache when something goes wrong: strange names, a full disk, other threads and processes, sudden deaths."""

import errno
import fcntl
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cached_bytes import MANY, SIZE, add, bytes_in, checksum, content, read

from hydrapicker.errors import StoreError
from hydrapicker.streaming.diskcache import DiskCache


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a" * 31, "a" * 33, "A" * 32, "/" * 32, "a" * 32 + "\n"])
def test_only_a_checksum_becomes_a_path(tmp_path, name):
    cache = DiskCache(tmp_path, 10 * SIZE)
    for use in (cache.has, cache.drop, lambda n: cache.add([(n, memoryview(b"x"))])):
        with pytest.raises(StoreError, match="not to be trusted"):
            use(name)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file: cannot cache micrographs there \(.*\); give a folder"):
        DiskCache(tmp_path / "file", 10)


def test_a_full_disk_is_said_once_and_reading_goes_on(tmp_path, monkeypatch):
    cache = DiskCache(tmp_path, MANY)
    add(cache, 1)
    written = os.pwrite

    def full(descriptor, buffer, offset):
        written(descriptor, buffer[: SIZE // 2], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.warns(RuntimeWarning, match=r"no more micrographs are cached there \(No space left on device\)"):
        add(cache, 2)
    add(cache, 3)  # a second warning would be an error here
    monkeypatch.undo()
    for found in (cache, DiskCache(tmp_path, MANY)):
        assert [read(found, number) for number in (1, 2, 3)] == [content(1), None, None]


ADDING = """
import sys
import numpy as np
import xxhash
from pathlib import Path
from hydrapicker.streaming.diskcache import DiskCache
cache = DiskCache(Path(sys.argv[1]), int(sys.argv[2]))
numbers = range(int(sys.argv[3]), int(sys.argv[4]))
contents = [np.random.default_rng(number).bytes(4096) for number in numbers]
entries = [(xxhash.xxh3_128_hexdigest(content), memoryview(content)) for content in contents]
print(flush=True)
sys.stdin.read(1)
for start in range(0, len(entries), 3):
    cache.add(entries[start : start + 3])
"""


def adding(folder: Path, bound: int, first: int, end: int) -> subprocess.Popen:
    """Start a process that adds these numbers once it is let."""
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", ADDING, *map(str, (folder, bound, first, end))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_processes_that_add_at_once_lose_nothing(tmp_path):
    running = [adding(tmp_path, 100 * MANY, first, first + 600) for first in (0, 300, 900)]
    for process in running:
        process.communicate(b"x")
    assert [process.returncode for process in running] == [0, 0, 0]
    (lock,) = tmp_path.rglob("lock")
    assert int(lock.read_text()) == bytes_in(tmp_path)
    cache = DiskCache(tmp_path, 100 * MANY)
    assert all(read(cache, number) == content(number) for number in range(1_500))


def test_a_process_may_be_killed_at_any_moment(tmp_path, as_another_process):
    bound, draw, found = 40 * SIZE, random.Random(0), 0
    for attempt in range(8):
        process = adding(tmp_path, bound, 0, 600)
        assert process.stdin is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        time.sleep(draw.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        as_another_process()
        assert bytes_in(tmp_path) <= bound
        cache = DiskCache(tmp_path, bound)
        there = [read(cache, number) for number in range(600)]
        assert all(got in (None, content(number)) for number, got in enumerate(there))
        found += sum(got is not None for got in there)
        add(cache, 1_000 + attempt)  # no lock is left behind
        assert read(cache, 1_000 + attempt) == content(1_000 + attempt)
        cache.close()
    assert found > 0


PROCESS = """
import sys
import numpy as np
import xxhash
from pathlib import Path
from hydrapicker.streaming.diskcache import DiskCache
cache = DiskCache(Path(sys.argv[1]), 40_960)
random = np.random.default_rng(int(sys.argv[2]))
hits = 0
for number in random.integers(0, 40, size=500).tolist():
    content = np.random.default_rng(number).bytes(4_096)
    checksum = xxhash.xxh3_128_hexdigest(content)
    buffer = bytearray(4_096)
    if cache.read_into(checksum, memoryview(buffer)):
        hits += 1
        assert buffer == content
    else:
        cache.add([(checksum, memoryview(content))])
print(hits)
"""


def test_four_processes_share_it_within_the_bound(tmp_path):
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", PROCESS, str(tmp_path)]
    running = [
        subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for seed in range(4)
    ]
    most = 0
    while any(process.poll() is None for process in running):
        most = max(most, bytes_in(tmp_path))
    for process in running:
        printed, errors = process.communicate()
        assert process.returncode == 0, errors
        assert int(printed) > 0
    assert 0 < most <= 10 * SIZE
    assert bytes_in(tmp_path) <= 10 * SIZE


def test_threads_share_it_within_the_bound(tmp_path):
    cache = DiskCache(tmp_path, 10 * SIZE)
    wrong = []

    def use(seed: int) -> None:
        for number in np.random.default_rng(seed).integers(0, 30, size=300).tolist():
            found = read(cache, number)
            if found is None:
                add(cache, number)
            elif found != content(number):
                wrong.append(number)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert bytes_in(tmp_path) <= 10 * SIZE


def test_closing_waits_for_what_is_being_claimed(tmp_path):
    """Or the number of the lock's file would be another file's by the time that it is let go."""
    cache = DiskCache(tmp_path, MANY)
    (lock,) = tmp_path.rglob("lock")
    with lock.open() as held, ThreadPoolExecutor(2) as pool:
        fcntl.flock(held, fcntl.LOCK_EX)  # as another process does
        entry = checksum(1), memoryview(content(1))
        adding = pool.submit(cache.add, [entry])
        time.sleep(0.2)  # it waits for the lock by now
        closing = pool.submit(cache.close)
        with pytest.raises(TimeoutError):
            closing.result(0.3)
        fcntl.flock(held, fcntl.LOCK_UN)
        adding.result(10)
        closing.result(10)
    assert read(DiskCache(tmp_path, MANY), 1) == content(1)
    add(cache, 2)
    assert bytes_in(tmp_path) == SIZE
