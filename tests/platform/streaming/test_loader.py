import itertools
import threading
import time
from pathlib import Path

import pytest
import torch
from fault_proxy import fault_proxy

from hydrapicker.errors import StoreError
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.streaming.loader import PREFETCHED_STEPS, make_batch, stream_steps
from hydrapicker.streaming.plan import Minibatch, Source, plan_epoch, steps_in
from hydrapicker.streaming.reader import MinibatchReader
from hydrapicker_core.augmentation import AugmentationConfig, augment, generator_for
from hydrapicker_core.preprocess import Background

SMALL = AugmentationConfig(crop_px=32)
ONE_AT_A_TIME = StreamingConfig(buffer_megabytes=1e-6)


@pytest.fixture
def plan(datasets):
    return plan_epoch([Source.of(dataset) for dataset in datasets.values()], 0, 0, 2)


def same(batch, other) -> bool:
    return (
        batch.dataset == other.dataset
        and torch.equal(batch.images, other.images)
        and all(torch.equal(a, b) for a, b in zip(batch.particles, other.particles, strict=True))
    )


def stream_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("stream")]


def test_an_epoch_is_the_plan_read_and_augmented(datasets, plan):
    steps = list(stream_steps(datasets, plan, 3, SMALL, 2))
    assert len(steps) == steps_in(plan, 2) == 3
    batches = [batch for step in steps for batch in step]
    for batch, minibatch in zip(batches, plan, strict=True):
        assert batch.dataset == minibatch.dataset
        assert batch.images.shape == (len(minibatch.rows), 1, 32, 32)
        assert batch.images.dtype == torch.float32
        for image, particles, row in zip(batch.images, batch.particles, minibatch.rows, strict=True):
            read = datasets[batch.dataset].read(row)
            crop, inside = augment(
                torch.from_numpy(read.image),
                torch.from_numpy(read.particles),
                Background(0.0, 1.0),
                SMALL,
                generator_for(3, 0, f"{batch.dataset}/{read.id}"),
            )
            assert torch.equal(image[0], crop)
            assert torch.equal(particles, inside)
            assert particles.shape[1:] == (2,)


@pytest.mark.parametrize("world", [2, 3, 8])
def test_the_ranks_together_see_what_one_sees(datasets, plan, world):
    alone = list(stream_steps(datasets, plan, 0, SMALL, 4))
    ranks = [list(stream_steps(datasets, plan, 0, SMALL, 4, rank, world)) for rank in range(world)]
    for number, step in enumerate(alone):
        for position, batch in enumerate(step):
            assert same(ranks[position % world][number][position // world], batch)
        assert sum(len(rank[number]) for rank in ranks) == len(step)


@pytest.mark.parametrize("stop", [0, 1, 5, 6])
def test_resuming_equals_not_stopping(datasets, plan, stop):
    whole = list(stream_steps(datasets, plan, 0, SMALL, 1))
    rest = list(stream_steps(datasets, plan, 0, SMALL, 1, first_step=stop))
    assert len(rest) == len(whole) - stop
    assert all(same(a[0], b[0]) for a, b in zip(rest, whole[stop:], strict=True))


def load(dataset, minibatch, seed):
    (images,) = MinibatchReader({minibatch.dataset: dataset}, [minibatch])
    return make_batch(dataset, minibatch, images, seed, SMALL)


def test_sweeps_and_seeds_give_other_crops(datasets):
    crops = [
        load(datasets["one"], Minibatch("one", (3,), sweep), seed).images for seed, sweep in [(0, 0), (0, 1), (1, 0)]
    ]
    assert not torch.equal(crops[0], crops[1])
    assert not torch.equal(crops[0], crops[2])


def test_a_micrograph_without_particles(datasets):
    assert load(datasets["one"], Minibatch("one", (0,), 0), 0).particles[0].shape == (0, 2)


def test_nothing_to_stream(datasets):
    assert list(stream_steps(datasets, (), 0, SMALL, 4)) == []


def test_an_error_reaches_the_consumer_at_its_step(datasets, plan, tmp_path: Path):
    shard = tmp_path / "three" / "v0001" / "00000.shard"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1  # the last row, number 3
    shard.write_bytes(bytes(content))
    bad = next(step for step in range(len(plan)) if plan[step].dataset == "three" and 3 in plan[step].rows)
    steps = stream_steps(datasets, plan, 0, SMALL, 1)
    for _ in range(bad):
        next(steps)
    with pytest.raises(StoreError, match=r"dataset three v0001, shard 00000.shard, micrograph m003.mrc is damaged"):
        next(steps)
    assert stream_threads() == []


def test_closing_ends_the_threads(datasets, plan):
    steps = stream_steps(datasets, plan, 0, SMALL, 1)
    next(steps)
    assert len(stream_threads()) > 1
    steps.close()
    assert stream_threads() == []


def test_the_end_ends_the_threads(datasets, plan):
    list(stream_steps(datasets, plan, 0, SMALL, 1))
    assert stream_threads() == []


def test_closing_ends_the_threads_in_the_middle_of_a_stall(write_images, bucket, s3, monkeypatch):
    dataset, _ = write_images(f"s3://{bucket}/store", 6)
    plan, number = plan_epoch([Source.of(dataset)], 0, 0, 1), itertools.count()
    with fault_proxy(s3.endpoint, {"stall": 1.0}, stall_seconds=60, only=lambda *_: next(number) >= 2) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        steps = stream_steps({"toy": dataset}, plan, 0, SMALL, 1, config=ONE_AT_A_TIME)
        assert len(next(steps)) == 1
        until = time.monotonic() + 10
        while proxy.injected["stall"] == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert proxy.injected["stall"] == 1
        steps.close()
        assert stream_threads() == []


def test_steps_are_made_ahead_but_not_too_far(write):
    """What is asked of the plan is noted: the steps made ahead, one that is fetched, one to know how large it is."""
    dataset = write("ahead", 12)
    seen: list[int] = []

    class Noted(list[Minibatch]):
        def __getitem__(self, where):
            seen.append(where.start)
            return super().__getitem__(where)

    plan = Noted(plan_epoch([Source.of(dataset)], 0, 0, 1))
    steps = stream_steps({"ahead": dataset}, plan, 0, SMALL, 1, config=ONE_AT_A_TIME)
    next(steps)
    until = time.monotonic() + 10
    while max(seen) < PREFETCHED_STEPS + 2 and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.1)
    assert max(seen) == PREFETCHED_STEPS + 2
    steps.close()


def test_reading_begins_with_the_call(datasets, plan):
    stream = stream_steps(datasets, plan, 0, SMALL, 1)
    assert stream_threads() != []
    stream.close()
    assert stream_threads() == []
