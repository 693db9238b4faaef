"""What Ray Train is told; no Ray is started."""

import pytest
import ray.train

from hydrapicker.errors import DatasetNotFoundError, HydraPickerError, InvalidInputError, StoreAccessError, StoreError
from hydrapicker.training.config import LoopConfig
from hydrapicker.training.on_ray import StopForGood
from hydrapicker.training.run import scaling


@pytest.mark.parametrize("error", [InvalidInputError("x"), DatasetNotFoundError("x"), StoreAccessError("x")])
def test_what_a_user_must_mend_stops_for_good(error: HydraPickerError) -> None:
    with pytest.raises(type(error)):
        StopForGood().after_exception(None, {0: RuntimeError("its peer is gone"), 1: error})


def test_what_may_pass_is_tried_again() -> None:
    StopForGood().after_exception(None, {0: StoreError("no answer"), 1: RuntimeError("killed")})


def test_workers_are_a_number_or_a_range() -> None:
    assert scaling(LoopConfig(workers=2, cpus_per_worker=3)).num_workers == 2
    elastic = scaling(LoopConfig(workers="1:4", cpus_per_worker=3, gpu=True))
    assert (elastic.min_workers, elastic.max_workers) == (1, 4)
    assert elastic.resources_per_worker == {"CPU": 3.0, "GPU": 1.0}


def test_a_ray_that_cannot_change_their_number_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ray.train.ScalingConfig, "elasticity_enabled")
    assert scaling(LoopConfig(workers="2:2", cpus_per_worker=1)).num_workers == 2
    with pytest.raises(InvalidInputError, match=r"cannot change their number; give one number, or install ray 2.60"):
        scaling(LoopConfig(workers="1:2", cpus_per_worker=1))
