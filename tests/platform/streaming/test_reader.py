"""Minibatches from a disk and from S3: every byte right, in order, within a bound, and an end at any time."""

import gc
import threading
import time
import weakref
from contextlib import closing
from dataclasses import replace

import numpy as np
from epochs import CONFIG, minibatches, read, reader_threads, same
from fault_proxy import fault_proxy

from hydrapicker.errors import StoreError
from hydrapicker.streaming.plan import Minibatch
from hydrapicker.streaming.reader import MinibatchReader

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


def test_a_large_minibatch_among_many_small_ones_stays_within_the_bound(write_images, on_s3):
    dataset, images = write_images(on_s3, 60)
    order = np.random.default_rng(0).permutation(50).tolist()
    large = Minibatch(dataset.name, tuple(range(50, 60)), 0)
    small = [Minibatch(dataset.name, (row,), 0) for row in order]
    plan = [*small[:25], large, *small[25:]]
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
