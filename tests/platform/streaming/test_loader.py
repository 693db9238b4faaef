import threading
import time
from pathlib import Path

import pytest
import torch

from hydrapicker.errors import StoreError
from hydrapicker.streaming.loader import PREFETCHED_STEPS, load_minibatch, stream_steps
from hydrapicker.streaming.plan import Minibatch, Source, plan_epoch, plan_step, steps_in
from hydrapicker_core.augmentation import AugmentationConfig, augment, generator_for
from hydrapicker_core.preprocess import Background

SMALL = AugmentationConfig(crop_px=32)


@pytest.fixture
def plan(datasets):
    sources = [Source(name, dataset.fingerprint, dataset.split("train")) for name, dataset in datasets.items()]
    return plan_epoch(sources, 0, 0, 2)


def same(batch, other) -> bool:
    return (
        batch.dataset == other.dataset
        and torch.equal(batch.images, other.images)
        and all(torch.equal(a, b) for a, b in zip(batch.particles, other.particles, strict=True))
    )


def stream_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("stream")]


def test_an_epoch_is_the_plan_read_and_augmented(datasets, plan):
    steps = list(stream_steps(datasets, plan, 3, 1, SMALL, 2))
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
                generator_for(3, 1, f"{batch.dataset}/{read.id}"),
            )
            assert torch.equal(image[0], crop)
            assert torch.equal(particles, inside)
            assert particles.shape[1:] == (2,)


@pytest.mark.parametrize("world", [2, 3, 8])
def test_the_ranks_together_see_what_one_sees(datasets, plan, world):
    alone = list(stream_steps(datasets, plan, 0, 0, SMALL, 4))
    ranks = [list(stream_steps(datasets, plan, 0, 0, SMALL, 4, rank, world)) for rank in range(world)]
    for number, step in enumerate(alone):
        for position, batch in enumerate(step):
            assert same(ranks[position % world][number][position // world], batch)
        assert sum(len(rank[number]) for rank in ranks) == len(step)


@pytest.mark.parametrize("stop", [0, 1, 5, 6])
def test_resuming_equals_not_stopping(datasets, plan, stop):
    whole = list(stream_steps(datasets, plan, 0, 0, SMALL, 1))
    rest = list(stream_steps(datasets, plan, 0, 0, SMALL, 1, first_step=stop))
    assert len(rest) == len(whole) - stop
    assert all(same(a[0], b[0]) for a, b in zip(rest, whole[stop:], strict=True))


def test_epochs_and_seeds_give_other_crops(datasets):
    minibatch = Minibatch("one", (3,))
    crops = [
        load_minibatch(datasets["one"], minibatch, seed, epoch, SMALL).images
        for seed, epoch in [(0, 0), (0, 1), (1, 0)]
    ]
    assert not torch.equal(crops[0], crops[1])
    assert not torch.equal(crops[0], crops[2])


def test_a_micrograph_without_particles(datasets):
    batch = load_minibatch(datasets["one"], Minibatch("one", (0,)), 0, 0, SMALL)
    assert batch.particles[0].shape == (0, 2)


def test_nothing_to_stream(datasets):
    assert list(stream_steps(datasets, (), 0, 0, SMALL, 4)) == []


def test_an_error_reaches_the_consumer_at_its_step(datasets, plan, tmp_path: Path):
    shard = tmp_path / "three" / "v0001" / "00000.shard"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1  # the last row, number 3
    shard.write_bytes(bytes(content))
    bad = next(step for step in range(len(plan)) if plan[step].dataset == "three" and 3 in plan[step].rows)
    steps = stream_steps(datasets, plan, 0, 0, SMALL, 1)
    for _ in range(bad):
        next(steps)
    with pytest.raises(StoreError, match=r"dataset three v0001, shard 00000.shard, micrograph m003.mrc is damaged"):
        next(steps)
    assert stream_threads() == []


def test_closing_ends_the_thread(datasets, plan):
    steps = stream_steps(datasets, plan, 0, 0, SMALL, 1)
    next(steps)
    assert len(stream_threads()) == 1
    steps.close()
    assert stream_threads() == []


def test_the_end_ends_the_thread(datasets, plan):
    list(stream_steps(datasets, plan, 0, 0, SMALL, 1))
    assert stream_threads() == []


def test_steps_are_read_ahead_but_not_too_far(write):
    """The reads of a real dataset are noted as they happen."""
    dataset = write("ahead", 12)
    seen: list[int] = []
    original = dataset.read

    def counted(row: int):
        seen.append(row)
        return original(row)

    dataset.read = counted
    plan = plan_epoch([Source("ahead", dataset.fingerprint, dataset.split("train"))], 0, 0, 1)
    steps = stream_steps({"ahead": dataset}, plan, 0, 0, SMALL, 1)
    next(steps)
    deadline = time.monotonic() + 10
    while len(seen) < 1 + PREFETCHED_STEPS and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(seen) == 1 + PREFETCHED_STEPS
    steps.close()
    assert [plan_step(plan, step, 1)[0].rows[0] for step in range(len(seen))] == seen
