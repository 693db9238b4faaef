import errno
import fcntl
import os
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
from hydrapicker.streaming.diskcache import DiskCache

SIZE = 1_000


def content(number: int, size: int = SIZE) -> bytes:
    return np.random.default_rng(number).bytes(size)


def checksum(number: int) -> str:
    return xxhash.xxh3_128_hexdigest(content(number))


def add(cache: DiskCache, number: int) -> None:
    cache.add(checksum(number), memoryview(content(number)))


def read(cache: DiskCache, number: int) -> bytes | None:
    buffer = bytearray(SIZE)
    return bytes(buffer) if cache.read_into(checksum(number), memoryview(buffer)) else None


def cached_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]


def bytes_in(folder: Path) -> int:
    total = 0
    for path in cached_files(folder):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # evicted meanwhile
    return total


def test_what_was_added_is_read(tmp_path):
    cache = DiskCache(tmp_path / "new" / "folder", 10 * SIZE)
    assert read(cache, 1) is None
    assert not cache.has(checksum(1))
    add(cache, 1)
    assert cache.has(checksum(1))
    assert read(cache, 1) == content(1)
    assert read(DiskCache(tmp_path / "new" / "folder", 10 * SIZE), 1) == content(1)


def test_what_was_used_longest_ago_goes_first(tmp_path):
    cache = DiskCache(tmp_path, 4 * SIZE)
    for number in range(4):
        add(cache, number)
        path = cache._path(checksum(number))
        os.utime(path, (number, number))
    assert read(cache, 0) == content(0)  # used again: number 1 is the oldest now
    add(cache, 4)
    assert [cache.has(checksum(number)) for number in range(5)] == [True, False, True, True, True]
    assert bytes_in(tmp_path) == 4 * SIZE


def test_many_more_than_fit(tmp_path):
    cache = DiskCache(tmp_path, 20 * SIZE)
    for number in range(100):
        add(cache, number)
        assert bytes_in(tmp_path) <= 20 * SIZE
    assert bytes_in(tmp_path) >= 18 * SIZE
    assert cache.has(checksum(99))


def test_what_is_larger_than_the_bound_is_not_kept(tmp_path):
    cache = DiskCache(tmp_path, SIZE - 1)
    add(cache, 1)
    assert cached_files(tmp_path) == []


def test_files_of_others_are_left_alone(tmp_path):
    cache = DiskCache(tmp_path, 2 * SIZE)
    own = cache._folder
    (own / "ab").mkdir()
    others = [tmp_path / "letters.txt", own / "notes.txt", own / "ab" / "cd.txt", own / "ab" / ("A" * 32)]
    for path in others:
        path.write_bytes(bytes(5 * SIZE))
        os.utime(path, (0, 0))
    for number in range(5):
        add(cache, number)
    assert [path.read_bytes() for path in others] == [bytes(5 * SIZE)] * 4
    assert cache.has(checksum(4))


def test_what_a_dead_process_left_is_removed_and_what_is_under_way_stays(tmp_path):
    cache = DiskCache(tmp_path, 3 * SIZE)
    (cache._folder / "ab").mkdir()
    under_way, left = (cache._folder / "ab" / f".{'ab' * 16}.{digit * 16}.tmp" for digit in "01")
    under_way.write_bytes(bytes(SIZE))
    left.write_bytes(bytes(SIZE))
    os.utime(left, (time.time() - 7_200,) * 2)
    for number in range(6):
        add(cache, number)
    assert under_way.exists()
    assert not left.exists()
    assert bytes_in(tmp_path) <= 3 * SIZE


@pytest.mark.parametrize("damage", [b"", b"short", bytes(SIZE + 1)])
def test_a_file_of_another_length_is_no_hit(tmp_path, damage):
    cache = DiskCache(tmp_path, 10 * SIZE)
    add(cache, 1)
    cache._path(checksum(1)).write_bytes(damage)
    assert read(cache, 1) is None
    add(cache, 1)
    assert read(cache, 1) == content(1)


def test_what_is_dropped_can_be_added_again(tmp_path):
    cache = DiskCache(tmp_path, 10 * SIZE)
    add(cache, 1)
    cache.drop(checksum(1))
    cache.drop(checksum(1))
    assert not cache.has(checksum(1))
    add(cache, 1)
    assert read(cache, 1) == content(1)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a" * 31, "a" * 33, "A" * 32, "/" * 32, "a" * 32 + "\n"])
def test_only_a_checksum_becomes_a_path(tmp_path, name):
    cache = DiskCache(tmp_path, 10 * SIZE)
    for use in (cache.has, cache.drop, lambda n: cache.add(n, memoryview(b"x"))):
        with pytest.raises(StoreError, match="not to be trusted"):
            use(name)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file: cannot cache micrographs there \(.*\); give a folder"):
        DiskCache(tmp_path / "file", 10)


def test_a_disk_that_fails_is_said_once_and_reading_goes_on(tmp_path):
    cache = DiskCache(tmp_path, 10 * SIZE)
    add(cache, 1)
    (cache._folder / checksum(2)[:2]).write_text("in the way")
    with pytest.warns(RuntimeWarning, match="no more micrographs are cached there"):
        add(cache, 2)
    add(cache, 3)  # a second warning would be an error here
    assert not cache.has(checksum(3))
    assert read(cache, 1) == content(1)


def test_half_a_file_is_never_seen(tmp_path, monkeypatch):
    cache = DiskCache(tmp_path, 10 * SIZE)

    def disk_full(path: Path, content) -> None:
        with path.open("wb") as file:
            file.write(content[: SIZE // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        add(cache, 1)
    assert cached_files(tmp_path) == []


BOOKING = """
import sys
import xxhash
from pathlib import Path
from hydrapicker.streaming.diskcache import DiskCache
cache = DiskCache(Path(sys.argv[1]), 10**9)
contents = [f"{sys.argv[2]} {number}".encode() for number in range(500)]
sys.stdin.read()
for content in contents:
    cache.add(xxhash.xxh3_128_hexdigest(content), memoryview(content))
"""


def test_processes_book_what_they_add_one_after_the_other(tmp_path):
    command = [sys.executable, "-c", BOOKING, str(tmp_path)]
    running = [subprocess.Popen([*command, str(seed)], stdin=subprocess.PIPE) for seed in range(3)]
    for process in running:
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(cached_files(tmp_path)) == 1_500
    (lock,) = tmp_path.rglob("lock")
    assert int(lock.read_text()) == bytes_in(tmp_path)


PROCESS = """
import sys
import numpy as np
import xxhash
from pathlib import Path
from hydrapicker.streaming.diskcache import DiskCache
cache = DiskCache(Path(sys.argv[1]), 10_000)
random = np.random.default_rng(int(sys.argv[2]))
hits = 0
for number in random.integers(0, 40, size=1_500).tolist():
    content = np.random.default_rng(number).bytes(1_000)
    checksum = xxhash.xxh3_128_hexdigest(content)
    buffer = bytearray(1_000)
    if cache.read_into(checksum, memoryview(buffer)):
        hits += 1
        assert buffer == content
    else:
        cache.add(checksum, memoryview(content))
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
    assert 0 < most <= 10_000 + 4 * SIZE
    assert bytes_in(tmp_path) <= 10_000 + 4 * SIZE


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


def test_closing_waits_for_what_is_being_written(tmp_path):
    """Or the number of the lock's file would be another file's by the time that something is booked in it."""
    cache = DiskCache(tmp_path, 10_000)
    (lock,) = tmp_path.rglob("lock")
    with lock.open() as held, ThreadPoolExecutor(2) as pool:
        fcntl.flock(held, fcntl.LOCK_EX)  # as another process does
        adding = pool.submit(cache.add, "a" * 32, memoryview(b"x" * 1000))
        time.sleep(0.2)  # it waits for the lock by now
        closing = pool.submit(cache.close)
        with pytest.raises(TimeoutError):
            closing.result(0.3)
        fcntl.flock(held, fcntl.LOCK_UN)
        adding.result(10)
        closing.result(10)
    assert DiskCache(tmp_path, 10_000).has("a" * 32)
