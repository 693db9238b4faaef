"""What reading does about damage in the store, and about whatever a network does."""

import itertools
import os
from dataclasses import replace

import pytest
from epochs import CONFIG, flip_bit, minibatches, read, reader_threads, same
from fault_proxy import fault_proxy

from hydrapicker.errors import StoreAccessError, StoreError
from hydrapicker.storage.location import Location
from hydrapicker.store.store import Store
from hydrapicker.streaming.plan import Minibatch
from hydrapicker.streaming.reader import MinibatchReader


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
