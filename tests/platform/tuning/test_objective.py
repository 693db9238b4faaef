"""What a trial is judged by, against heads judged one by one."""

import pytest
import torch

from hydrapicker.errors import InvalidInputError
from hydrapicker.evaluation.heads import judge
from hydrapicker.store.store import Dataset, Store
from hydrapicker.tuning.objective import check_targets, held_out, judge_trial
from hydrapicker_core.losses import LossConfig
from hydrapicker_core.metrics import average_precision, pool
from hydrapicker_core.network import GENERIC, MultiHeadNetwork, NetworkConfig


@pytest.fixture(scope="module")
def datasets(store: str) -> dict[str, Dataset]:
    return Store(store).open_all(dict.fromkeys(("a", "b", "target", "unlabelled")))


@pytest.fixture(scope="module")
def network() -> MultiHeadNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        made = MultiHeadNetwork(NetworkConfig(width=4, initial_log_odds=0.0), ["a", "b"])
        for name in (GENERIC, "a", "b"):
            torch.nn.init.normal_(made.head(name).out.weight, std=0.1)
    return made


def ap(network: MultiHeadNetwork, head: str, dataset: Dataset, splits: tuple[str, ...]) -> float:
    network.eval()
    parts = []
    for split in splits:
        for row in dataset.split(split):
            judged = judge(network.trunk, {head: network.head(head)}, dataset.read(row), dataset.box_px, LossConfig())
            parts.append(judged[head].scored())
    return average_precision(pool(parts))


def test_generic_on_targets_and_own_heads_on_sources(network: MultiHeadNetwork, datasets: dict[str, Dataset]) -> None:
    sources = {name: datasets[name] for name in ("a", "b")}
    network.train()  # it is put in evaluation mode
    scores = judge_trial(network, sources, {"target": datasets["target"]})
    assert scores.generic == {"target": ap(network, GENERIC, datasets["target"], ("val", "test"))}
    assert scores.own == {name: ap(network, name, datasets[name], ("val",)) for name in sources}
    assert scores.objective == pytest.approx(scores.generic["target"])
    assert scores.own_ap == pytest.approx(sum(scores.own.values()) / 2)
    assert len({scores.generic["target"], *scores.own.values()}) == 3, "or nothing could be mixed up"


def test_stage_1_has_one_head_for_all(network: MultiHeadNetwork, datasets: dict[str, Dataset]) -> None:
    single = MultiHeadNetwork(network.config)
    single.trunk.load_state_dict(network.trunk.state_dict())
    single.generic.load_state_dict(network.generic.state_dict())
    scores = judge_trial(single, {"a": datasets["a"]}, {"target": datasets["target"]})
    assert scores.own == {"a": ap(network, GENERIC, datasets["a"], ("val",))}


def test_nothing_that_might_be_trained_on_judges(datasets: dict[str, Dataset]) -> None:
    target = datasets["target"]
    assert set(held_out(target)).isdisjoint(target.split("train").tolist())
    assert len(held_out(target)) == len(target.split("val")) + len(target.split("test"))


def test_targets_without_particles_are_refused(datasets: dict[str, Dataset]) -> None:
    check_targets({"target": datasets["target"]})
    with pytest.raises(InvalidInputError, match="--targets"):
        check_targets({})
    with pytest.raises(InvalidInputError, match="unlabelled has no particles on val and test"):
        check_targets({"target": datasets["target"], "unlabelled": datasets["unlabelled"]})
