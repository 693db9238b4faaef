"""Contributed heads at the gate of a real registry, judged on a real dataset; heads are random, some better by luck."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from hydrapicker.evaluation.heads import score_heads
from hydrapicker.evaluation.suggest import few_rows, rank_heads
from hydrapicker.files import Particles, write_combined_star
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest
from hydrapicker.store.layout import NORMALISATION
from hydrapicker.store.store import Dataset, Store
from hydrapicker.tracking import TrackedRun
from hydrapicker.training.checkpoint import stored
from hydrapicker.training.registration import Origin, RegisteredHead
from hydrapicker.training.submission import submit
from hydrapicker_core.metrics import average_precision
from hydrapicker_core.network import Head, MultiHeadNetwork, NetworkConfig, Trunk
from hydrapicker_registry import (
    HeadInput,
    HeadMetadata,
    HeadNotFoundError,
    HeadPackage,
    HeadRegistry,
    Training,
    TrunkInput,
    TrunkMetadata,
    TrunkPackage,
)
from hydrapicker_registry.verify import verify

NETWORK = NetworkConfig(width=4)
WORST, MIDDLE, BEST = range(3)


def make_head(seed: int) -> Head:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = Head(NETWORK)
        torch.nn.init.normal_(head.out.weight, std=0.1)
        torch.nn.init.zeros_(head.out.bias)
    return head


def make_trunk(seed: int) -> Trunk:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Trunk(NETWORK)


@pytest.fixture(scope="module")
def mics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six micrographs of dark discs."""
    folder = tmp_path_factory.mktemp("mics")
    random = np.random.default_rng(2)
    rows, columns = np.mgrid[:100, :150]
    particles = {}
    for number in range(6):
        xy = random.uniform([0, 0], [149, 99], (8, 2)).astype(np.float32)
        image = random.normal(size=(100, 150)).astype(np.float32)
        for x, y in xy:
            image -= 3 * ((columns - x) ** 2 + (rows - y) ** 2 < 8**2)
        with mrcfile.new(folder / f"secret{number}.mrc", image) as file:
            file.voxel_size = 2.0
        particles[f"secret{number}.mrc"] = Particles(xy)
    write_combined_star(folder / "particles.star", particles, 2.0)
    return folder


@pytest.fixture(scope="module")
def dataset(mics: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three of them to be tested on."""
    store = str(tmp_path_factory.mktemp("store"))
    given = ((f"{mics}/*.mrc",), str(mics / "particles.star"), 34.0)
    ingest(IngestConfig("discs", *given, test_size=3, store=store, workers=1))
    return Store(store).open("discs")


@pytest.fixture(scope="module")
def ranked(dataset: Dataset) -> list[Head]:
    """Three heads of one trunk, by their AP on the test micrographs."""
    heads = {str(seed): make_head(seed) for seed in range(8)}
    scored = score_heads(make_trunk(0), heads, dataset, dataset.split("test"))
    aps = {name: average_precision(picks) for name, picks in scored.items()}
    order = sorted(aps, key=lambda name: aps[name])
    chosen = [order[0], order[len(order) // 2], order[-1]]
    assert aps[chosen[WORST]] < aps[chosen[MIDDLE]] < aps[chosen[BEST]]
    return [heads[name] for name in chosen]


def shared() -> dict[str, object]:
    return {
        "architecture": NETWORK.as_dict(), "training": Training({}, "run", None, 0.1), "metrics": {}, "authors": (),
        "licence": None, "citation": None, "created": "2026-01-31T12:00:00+00:00",
    }  # fmt: skip


def trunk_package(trunk: Trunk) -> TrunkPackage:
    metadata = TrunkMetadata(**shared(), input=TrunkInput(21, NORMALISATION), datasets={})  # type: ignore[arg-type]
    return TrunkPackage(metadata, stored(trunk.state_dict()))


@dataclass
class Gate:
    """A registry, and heads that are contributed to it."""

    dataset: Dataset
    folder: Path
    registry: HeadRegistry
    ranked: list[Head]
    said: list[str]

    def register(self, name: str, head: Head, trunk_seed: int = 0, box_px: int = 21) -> int:
        """Register a champion on a trunk, as train does."""
        trunk, run = trunk_package(make_trunk(trunk_seed)), TrackedRun("first", "first", "train")
        number = self.registry.register_trunk(trunk, run.run_id)
        known = name != "generic"
        metadata = HeadMetadata(
            **shared(), dataset=name, trunk=trunk.reference(number), threshold=0.5,  # type: ignore[arg-type]
            dataset_version=1 if known else None, dataset_fingerprint="b" * 64 if known else None,
            input=HeadInput(box_px, NORMALISATION, "dark", 34.0 if known else None),
        )  # fmt: skip
        return self.registry.register_head(HeadPackage(metadata, stored(head.state_dict())), run.run_id, "champion")

    def contribute(self, rank: int, run_name: str, pictures: bool = True) -> RegisteredHead:
        """Contribute a head as if it had just been trained."""
        generic = self.registry.load("generic")
        network = MultiHeadNetwork(NETWORK, [self.dataset.name])
        network.trunk.load_state_dict(dict(generic.trunk.weights))
        network.generic.load_state_dict(dict(generic.head.weights))
        network.head(self.dataset.name).load_state_dict(self.ranked[rank].state_dict())
        run = TrackedRun(run_name, run_name, "contribute")
        origin = Origin(run.run_id, run.started, {}, 0.1, 21, "dark", "Nina")
        self.said.clear()
        return submit(network, self.dataset, generic, run, origin, pictures, self.said.append)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: making one takes seconds, and so does every test that makes its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    assert HeadRegistry(f"sqlite:///{folder}/mlflow.db").client is not None
    return folder / "mlflow.db"


@pytest.fixture
def gate(dataset: Dataset, ranked: list[Head], database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    (tmp_path / "mlflow.db").write_bytes(database.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("HYDRAPICKER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return Gate(dataset, tmp_path / "mics", HeadRegistry(), ranked, [])


def test_a_better_head_is_champion_with_its_margin_on_record(gate: Gate) -> None:
    gate.register("generic", gate.ranked[WORST])
    head = gate.contribute(BEST, "one")
    assert head.champion
    assert gate.registry.resolve("discs").version == head.version == 1
    metrics = gate.registry.load("discs").head.metadata.metrics
    assert metrics["gate_passed"] == 1
    assert metrics["gate_margin"] == pytest.approx(metrics["ap"] - metrics["gate_generic_ap"])
    assert metrics["gate_generic_ap"] == pytest.approx(head.generic_metrics["ap"])
    assert metrics["gate_margin_low"] <= metrics["gate_margin"] <= metrics["gate_margin_high"]
    tags = gate.registry.client.get_model_version("hydrapicker.head.discs", "1").tags
    assert tags["gate"] == "passed"
    assert tags["gate_margin"].startswith(f"{metrics['gate_margin']:+.3f} [")
    description = gate.registry.client.get_model_version("hydrapicker.head.discs", "1").description
    assert "## Gate" in description
    assert (
        f"| generic head, version 1 | {metrics['gate_generic_ap']:.3f} | {metrics['gate_margin']:+.3f} | "
        in description
    )
    assert [finding.problem for finding in verify(gate.registry)] == [None] * 3
    (record,) = gate.registry.history("discs")
    assert {period.alias for period in record.periods} == {"champion", "challenger"}, "it came in as challenger"
    assert record.version.aliases == ("champion",)


def test_a_worse_head_stays_challenger_and_is_told_why(gate: Gate) -> None:
    gate.register("generic", gate.ranked[MIDDLE])
    head = gate.contribute(WORST, "one")
    assert not head.champion
    with pytest.raises(HeadNotFoundError, match="has no champion yet: ask for discs@challenger"):
        gate.registry.load("discs")
    assert gate.registry.resolve("discs@challenger").version == 1
    (line,) = gate.said
    for words in ("stays challenger", f"AP {head.metrics['ap']:.3f}", "heads promote discs --version 1"):
        assert words in line
    assert "\n" not in line
    assert "Did not pass" in gate.registry.client.get_model_version("hydrapicker.head.discs", "1").description
    # No second try by giving the command once more, and no second version.
    again = gate.contribute(WORST, "one")
    assert (again.version, again.champion) == (1, False)
    assert "stays challenger" in gate.said[-1]
    assert len(gate.registry.versions("discs")) == 1


@pytest.mark.parametrize("trunk_seed", [0, 5], ids=["same trunk", "another trunk"])
def test_the_reigning_champion_must_not_be_better(gate: Gate, trunk_seed: int) -> None:
    gate.register("generic", gate.ranked[WORST])
    gate.register("discs", gate.ranked[MIDDLE], trunk_seed)
    trunk = make_trunk(trunk_seed)
    scored = score_heads(trunk, {"": gate.ranked[MIDDLE]}, gate.dataset, gate.dataset.split("test"))[""]
    head = gate.contribute(BEST, "one")
    assert head.metrics["gate_champion_ap"] == pytest.approx(average_precision(scored), rel=1e-4)
    assert head.metrics["gate_champion_version"] == 1
    assert head.champion == (head.metrics["ap"] >= head.metrics["gate_champion_ap"])
    if trunk_seed == 0:
        assert head.champion
        beaten = gate.contribute(MIDDLE, "two")
        assert beaten.metrics["gate_generic_margin"] > 0 > beaten.metrics["gate_champion_margin"]
        assert not beaten.champion
        assert gate.registry.resolve("discs").version == 2


def test_one_pass_through_the_trunk_judges_all_heads_of_it(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    gate.register("generic", gate.ranked[WORST])
    gate.register("discs", gate.ranked[MIDDLE])
    gate.register("other", gate.ranked[BEST])
    gate.register("behind", gate.ranked[BEST], trunk_seed=5)
    passes: list[tuple[int, ...]] = []
    forward = Trunk.forward

    def counted(self: Trunk, images: torch.Tensor) -> torch.Tensor:
        passes.append(tuple(images.shape))
        return forward(self, images)

    monkeypatch.setattr(Trunk, "forward", counted)
    rows = few_rows(gate.dataset)
    assert sorted(rows) == sorted([*gate.dataset.split("train"), *gate.dataset.split("val")]), "never a test micrograph"
    ranking = rank_heads(gate.registry, gate.registry.load("generic"), gate.dataset, rows)
    assert len(passes) == len(rows) == 3
    assert [head.dataset for head in ranking.left_out] == ["behind"]
    trunk, expected = make_trunk(0), {}
    for name, rank in (("generic", WORST), ("discs", MIDDLE), ("other", BEST)):
        expected[name] = average_precision(score_heads(trunk, {"": gate.ranked[rank]}, gate.dataset, rows)[""])
    assert {each.head.dataset: each.ap for each in ranking.suggestions} == pytest.approx(expected, rel=1e-4)
    assert [each.ap for each in ranking.suggestions] == sorted(expected.values(), reverse=True)
    without = rank_heads(gate.registry, gate.registry.load("generic"), gate.dataset, rows, without="other")
    assert {each.head.dataset for each in without.suggestions} == {"generic", "discs"}
    passes.clear()
    gate.contribute(BEST, "one", pictures=False)
    assert len(passes) == 4, "three test micrographs and one to validate"


def test_many_heads_are_tried_on_windows_and_the_best_on_whole_micrographs(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.register("generic", gate.ranked[WORST])
    heads = {f"head{seed}": make_head(seed) for seed in range(6)}
    for name, head in heads.items():
        gate.register(name, head)
    passes: list[tuple[int, ...]] = []
    forward = Trunk.forward

    def counted(self: Trunk, images: torch.Tensor) -> torch.Tensor:
        passes.append(tuple(images.shape))
        return forward(self, images)

    monkeypatch.setattr(Trunk, "forward", counted)
    rows = few_rows(gate.dataset)
    ranking = rank_heads(gate.registry, gate.registry.load("generic"), gate.dataset, rows)
    assert len(passes) == len(rows), "windows and whole micrographs share the trunk's pass"
    whole = [each for each in ranking.suggestions if each.whole]
    windowed = [each for each in ranking.suggestions if not each.whole]
    assert list(ranking.suggestions) == whole + windowed
    assert {each.head.dataset for each in ranking.suggestions} == {"generic", *heads}
    assert len(whole) == 2
    assert "generic" in {each.head.dataset for each in whole}
    for suggestions in (whole, windowed):
        assert [each.ap for each in suggestions] == sorted((each.ap for each in suggestions), reverse=True)
    scored = score_heads(make_trunk(0), heads | {"generic": gate.ranked[WORST]}, gate.dataset, rows)
    for each in whole:
        assert each.ap == pytest.approx(average_precision(scored[each.head.dataset]), rel=1e-4)
        assert each.particles == scored["generic"].particles
    assert all(0 < each.particles <= scored["generic"].particles for each in windowed)


def test_a_champion_of_other_boxes_is_not_measured_and_stays(gate: Gate) -> None:
    gate.register("generic", gate.ranked[WORST])
    gate.register("discs", gate.ranked[WORST], trunk_seed=5, box_px=32)
    assert not gate.contribute(BEST, "one").champion
    assert "no margin over champion version 1" in gate.said[-1]
    assert gate.registry.resolve("discs").version == 1


def test_a_run_broken_off_before_its_promotion_is_promoted_by_the_next_command(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.register("generic", gate.ranked[WORST])

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(HeadRegistry, "succeed", killed)
        with pytest.raises(KeyboardInterrupt):
            gate.contribute(BEST, "one")
    assert gate.registry.resolve("discs@challenger").version == 1
    assert gate.contribute(BEST, "one").champion
    assert gate.registry.resolve("discs").version == 1


def test_a_rolled_back_head_does_not_come_back_by_itself(gate: Gate) -> None:
    gate.register("generic", gate.ranked[WORST])
    gate.register("discs", gate.ranked[WORST])
    assert gate.contribute(BEST, "one").version == 2
    gate.registry.rollback("discs")
    assert not gate.contribute(BEST, "one").champion
    assert gate.registry.resolve("discs").version == 1


@pytest.mark.parametrize(("mine", "theirs"), [(BEST, MIDDLE), (MIDDLE, BEST)], ids=["better", "worse"])
def test_where_another_became_champion_meanwhile_it_is_judged_again(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, mine: int, theirs: int
) -> None:
    gate.register("generic", gate.ranked[WORST])
    register: Callable[..., int] = HeadRegistry.register_head

    def overtaken(self: HeadRegistry, head: HeadPackage, run_id: str, alias: str | None = None) -> int:
        version = register(self, head, run_id, alias)
        if alias == "challenger":
            monkeypatch.setattr(HeadRegistry, "register_head", register)
            gate.register("discs", gate.ranked[theirs])
        return version

    monkeypatch.setattr(HeadRegistry, "register_head", overtaken)
    head = gate.contribute(mine, "one")
    again, said = gate.said
    assert "version 1 is judged again: head 'discs': version 2 is champion now" in again
    assert "over champion version 2 (AP" in said
    assert head.champion == (mine == BEST)
    assert ("passed the gate" if head.champion else "stays challenger") in said
    assert gate.registry.resolve("discs").version == (1 if head.champion else 2)


def test_without_test_micrographs_the_gate_cannot_judge(gate: Gate, mics: Path) -> None:
    shutil.copytree(mics, gate.folder)
    given = ((f"{gate.folder}/*.mrc",), str(gate.folder / "particles.star"), 34.0)
    ingest(IngestConfig("discs", *given, val_size=0, test_size=0, store=str(gate.folder / "store"), workers=1))
    gate.dataset = Store(str(gate.folder / "store")).open("discs")
    assert len(gate.dataset.split("train")) == len(gate.dataset) == 6
    gate.register("generic", gate.ranked[WORST])
    head = gate.contribute(BEST, "one")
    assert not head.champion
    assert "stays challenger, as the gate cannot judge it: no test micrographs; promote it by hand" in gate.said[-1]
    version = gate.registry.client.get_model_version("hydrapicker.head.discs", "1")
    assert version.tags["gate"] == "not judged"
    assert "Not judged: there were no test micrographs." in version.description
    loaded = gate.registry.load("discs@challenger").head
    assert "ap" not in loaded.metadata.metrics
    assert loaded.pictures == {}
    assert loaded.metadata.threshold is not None, "found on the training micrographs"
    assert [finding.problem for finding in verify(gate.registry)] == [None] * 3
    assert not gate.contribute(BEST, "one").champion
    assert len(gate.registry.versions("discs")) == 1
