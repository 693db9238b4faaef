"""Minibatches from S3 with a disk cache: from the store once, and never a wrong byte."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from epochs import CONFIG, flip_bit, minibatches, read, same
from fault_proxy import fault_proxy

from hydrapicker.errors import StoreError
from hydrapicker.storage.location import Location
from hydrapicker.store.store import Store
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.streaming.plan import Minibatch


@pytest.fixture
def cached(tmp_path) -> StreamingConfig:
    return replace(CONFIG, cache=str(tmp_path / "cache"), cache_gigabytes=0.1)


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


def test_a_damaged_cache_is_noticed_and_mended(write_images, on_s3, s3, monkeypatch, cached):
    dataset, images = write_images(on_s3, 25)
    plan = minibatches(dataset)
    assert same(read(dataset, plan, cached), plan, images)
    (path,) = Path(cached.cache).rglob("*.bytes")
    content = np.fromfile(path, np.uint8)
    content[7::4096] ^= 16  # every page, and so every micrograph
    content.tofile(path)
    with fault_proxy(s3.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        for _ in range(3):
            asked = proxy.requests.total()
            assert same(read(dataset, plan, cached), plan, images)
        assert 0 < asked == proxy.requests.total(), "mended once, and then read from the cache"


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
    assert sum(dataset.path_of(row)[2] for row in range(60)) > 1.5 * 3_000_000
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", PROCESS, on_s3, str(tmp_path)]
    running = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE, text=True) for seed in range(4)]
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert 0.5 * 3_000_000 < sum(path.stat().st_size for path in tmp_path.rglob("*.bytes")) <= 3_000_000
