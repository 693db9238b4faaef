from dataclasses import replace

import pytest

from hydrapicker.errors import DatasetNotFoundError, InvalidInputError
from hydrapicker.streaming.config import StreamingConfig
from hydrapicker.training.config import LoopConfig, TrainConfig
from hydrapicker.training.train import check_datasets, common_box, identity, open_datasets, train
from hydrapicker_core.losses import LossConfig


def test_a_run_is_the_same_when_its_result_is(store: str) -> None:
    a, b = open_datasets(("a",), store), open_datasets(("b",), store)
    config = TrainConfig(datasets=("a",))
    key = identity(config, a)
    assert key == identity(TrainConfig(datasets=("a",), run_name="x", runs="elsewhere", store=store), a)
    assert key == identity(replace(config, loop=LoopConfig(workers=2, cpus_per_worker=1)), a), "who shares the work"
    assert key == identity(replace(config, streaming=StreamingConfig(connections=2, cache="x")), a), "how it is read"
    assert key != identity(replace(config, streaming=StreamingConfig(sampling="balanced")), a)
    assert key != identity(config, b)
    assert key != identity(replace(config, loop=LoopConfig(seed=1)), a)
    assert key != identity(replace(config, loss=LossConfig(lambda_bias=0.2)), a)


def test_datasets_that_cannot_be_trained_together_are_refused(store: str) -> None:
    with pytest.raises(InvalidInputError, match=r"different boxes .*a 21 px, b 32 px"):
        common_box(open_datasets(("a", "b"), store))
    assert common_box(open_datasets(("a",), store)) == 21


def test_names_that_are_no_datasets_are_refused(store: str) -> None:
    with pytest.raises(InvalidInputError, match="named twice"):
        open_datasets(("a", "a"), store)
    with pytest.raises(InvalidInputError, match="generic"):
        open_datasets(("generic",), store)
    with pytest.raises(DatasetNotFoundError, match="aa"):
        open_datasets(("aa",), store)
    with pytest.raises(InvalidInputError, match="--datasets"):
        train(TrainConfig(store=store))


def test_a_dataset_with_all_splits_and_particles_can_be_trained_on(store: str) -> None:
    datasets = open_datasets(("a", "b"), store)
    check_datasets(datasets, LoopConfig(batch_size=2))
    check_datasets(datasets, LoopConfig(batch_size=2, epoch_steps=1, minibatches_per_step=2))
    with pytest.raises(InvalidInputError, match="an epoch of 1 minibatches is too short for 2 datasets"):
        check_datasets(datasets, LoopConfig(batch_size=2, epoch_steps=1, minibatches_per_step=1))


def test_a_batch_larger_than_a_dataset_is_refused(store: str) -> None:
    with pytest.raises(InvalidInputError, match=r"dataset a, which has 2 train .* give --loop.batch-size 2 or less$"):
        check_datasets(open_datasets(("a",), store), LoopConfig(batch_size=3))
