"""The disk cache: what was added comes back right or not at all, within the bound, whoever else uses it or dies."""

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
import xxhash

from hydrapicker.errors import StoreError
from hydrapicker.streaming import diskcache, segments
from hydrapicker.streaming.diskcache import DiskCache

SIZE = 4_096
MANY = 320 * SIZE
"""A bound with which ten micrographs share a file; with less than 64 of them each has its own."""


def content(number: int, size: int = SIZE) -> bytes:
    return np.random.default_rng(number).bytes(size)


def checksum(number: int) -> str:
    return xxhash.xxh3_128_hexdigest(content(number))


def add(cache: DiskCache, *numbers: int) -> None:
    cache.add([(checksum(number), memoryview(content(number))) for number in numbers])


def read(cache: DiskCache, number: int) -> bytes | None:
    buffer = bytearray(SIZE)
    return bytes(buffer) if cache.read_into(checksum(number), memoryview(buffer)) else None


def files(folder: Path, ending: str = "bytes") -> list[Path]:
    return sorted(folder.rglob(f"*.{ending}"))


def bytes_in(folder: Path) -> int:
    total = 0
    for path in files(folder):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # evicted meanwhile
    return total


@pytest.fixture
def looks_always(monkeypatch):
    monkeypatch.setattr(diskcache, "_LOOK_SECONDS", 0.0)


@pytest.fixture
def as_another_process(monkeypatch):
    """What this process has checked is forgotten."""
    return lambda: monkeypatch.setattr(segments, "_checked", {})


# --- what is there ---


def test_what_was_added_is_read(tmp_path, looks_always):
    cache, other = (DiskCache(tmp_path / "new" / "folder", MANY) for _ in range(2))
    assert read(cache, 1) is None
    assert not cache.has(checksum(1))
    add(cache)
    add(cache, *range(25))
    for reader in (cache, other, DiskCache(tmp_path / "new" / "folder", MANY)):
        for _ in range(2):
            assert all(reader.has(checksum(number)) for number in range(25))
            assert [read(reader, number) for number in range(25)] == [content(number) for number in range(25)]
        assert read(reader, 25) is None


def test_many_lie_in_a_file_and_the_same_one_once(tmp_path):
    cache = DiskCache(tmp_path, MANY)
    for first in (0, 5, 10):
        add(cache, *range(first, first + 10), first)
    assert len(files(tmp_path)) == 2
    assert bytes_in(tmp_path) == 20 * SIZE


def test_a_file_that_nobody_appends_to_is_continued(tmp_path):
    first, second = DiskCache(tmp_path, MANY), DiskCache(tmp_path, MANY)
    add(first, 1)
    add(second, 2)
    assert len(files(tmp_path)) == 2
    for cache in (first, second):
        cache.close()
    third = DiskCache(tmp_path, MANY)
    add(third, *range(3, 12))
    assert len(files(tmp_path)) == 2
    assert [read(third, number) for number in range(1, 12)] == [content(number) for number in range(1, 12)]


def test_it_is_checked_when_a_process_first_reads_it(tmp_path, as_another_process):
    cache = DiskCache(tmp_path, MANY)
    add(cache, 1, 2)
    assert read(cache, 1) == content(1)
    for path in files(tmp_path):
        flipped = bytearray(path.read_bytes())
        flipped[10] ^= 1
        flipped[SIZE + 10] ^= 1
        path.write_bytes(flipped)
    assert read(cache, 2) is None
    assert read(cache, 1) not in (None, content(1))  # it was checked; nobody but a failing disk writes there
    as_another_process()
    other = DiskCache(tmp_path, MANY)
    assert other.has(checksum(1))
    assert not other.has(checksum(2))
    assert read(other, 1) is None
    add(other, 1, 2)
    assert [read(other, number) for number in (1, 2)] == [content(1), content(2)]


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\n", b"\xff\n", b"a b c\n", b"%(2)s 0 4096 \n", b"%(2)s -1 4096\n", b"%(2)s 0 4095\n", b"%(2)s 1 4096\n",
        b"%(2)s 999999999999999 4096\n", b"%(2)s 4096 4096\n", b"%(2)s 0 4096\n",
    ],
)  # fmt: skip
def test_a_list_that_lies_is_no_hit(tmp_path, line, as_another_process):
    cache = DiskCache(tmp_path, MANY)
    add(cache, 1)
    cache.close()
    (listed,) = files(tmp_path, "list")
    with listed.open("ab") as file:
        file.write(line % {b"2": checksum(2).encode()} if b"%" in line else line)
    as_another_process()
    cache = DiskCache(tmp_path, MANY)
    assert read(cache, 2) is None
    assert read(cache, 1) == content(1)
    add(cache, 2, 3)
    assert [read(cache, number) for number in (1, 2, 3)] == [content(number) for number in (1, 2, 3)]


def test_a_line_cut_short_is_no_line_and_harms_the_next_one_at_most(tmp_path):
    cache = DiskCache(tmp_path, MANY)
    add(cache, 1, 2)
    cache.close()
    (listed,) = files(tmp_path, "list")
    os.truncate(listed, listed.stat().st_size - 3)
    cache = DiskCache(tmp_path, MANY)
    assert not cache.has(checksum(2))
    add(cache, 3, 2)
    assert [read(cache, number) for number in (1, 3, 2)] == [content(1), None, content(2)]


@pytest.mark.parametrize("size", [0, 10, SIZE - 1])
def test_bytes_cut_short_are_no_hit(tmp_path, size):
    cache = DiskCache(tmp_path, MANY)
    add(cache, 1)
    cache.close()
    (path,) = files(tmp_path)
    os.truncate(path, size)
    cache = DiskCache(tmp_path, MANY)
    assert read(cache, 1) is None
    add(cache, 1)
    assert read(cache, 1) == content(1)


def test_one_of_another_length_is_no_hit(tmp_path):
    cache = DiskCache(tmp_path, MANY)
    add(cache, 1)
    assert not cache.read_into(checksum(1), memoryview(bytearray(SIZE - 1)))


@pytest.mark.parametrize("bound", [MANY, 40 * SIZE])
def test_what_is_dropped_can_be_added_again(tmp_path, bound):
    cache, numbers = DiskCache(tmp_path, bound), range(12)
    add(cache, *numbers)
    for number in numbers:
        cache.drop(checksum(number))
        cache.drop(checksum(number))
        assert not cache.has(checksum(number))
    assert not any(DiskCache(tmp_path, bound).has(checksum(number)) for number in numbers)
    before = files(tmp_path)
    add(cache, *numbers)
    for path in before:
        os.utime(path, (time.time() + 100,) * 2)  # in whatever order the files are looked at
    for found in (cache, DiskCache(tmp_path, bound)):
        assert [read(found, number) for number in numbers] == [content(number) for number in numbers]


# --- what makes room ---


def test_what_was_used_longest_ago_goes_first(tmp_path):
    cache = DiskCache(tmp_path, 4 * SIZE)
    for number in range(4):
        add(cache, number)
        os.utime(cache._folder / cache._places[checksum(number)].file, (number, number))
    assert read(cache, 0) == content(0)  # used again: number 1 is the oldest now
    add(cache, 4)
    assert [cache.has(checksum(number)) for number in range(5)] == [True, False, True, True, True]
    assert bytes_in(tmp_path) == 4 * SIZE


@pytest.mark.parametrize("bound", [20 * SIZE, MANY, MANY + 5])
def test_many_more_than_fit(tmp_path, bound):
    cache, number = DiskCache(tmp_path, bound), 0
    while number < 1.3 * bound / SIZE + 50:
        add(cache, *range(number, number + 7))
        number += 7
        assert bytes_in(tmp_path) <= bound
    assert bytes_in(tmp_path) >= 0.9 * bound
    assert all(read(cache, recent) == content(recent) for recent in range(number - 7, number))
    assert not cache.has(checksum(0))


def test_what_is_larger_than_the_bound_is_not_kept(tmp_path):
    cache = DiskCache(tmp_path, SIZE - 1)
    add(cache, 1)
    assert files(tmp_path) == []


def test_what_others_append_to_stays_and_nothing_more_is_kept(tmp_path, looks_always):
    writers = [DiskCache(tmp_path, 3 * SIZE) for _ in range(4)]
    for number, cache in enumerate(writers):
        add(cache, number)
    assert bytes_in(tmp_path) == 3 * SIZE
    assert not writers[3].has(checksum(3))
    writers[0].close()
    add(writers[3], 3)
    assert [read(writers[3], number) for number in range(4)] == [None, *map(content, (1, 2, 3))]


def test_what_was_evicted_meanwhile_is_right_or_not_there(tmp_path, looks_always):
    reader, writer = DiskCache(tmp_path, 4 * SIZE), DiskCache(tmp_path, 4 * SIZE)
    for number in range(40):
        add(writer, number)
        assert read(reader, number) == content(number)
        assert read(reader, number) == content(number)  # now copied from the mapped file
        assert read(reader, number - 2 if number > 2 else 0) is not None
        assert read(reader, number - 4 if number > 4 else 99) is None
    assert len(reader._segments) == 4, "files that are gone are still open"


def test_files_of_others_are_left_alone(tmp_path):
    cache = DiskCache(tmp_path, 2 * SIZE)
    own = cache._folder
    (own / "ab").mkdir()
    others = [
        tmp_path / "letters.txt",
        own / "notes.txt",
        own / "ab" / ("a" * 16 + ".bytes"),
        own / ("A" * 16 + ".list"),
    ]
    for path in others:
        path.write_bytes(bytes(5 * SIZE))
        os.utime(path, (0, 0))
    for number in range(5):
        add(cache, number)
    assert [path.read_bytes() for path in others] == [bytes(5 * SIZE)] * 4
    assert cache.has(checksum(4))


def test_a_folder_emptied_by_hand_is_filled_anew(tmp_path, looks_always):
    cache = DiskCache(tmp_path, MANY)
    add(cache, 1)
    for ending in ("bytes", "list"):
        for path in files(tmp_path, ending):
            path.unlink()
    add(cache, 2)
    assert [read(cache, number) for number in (1, 2)] == [None, content(2)]
    assert bytes_in(tmp_path) == SIZE


# --- what goes wrong ---


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
