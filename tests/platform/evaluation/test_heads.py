"""Heads judged on a stored dataset: against detections and losses made one by one, and matched by brute force."""

import io

import mrcfile
import numpy as np
import pytest
import torch
from PIL import Image

from hydrapicker.evaluation.figures import detection_curves, learning_curves
from hydrapicker.evaluation.heads import judge, merge, score_heads
from hydrapicker.evaluation.overlays import stored_overlay
from hydrapicker.files import Particles, write_combined_star
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest
from hydrapicker.store.store import Dataset, Store
from hydrapicker_core.inference import MARGIN_PX, detect, pad
from hydrapicker_core.losses import LossConfig, detection_loss
from hydrapicker_core.metrics import ScoredPicks, average_precision
from hydrapicker_core.network import Head, NetworkConfig, Trunk
from hydrapicker_core.preprocess import Background

NETWORK = NetworkConfig(width=4)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Four micrographs of dark discs, of which one has none."""
    folder = tmp_path_factory.mktemp("lab")
    random = np.random.default_rng(2)
    rows, columns = np.mgrid[:100, :150]
    particles = {}
    for name, count in (("a", 6), ("b", 3), ("c", 9), ("d", 0)):
        xy = random.uniform([0, 0], [149, 99], (count, 2)).astype(np.float32)
        image = random.normal(size=(100, 150)).astype(np.float32)
        for x, y in xy:
            image -= 3 * ((columns - x) ** 2 + (rows - y) ** 2 < 8**2)
        with mrcfile.new(folder / f"{name}.mrc", image) as file:
            file.voxel_size = 2.0
        particles[f"{name}.mrc"] = Particles(xy)
    write_combined_star(folder / "particles.star", particles, 2.0)
    store = str(folder / "store")
    given = ((f"{folder}/*.mrc",), str(folder / "particles.star"), 34.0)
    ingest(IngestConfig("toy", *given, keep_empty=True, store=store, workers=1))
    return Store(store).open("toy")


@pytest.fixture(scope="module")
def network() -> tuple[Trunk, dict[str, Head]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trunk, heads = Trunk(NETWORK), {name: Head(NETWORK) for name in ("one", "two")}
        for head in heads.values():
            torch.nn.init.normal_(head.out.weight, std=0.1)
            torch.nn.init.zeros_(head.out.bias)
    for module in (trunk, *heads.values()):
        module.train()  # score_heads shall see to dropout itself
    return trunk, heads


def brute_force(xy: np.ndarray, score: np.ndarray, particles: np.ndarray, side: float) -> list[bool]:
    hits, free = [False] * len(score), list(range(len(particles)))
    for pick in np.argsort(-score, kind="stable"):
        overlaps = []
        for particle in free:
            wide, high = (max(0.0, side - abs(float(d))) for d in xy[pick] - particles[particle])
            overlaps.append(wide * high / (2 * side**2 - wide * high))
        if overlaps and max(overlaps) > 0.6:
            hits[pick] = True
            free.pop(int(np.argmax(overlaps)))
    return hits


def test_scores_are_those_of_detect_matched_by_brute_force(
    dataset: Dataset, network: tuple[Trunk, dict[str, Head]]
) -> None:
    trunk, heads = network
    seen: list[tuple[int, int, str]] = []
    found = score_heads(trunk, heads, dataset, range(4), lambda *progress: seen.append(progress))
    assert seen == [(done, 4, "toy") for done in range(1, 5)]
    assert set(found) == {"one", "two"}
    for name, head in heads.items():
        assert not head.training
        pairs: list[tuple[float, bool]] = []
        for row in range(4):
            stored = dataset.read(row)
            background = Background(stored.background_mean, stored.background_std)
            one = detect(trunk, {name: head}, torch.from_numpy(stored.image), background, dataset.box_px)[name]
            xy, score = one.xy.numpy(), one.score.numpy()
            hits = brute_force(xy, score, stored.particles, dataset.box_px)
            pairs += zip(score.tolist(), hits, strict=True)
        pairs.sort(key=lambda pair: -pair[0])
        np.testing.assert_allclose(found[name].scores, [score for score, _ in pairs], atol=1e-6)
        np.testing.assert_array_equal(found[name].hits, [hit for _, hit in pairs])
        assert found[name].particles == 18
        assert found[name].hits.any()
    assert found["one"].scores.tolist() != found["two"].scores.tolist()


def test_the_loss_is_that_of_the_whole_padded_micrograph(
    dataset: Dataset, network: tuple[Trunk, dict[str, Head]]
) -> None:
    trunk, heads = network
    for module in (trunk, heads["one"]):
        module.eval()
    config = LossConfig(lambda_cls=3.0)
    for row in range(4):
        stored = dataset.read(row)
        padded = pad(torch.from_numpy(stored.image), Background(stored.background_mean, stored.background_std))
        with torch.no_grad():
            output = heads["one"](trunk(padded.image[None, None]))
        moved = torch.from_numpy(stored.particles + MARGIN_PX)
        losses = detection_loss(output, [moved], dataset.box_px, config)
        judged = judge(trunk, {"one": heads["one"]}, stored, dataset.box_px, config)["one"]
        assert judged.loss == pytest.approx(float(losses.localisation + 3.0 * losses.classification), rel=1e-5)
        np.testing.assert_array_equal(judged.result.particles, stored.particles)


def test_rows_asked_for_are_the_rows_judged(dataset: Dataset, network: tuple[Trunk, dict[str, Head]]) -> None:
    trunk, heads = network
    parts = [score_heads(trunk, heads, dataset, [row])["one"] for row in range(4)]
    assert [part.particles for part in parts] == [len(row.particles) for row in dataset.rows]
    merged, together = merge(parts), score_heads(trunk, heads, dataset, range(4))["one"]
    np.testing.assert_array_equal(merged.scores, together.scores)
    np.testing.assert_array_equal(merged.hits, together.hits)
    assert average_precision(merged) == average_precision(together)
    nothing = score_heads(trunk, heads, dataset, [])["one"]
    assert (len(nothing.scores), nothing.particles) == (0, 0)


def picks(hits: list[bool], particles: int) -> ScoredPicks:
    return ScoredPicks(np.linspace(0.9, 0.1, len(hits)), np.array(hits, bool), particles)


@pytest.mark.parametrize(
    "entries",
    [
        {"own head": picks([True, False, True], 4), "generic head": picks([False, False], 4)},
        {"no picks": picks([], 3)},
        {"no particles": picks([False], 0)},
        {"nothing": picks([], 0)},
        {"all hits": picks([True, True], 2)},
    ],
    ids=lambda entries: next(iter(entries)),
)
def test_detection_curves_are_drawn_for_any_picks(entries: dict[str, ScoredPicks]) -> None:
    assert size_of_png(detection_curves(entries, "title")) > (600, 300)


@pytest.mark.parametrize(("validated", "datasets"), [(True, 1), (False, 1), (True, 25)])
def test_learning_curves_are_drawn_for_any_history(validated: bool, datasets: int) -> None:
    names = [f"toy{number}" for number in range(datasets)]
    figures = {"heads": {name: {"own": {"ap": 0.5}, "generic": {"ap": 0.25}} for name in names}}
    history = [
        {
            "phase": phase,
            "losses": {name: {"localisation": 1.0, "classification": 2.0 / epoch} for name in names},
            "distances": dict.fromkeys(names, 0.1 * epoch) if phase == "stage2" else {},
            "validation": figures if validated and epoch == 2 else None,
        }
        for phase in ("stage1", "stage2")
        for epoch in (1, 2)
    ]
    width, height = size_of_png(learning_curves(history))
    assert width > 900
    assert 300 < height < 600, "legends do not grow with the datasets"
    assert size_of_png(learning_curves([])) > (900, 300)


def size_of_png(content: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        assert image.format == "PNG"
        assert len(np.unique(np.asarray(image.convert("L")))) > 2
        return image.size


def test_an_overlay_shows_picks_and_particles(dataset: Dataset, network: tuple[Trunk, dict[str, Head]]) -> None:
    trunk, heads = network
    for module in (trunk, heads["one"]):
        module.eval()
    stored = dataset.read(0)
    background = Background(stored.background_mean, stored.background_std)
    found = detect(trunk, {"one": heads["one"]}, torch.from_numpy(stored.image), background, dataset.box_px)["one"]
    middle = float(found.score.median())

    def green(threshold: float | None) -> int:
        with Image.open(io.BytesIO(stored_overlay(trunk, heads["one"], dataset, 0, threshold))) as picture:
            assert picture.size == stored.image.shape[::-1]
            red, green, blue = np.asarray(picture).astype(int).transpose(2, 0, 1)
        assert (red - np.maximum(green, blue) > 40).any(), "particles are there whatever the threshold"
        return int((green - np.maximum(red, blue) > 40).sum())

    assert green(1.0) == 0
    assert 0 < green(middle) < green(0.0)
    assert green(None) == green(0.5)
