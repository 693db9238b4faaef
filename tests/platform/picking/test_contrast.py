"""Micrographs with inverted contrast are noticed, by a head that was really trained, and nothing else is changed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from network_packages import head_package, trunk_package

from hydrapicker.cli import main
from hydrapicker.files import read_particles
from hydrapicker.picking.config import PickConfig
from hydrapicker.picking.contrast import ContrastEvidence, compare_with_inverse, contrast_doubt
from hydrapicker.picking.pick import pick
from hydrapicker.picking.picker import Picker
from hydrapicker_core.losses import LossConfig, detection_loss
from hydrapicker_core.network import MultiHeadNetwork, NetworkConfig
from hydrapicker_registry import HeadPackage, HeadRegistry, TrunkPackage, ensure_experiment

NETWORK, PIXEL, DIAMETER = NetworkConfig(width=4, dropout=0.0), 2.0, 42.0
SHAPE = (128, 192)


def discs(seed: int, number: int, shape: tuple[int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Dark discs of a box's size on noise, some of which touch, and their centres."""
    random = np.random.default_rng(seed)
    image = random.normal(size=shape).astype(np.float32)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    spots = np.stack(np.meshgrid(np.arange(16, shape[1] - 15, 24), np.arange(16, shape[0] - 15, 24)), -1).reshape(-1, 2)
    xy = random.permutation(spots)[:number] + random.uniform(-4, 4, (number, 2))
    for x, y in xy:
        image -= 2.5 * ((columns - x) ** 2 + (rows - y) ** 2 < 9**2)
    return image, xy.astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Several take longer over images this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def packages() -> tuple[TrunkPackage, HeadPackage]:
    """A trunk and a head that have learnt to find such discs."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = MultiHeadNetwork(NETWORK)
        optimiser = torch.optim.Adam(network.parameters(), 1e-2)
        for step in range(40):
            images, particles = zip(*(discs(100 * step + n, 8 * (n > 0), (96, 96)) for n in range(4)), strict=True)
            outputs = network(torch.from_numpy(np.stack(images)[:, None]), "generic")
            loss = detection_loss(outputs, [torch.from_numpy(each) for each in particles], 21, LossConfig())
            optimiser.zero_grad()
            loss.total(LossConfig()).backward()
            optimiser.step()
    trunk = trunk_package(NETWORK, network.trunk.state_dict())
    return trunk, head_package(trunk, "discs", network.generic.state_dict(), DIAMETER, 0.5)


@pytest.fixture(scope="module")
def trained(packages: tuple[TrunkPackage, HeadPackage]) -> Picker:
    trunk, head = packages
    return Picker(head, trunk)


@pytest.fixture
def registered(
    here: Path, packages: tuple[TrunkPackage, HeadPackage], monkeypatch: pytest.MonkeyPatch, tracking_uri: str
) -> Path:
    """A registry of this test's own that has the trained head."""
    uri = f"sqlite:///{here}/mlflow.db"
    shutil.copyfile(tracking_uri.removeprefix("sqlite:///"), here / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    from mlflow import MlflowClient

    run_id = str(MlflowClient(uri).create_run(ensure_experiment(uri, "training")).info.run_id)
    trunk, head = packages
    version = HeadRegistry(uri).register_trunk(trunk, run_id)
    HeadRegistry(uri).register_head(head_package(trunk, "discs", head.weights, DIAMETER, 0.5), run_id, "champion")
    assert version == 2
    return here


def evidence(picker: Picker, image: np.ndarray, contrast: str = "dark") -> ContrastEvidence:
    at_scale = picker.prepare(image, PIXEL, contrast=contrast)  # type: ignore[arg-type]
    return compare_with_inverse(picker, at_scale, picker.pick_prepared(at_scale, 0.01), None, 2.0)


def test_only_what_is_inverted_is_doubted_with_either_contrast_given(trained: Picker) -> None:
    images = [discs(seed, 20)[0] for seed in range(3)]
    assert len(trained.pick(images[0], pixel_size_angstrom=PIXEL)) > 10, "or the head has learnt nothing"
    for stored, sign in (("dark", 1), ("light", -1)):
        other = "light" if stored == "dark" else "dark"
        right = [evidence(trained, sign * image, stored) for image in images]
        wrong = [evidence(trained, sign * image, other) for image in images]
        assert contrast_doubt(right, stored) is None  # type: ignore[arg-type]
        doubt = contrast_doubt(wrong, other)  # type: ignore[arg-type]
        assert doubt is not None
        assert f"give --contrast {stored} --overwrite" in doubt
        assert "in the 3 that were compared" in doubt
        for one, two in zip(right, wrong, strict=True):
            assert (one.as_given, one.inverse) == pytest.approx((two.inverse, two.as_given), rel=0.1, abs=1)


def test_micrographs_without_particles_tell_nothing(trained: Picker) -> None:
    found = [evidence(trained, sign * discs(seed, 0)[0]) for seed in range(3) for sign in (1, -1)]
    assert contrast_doubt(found, "dark") is None
    assert contrast_doubt([], "dark") is None
    assert contrast_doubt([None, None], "light") is None


@pytest.mark.parametrize(
    ("found", "doubted"),
    [
        ([(0, 9.9)], False),
        ([(0, 10)], True),
        ([(5, 10)], False),
        ([(5, 10.1)], True),
        ([(20, 5), (0, 30), (0, 4)], False),
        ([(20, 5), (0, 30), (0, 6)], True),
    ],
)
def test_the_inverse_must_have_twice_the_evidence_and_enough(found: list[tuple[float, float]], doubted: bool) -> None:
    assert (contrast_doubt([ContrastEvidence(*each) for each in found], "dark") is not None) == doubted


def test_evidence_is_the_log_odds_of_sure_picks_in_the_middle_alone(
    trained: Picker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies beyond 512 working pixels is neither counted nor shown to the network."""
    image, _ = discs(1, 60, (64, 800))
    at_scale = trained.prepare(image, PIXEL)
    picks = trained.pick_prepared(at_scale, 0.01)
    middle = picks.score[(picks.x >= 143.5) & (picks.x < 655.5)]
    sure = np.minimum(middle[middle > 0.5].astype(float), 0.95)
    seen = []
    original = trained.pick_prepared

    def noted(given, *options):  # type: ignore[no-untyped-def]
        seen.append(given.prepared.image)
        return original(given, *options)

    monkeypatch.setattr(trained, "pick_prepared", noted)
    found = compare_with_inverse(trained, at_scale, picks, None, 2.0)
    assert 10 < len(sure) < (picks.score > 0.5).sum()
    assert found.as_given == pytest.approx(np.log(sure / (1 - sure)).sum(), abs=0.01)
    torch.testing.assert_close(*seen, -at_scale.prepared.image[:, 144:656])


@pytest.mark.parametrize("watch", [False, True], ids=["all", "watch"])
def test_pick_says_it_early_and_at_the_end_and_changes_nothing(
    registered: Path, watch: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (registered / "mics").mkdir()
    for number in range(5):
        with mrcfile.new(f"mics/m{number}.mrc", -discs(number, 20)[0]) as file:
            file.voxel_size = PIXEL
    if watch:
        interrupt_after_looks(3, monkeypatch)
    events: list[str] = []
    config = PickConfig(("mics",), Path("out"), head="discs", watch=watch)
    report = pick(config, lambda done, total, label: events.append(label), notice=lambda line: events.append("notice"))
    labels = [event.partition(":")[0] for event in events if event]
    assert labels == ["m0.mrc", "m1.mrc", "notice", "m2.mrc", "m3.mrc", "m4.mrc"]
    assert report.contrast_doubt is not None
    if watch:
        interrupt_after_looks(3, monkeypatch)
    early: list[str] = []
    again = pick(config, notice=early.append)
    assert (again.skipped, again.contrast_doubt, early) == (5, report.contrast_doubt, []), "it was kept"
    capsys.readouterr()
    assert main("pick mics --head discs --contrast light --out light".split()) == 0
    assert "inverted" not in capsys.readouterr().err
    assert main("pick mics --head discs --out dark".split()) == 0
    assert capsys.readouterr().err.count("hydrapicker pick: these micrographs look inverted") == 2
    alone = Picker.of(HeadRegistry().load("discs")).pick("mics/m0.mrc", threshold=0.01)
    np.testing.assert_allclose(read_particles("dark/all_picks.star")["mics/m0.mrc"].xy, alone.xy, atol=1e-2)


def interrupt_after_looks(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End a watch as Ctrl-C does, without waiting between its looks."""
    from hydrapicker.picking import watch as watching

    looks = iter(range(number))

    def sleep(seconds: float) -> None:
        if next(looks) == number - 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching.time, "sleep", sleep)
