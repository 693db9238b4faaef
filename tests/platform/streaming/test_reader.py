"""Minibatches from a disk and from S3: every byte right, in order, within a bound, whatever the network does."""

import gc
import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fault_proxy import fault_proxy

from hydrapicker.errors import StoreAccessError, StoreError
from hydrapicker.storage.location import Location
from hydrapicker.store.store import Dataset, Store
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.streaming.plan import Minibatch, Source, plan_epoch
from hydrapicker.streaming.reader import MinibatchReader

CONFIG = StreamingConfig(buffer_megabytes=2, connections=4, retry_seconds=30)
Written = Callable[..., tuple[Dataset, list[np.ndarray]]]


@pytest.fixture(params=["local", "memory", "s3"])
def root(request, tmp_path) -> str:
    return {
        "local": lambda: str(tmp_path / "store"),
        "memory": lambda: f"memory://{tmp_path.name}",
        "s3": lambda: f"s3://{request.getfixturevalue('bucket')}/store",
    }[request.param]()


@pytest.fixture
def on_s3(bucket) -> str:
    return f"s3://{bucket}/store"


def minibatches(dataset: Dataset, size: int = 3, seed: int = 0) -> list[Minibatch]:
    return list(plan_epoch([Source.of(dataset)], seed, 0, size))


def read(dataset: Dataset, plan: list[Minibatch], config: StreamingConfig = CONFIG) -> list[tuple[np.ndarray, ...]]:
    with closing(MinibatchReader({dataset.name: dataset}, plan, config)) as reader:
        return list(reader)


def same(found: list[tuple[np.ndarray, ...]], plan: list[Minibatch], images: list[np.ndarray]) -> bool:
    """Whether just these minibatches came, bit for bit and in this order."""
    expected = [[images[row] for row in minibatch.rows] for minibatch in plan]
    return [len(group) for group in found] == [len(group) for group in expected] and all(
        got.dtype == wanted.dtype and got.shape == wanted.shape and got.tobytes() == wanted.tobytes()
        for group, other in zip(found, expected, strict=True)
        for got, wanted in zip(group, other, strict=True)
    )


def reader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("stream-fetch")]


def flip_bit(location: Location, dataset: Dataset, row: int) -> None:
    """Flip the last bit of a micrograph where it is stored."""
    path, offset, length = dataset.path_of(row)
    content = bytearray(location.read(path))
    content[offset + length - 1] ^= 1
    location.write(path, bytes(content))


# --- what is read ---


def test_every_micrograph_once_bit_for_bit_in_order(write_images, root):
    dataset, images = write_images(root, 25)
    for size in (1, 3, 100, 3):
        plan = minibatches(dataset, size)
        assert sorted(row for minibatch in plan for row in minibatch.rows) == list(range(25))
        assert same(read(dataset, plan), plan, images)
    assert reader_threads() == []


def test_several_datasets_and_the_same_micrograph_twice(write_images, root):
    datasets, images = {}, {}
    for name in ("one", "two"):
        datasets[name], images[name] = write_images(root, 5, name)
    plan = [
        Minibatch("one", (1, 1, 2), 0),
        Minibatch("two", (1,), 0),
        Minibatch("one", (1,), 1),
        Minibatch("two", (), 0),
    ]
    with closing(MinibatchReader(datasets, plan, CONFIG)) as reader:
        for minibatch, found in zip(plan, reader, strict=True):
            assert [image.tobytes() for image in found] == [
                images[minibatch.dataset][r].tobytes() for r in minibatch.rows
            ]


def test_nothing_to_read(write_images, tmp_path):
    dataset, _ = write_images(str(tmp_path), 1)
    assert read(dataset, []) == []


def test_what_was_handed_over_stays_as_it_is(write_images, tmp_path):
    """Buffers are used again, but never while somebody holds a part of one."""
    dataset, images = write_images(str(tmp_path), 40)
    plan = minibatches(dataset, 2)
    held = []
    with closing(MinibatchReader({dataset.name: dataset}, plan, CONFIG)) as reader:
        for number, found in enumerate(reader):
            if number % 3 == 0:
                held.append((plan[number].rows[-1], found[-1][1:]))
    assert len(held) == 7
    assert all((part == images[row][1:]).all() for row, part in held)


def test_buffers_are_used_again(write_images, tmp_path):
    dataset, _ = write_images(str(tmp_path), 60)
    with closing(MinibatchReader({dataset.name: dataset}, minibatches(dataset, 2), CONFIG)) as reader:
        where = [found[0].__array_interface__["data"][0] for found in reader]
    assert len(where) == 30
    assert len(set(where)) <= 20


def test_a_reader_is_gone_with_its_last_reference(write_images, root):
    dataset, _ = write_images(root, 12)
    gc.disable()
    try:
        reader = MinibatchReader({dataset.name: dataset}, minibatches(dataset), CONFIG)
        assert len(list(reader)) == 4
        alive = weakref.ref(reader)
        reader.close()
        del reader
        assert alive() is None
    finally:
        gc.enable()


def test_neighbours_come_by_one_request(write_images, on_s3, s3, monkeypatch):
    dataset, images = write_images(on_s3, 24)
    plan = [Minibatch(dataset.name, tuple(range(start, start + 3)), 0) for start in range(0, 24, 3)]
    with fault_proxy(s3.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert same(read(dataset, plan, replace(CONFIG, buffer_megabytes=64)), plan, images)
        assert proxy.requests.total() == len({dataset.path_of(row)[0] for row in range(24)})


# --- how much is held ---


def test_the_bound_of_bytes_holds_and_is_used(write_images, on_s3):
    dataset, _ = write_images(on_s3, 60)
    plan = minibatches(dataset, 2)
    sizes = [sum(dataset.path_of(row)[2] for row in minibatch.rows) for minibatch in plan]
    for megabytes in (1e-6, 0.5, 1, 2, 20):
        bound = max(megabytes * 1e6, max(sizes))
        config = replace(CONFIG, buffer_megabytes=megabytes)
        with closing(MinibatchReader({dataset.name: dataset}, plan, config)) as reader:
            held = []
            for number, _ in enumerate(reader):
                assert reader.buffered_bytes >= sum(sizes[number + 1 : number + 2])
                held.append(reader.buffered_bytes)
        assert max(held) <= bound
        assert max(held) > 0.6 * min(bound, sum(sizes) - sizes[0])
        assert held[-1] == 0


def test_a_large_minibatch_after_many_small_ones_stays_within_the_bound(write_images, on_s3):
    dataset, images = write_images(on_s3, 60)
    order = np.random.default_rng(0).permutation(50).tolist()
    large = Minibatch(dataset.name, tuple(range(50, 60)), 0)
    plan = [*(Minibatch(dataset.name, (row,), 0) for row in order), large]
    bound = 1.2 * sum(dataset.path_of(row)[2] for row in large.rows)
    with closing(MinibatchReader({"toy": dataset}, plan, replace(CONFIG, buffer_megabytes=bound / 1e6))) as reader:
        found = []
        for group in reader:
            found.append(group)
            assert reader.buffered_bytes <= bound
    assert same(found, plan, images)


def test_a_random_order_takes_fewer_requests_than_micrographs(write_images, on_s3, s3, monkeypatch):
    """What lies beside something that is due comes with it, where the buffer has room until it is wanted."""
    dataset, images = write_images(on_s3, 100)
    plan = minibatches(dataset, 2)
    half = sum(image.nbytes for image in images) / 2e6
    with fault_proxy(s3.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert same(read(dataset, plan, replace(CONFIG, buffer_megabytes=half)), plan, images)
        assert proxy.requests.total() < 40


# --- faults ---


def test_an_epoch_under_faults_is_every_micrograph_once_bit_for_bit(write_images, on_s3, s3, monkeypatch):
    dataset, images = write_images(on_s3, 240)
    plan = minibatches(dataset, 4)
    rates = {"slow_down": 0.02, "reset": 0.02, "truncated": 0.02, "stall": 0.02, "flipped": 0.02}
    with fault_proxy(s3.endpoint, rates, stall_seconds=0.5) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert same(read(dataset, plan), plan, images)
        assert all(proxy.injected[kind] > 0 for kind in rates), proxy.injected
        assert proxy.injected.total() > 0.07 * proxy.requests.total()


def test_a_bit_that_flips_on_the_way_is_always_caught_and_heals(write_images, on_s3, s3, monkeypatch):
    dataset, images = write_images(on_s3, 60)
    plan, one = minibatches(dataset, 4), replace(CONFIG, connections=1)
    number = itertools.count()
    with fault_proxy(s3.endpoint, {"flipped": 1.0}, only=lambda *request: next(number) % 3 == 0) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        for _ in range(2):  # a network is not trusted the second time either
            assert same(read(dataset, plan, one), plan, images)
        assert proxy.injected["flipped"] > 20
        # Every flip was noticed: it took a request more than an undisturbed epoch.
        disturbed = proxy.requests.total()
        proxy.rates = {}
        assert same(read(dataset, plan, one), plan, images)
        assert disturbed - 2 * (proxy.requests.total() - disturbed) == proxy.injected["flipped"]


def test_a_bit_that_always_flips_is_damage(write_images, on_s3, s3, monkeypatch):
    dataset, _ = write_images(on_s3, 4)
    with fault_proxy(s3.endpoint, {"flipped": 1.0}) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with pytest.raises(StoreError, match=r"is damaged \(its checksum does not match\)"):
            read(dataset, minibatches(dataset))


def test_a_damaged_micrograph_is_named_at_its_minibatch(write_images, root):
    dataset, images = write_images(root, 25)
    plan = minibatches(dataset)
    for bad in (0, 7, 24):
        flip_bit(Location(root), dataset, bad)
        opened = Store(root).open(dataset.name)
        at = next(number for number, minibatch in enumerate(plan) if bad in minibatch.rows)
        reader, found = MinibatchReader({dataset.name: opened}, plan, CONFIG), []
        with pytest.raises(StoreError) as caught:
            found.extend(reader)
        assert same(found, plan[:at], images)
        named = f"dataset toy v0001, shard {dataset.rows[bad].shard}, micrograph m{bad:03d}.mrc is damaged "
        assert str(caught.value).startswith(named)
        assert "hydrapicker datasets repair" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert reader_threads() == []
        assert list(reader) == []
        flip_bit(Location(root), dataset, bad)


def test_a_shard_cut_short_or_missing_is_damage(write_images, root):
    dataset, images = write_images(root, 25)
    location = Location(root)
    path, offset, _ = dataset.path_of(12)
    content = location.read(path)
    good = [row for row in range(25) if dataset.path_of(row)[0] != path or row < 12]
    plan = [*(Minibatch(dataset.name, (row,), 0) for row in good), Minibatch(dataset.name, (12,), 0)]
    for damage in ("the file ends at byte", "no such file"):
        if damage == "no such file":
            location.remove(path)
            plan = [minibatch for minibatch in plan if dataset.path_of(minibatch.rows[0])[0] != path] + plan[-1:]
        else:
            location.write(path, content[: offset + 5])
        reader, found = MinibatchReader({dataset.name: dataset}, plan, CONFIG), []
        with pytest.raises(StoreError, match=rf"micrograph m012.mrc is damaged \({damage}"):
            found.extend(reader)
        assert same(found, plan[:-1], images)


def test_a_local_disk_is_checked_once_per_process_and_a_network_always(write_images, tmp_path, on_s3):
    for root, notices in ((str(tmp_path / "local"), False), (on_s3, True)):
        dataset, images = write_images(root, 6)
        plan = minibatches(dataset)
        assert same(read(dataset, plan), plan, images)
        flip_bit(Location(root), dataset, 3)
        if notices:
            with pytest.raises(StoreError, match="is damaged"):
                read(dataset, plan)
        else:
            assert len(read(dataset, plan)) == len(plan)
        with pytest.raises(StoreError, match="is damaged"):
            read(Store(root).open(dataset.name), plan)


def test_what_was_checked_on_a_local_disk_is_not_read_again(write_images, tmp_path, monkeypatch):
    dataset, images = write_images(str(tmp_path), 12)
    plan, asked, preadv = minibatches(dataset), [], os.preadv

    def counted(descriptor, buffers, *rest):
        asked.extend(len(buffer) for buffer in buffers)
        return preadv(descriptor, buffers, *rest)

    monkeypatch.setattr(os, "preadv", counted)
    assert same(read(dataset, plan), plan, images)
    assert max(asked) > 1
    asked.clear()
    assert same(read(dataset, plan), plan, images)
    assert set(asked) == {1}, "only whether it is in memory"


def test_a_shard_cut_short_after_it_was_checked_is_damaged_and_ends_nothing(write_images, tmp_path):
    dataset, images = write_images(str(tmp_path), 6)
    plan = minibatches(dataset)
    assert same(read(dataset, plan), plan, images)
    path, offset, _ = dataset.path_of(5)
    os.truncate(tmp_path / path, offset + 10)
    with pytest.raises(StoreError, match="is damaged"):
        read(dataset, plan)


def test_a_dead_server_ends_in_one_line(write_images, on_s3, s3, monkeypatch):
    dataset, _ = write_images(on_s3, 6)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match=r"127.0.0.1:9 does not answer .*, tried \d+ times") as caught:
        read(dataset, minibatches(dataset), replace(CONFIG, retry_seconds=0.3))
    assert "\n" not in str(caught.value)
    assert reader_threads() == []


def test_expired_credentials_and_a_missing_bucket_are_told_apart(write_images, on_s3, s3, monkeypatch):
    import boto3

    dataset, _ = write_images(on_s3, 6)
    with fault_proxy(s3.endpoint, {"expired": 1.0}) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with pytest.raises(StoreAccessError, match="have expired"):
            read(dataset, minibatches(dataset))
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    bucket = boto3.resource("s3").Bucket(on_s3.split("/")[2])
    bucket.objects.delete()
    bucket.delete()
    with pytest.raises(StoreAccessError, match="there is no bucket"):
        read(dataset, minibatches(dataset))


def test_any_other_failure_reaches_who_waits(write_images, tmp_path, monkeypatch):
    dataset, _ = write_images(str(tmp_path), 6)

    def broken(*arguments):
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(ZeroDivisionError):
        read(dataset, minibatches(dataset))
    assert reader_threads() == []


# --- closing ---


def test_closing_early_leaves_no_thread(write_images, root):
    dataset, _ = write_images(root, 25)
    reader = MinibatchReader({dataset.name: dataset}, minibatches(dataset), CONFIG)
    next(reader)
    assert len(reader_threads()) > 0
    reader.close()
    reader.close()
    assert reader_threads() == []
    assert list(reader) == []


def test_closing_from_another_thread_ends_the_waiting_in_a_stall(write_images, on_s3, s3, monkeypatch):
    dataset, _ = write_images(on_s3, 25)
    with fault_proxy(s3.endpoint, {"stall": 1.0}, stall_seconds=60) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        reader = MinibatchReader({dataset.name: dataset}, minibatches(dataset), CONFIG)
        ends = []

        def consume() -> None:
            try:
                ends.append(list(reader))
            except StoreError as error:
                ends.append(error)

        consumer = threading.Thread(target=consume)
        consumer.start()
        until = time.monotonic() + 10
        while proxy.injected["stall"] == 0 and time.monotonic() < until:
            time.sleep(0.01)
        reader.close()
        consumer.join(10)
        assert len(ends) == 1
        assert reader_threads() == []


# --- the disk cache ---


@pytest.fixture
def cached(tmp_path) -> StreamingConfig:
    return replace(CONFIG, cache=str(tmp_path / "cache"), cache_gigabytes=0.01)


def test_a_second_epoch_comes_from_the_cache(write_images, on_s3, s3, monkeypatch, cached):
    dataset, images = write_images(on_s3, 25)
    plan = minibatches(dataset)
    with fault_proxy(s3.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert same(read(dataset, plan, cached), plan, images)
        fetched = proxy.requests.total()
        assert fetched > 0
        again = Store(on_s3).open(dataset.name)
        assert len(again.rows) == 25
        opened = proxy.requests.total()
        assert same(read(again, plan, cached), plan, images)
        assert proxy.requests.total() == opened


def test_a_damaged_cache_is_noticed_and_mended(write_images, on_s3, cached):
    dataset, images = write_images(on_s3, 25)
    plan = minibatches(dataset)
    assert same(read(dataset, plan, cached), plan, images)
    files = [path for path in Path(cached.cache).rglob("*") if path.is_file() and path.name != "lock"]
    assert len(files) == 25
    for path in files:
        content = bytearray(path.read_bytes())
        content[7] ^= 16
        path.write_bytes(content)
    again = Store(on_s3).open(dataset.name)
    for _ in range(2):
        assert same(read(again, plan, cached), plan, images)
    assert all(path.stat().st_size > 0 for path in files)


def test_damage_is_never_cached(write_images, on_s3, cached):
    dataset, _ = write_images(on_s3, 4)
    flip_bit(Location(on_s3), dataset, 2)
    with pytest.raises(StoreError, match="is damaged"):
        read(dataset, [Minibatch(dataset.name, (2,), 0)], cached)
    assert [path.name for path in Path(cached.cache).rglob("*") if path.is_file()] == ["lock"]


def test_what_was_evicted_is_checked_when_it_comes_again(write_images, on_s3, cached):
    dataset, images = write_images(on_s3, 4)
    plan = minibatches(dataset)
    for _ in range(2):
        assert same(read(dataset, plan, cached), plan, images)
    shutil.rmtree(cached.cache)
    flip_bit(Location(on_s3), dataset, 2)
    with pytest.raises(StoreError, match="is damaged"):
        read(dataset, plan, cached)


def test_a_local_store_needs_no_cache(write_images, tmp_path, cached):
    dataset, images = write_images(str(tmp_path / "store"), 4)
    plan = minibatches(dataset)
    assert same(read(dataset, plan, cached), plan, images)
    assert not Path(cached.cache).exists()


PROCESS = """
import sys
from hydrapicker.store.store import Store
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.streaming.plan import Source, plan_epoch
from hydrapicker.streaming.reader import MinibatchReader
import xxhash
root, cache, seed = sys.argv[1:]
dataset = Store(root).open("toy")
plan = plan_epoch([Source.of(dataset)], int(seed), 0, 4)
config = StreamingConfig(buffer_megabytes=1, connections=2, cache=cache, cache_gigabytes=0.003)
for _ in range(2):
    for minibatch, images in zip(plan, MinibatchReader({"toy": dataset}, plan, config), strict=True):
        for row, image in zip(minibatch.rows, images, strict=True):
            assert xxhash.xxh3_128_hexdigest(image.tobytes()) == dataset.rows[row].checksum
"""


def test_four_processes_share_a_small_cache(write_images, on_s3, tmp_path):
    dataset, _ = write_images(on_s3, 60)
    largest = max(dataset.path_of(row)[2] for row in range(60))
    assert sum(dataset.path_of(row)[2] for row in range(60)) > 1.5 * 3_000_000
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", PROCESS, on_s3, str(tmp_path)]
    running = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE, text=True) for seed in range(4)]
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    kept = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock")
    assert 0.5 * 3_000_000 < kept <= 3_000_000 + 4 * largest
