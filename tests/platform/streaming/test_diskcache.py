"""The disk cache: what was added comes back right or not at all, within the bound."""

import os
import time

import pytest
from cached_bytes import MANY, SIZE, add, bytes_in, checksum, content, files, read

from hydrapicker.streaming.diskcache import DiskCache

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
