"""The whole life of a head in minutes: simulate, ingest, train, contribute, pick, with one table at the end."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hydrapicker.cores import available_cores
from hydrapicker.errors import InvalidInputError
from hydrapicker.picking.pick import PickConfig, pick
from hydrapicker.simulated import make_dataset
from hydrapicker.simulation.config import SimulateConfig
from hydrapicker.store.store import Store
from hydrapicker.training.config import demo as demo_preset
from hydrapicker.training.contribute import ContributeConfig, contribute
from hydrapicker.training.registration import RegisteredHead
from hydrapicker.training.train import train
from hydrapicker_registry.connection import default_tracking_uri

Say = Callable[[str], None]

_SIDE_PX = 1024
_PIXEL_SIZE_ANGSTROM = 4.0


@dataclass(frozen=True)
class DemoConfig:
    """Simulate three source datasets and a new one, train, contribute, pick and compare.

    Attributes:
        sources: Built-in shapes of the datasets that trunk and heads are trained on.
        new: Built-in shape of the dataset that is contributed afterwards.
        micrographs: Of every source dataset; two are kept for validation and three for the test.
        new_micrographs: Of the new dataset, of which as many are kept.
        out: Folder for picks and overlays.
    """

    sources: tuple[str, ...] = ("shell", "barrel", "dumbbell")
    new: str = "cross"
    micrographs: int = 13
    new_micrographs: int = 9
    out: Path = Path("hydrapicker-data/picks")

    def __post_init__(self) -> None:
        if self.new in self.sources or len(set(self.sources)) < len(self.sources):
            raise InvalidInputError(f"the demo's shapes must differ: {' '.join(self.sources)} and {self.new}")


@dataclass(frozen=True)
class DemoResult:
    """What the demo leaves.

    Attributes:
        heads: Of the source datasets and the new one, with their test figures.
        new: Name of the new dataset.
        overlays: Folders with overlay images.
        tracking_uri: Of MLflow.
    """

    heads: tuple[RegisteredHead, ...]
    new: str
    overlays: tuple[Path, ...]
    tracking_uri: str


def run_demo(config: DemoConfig, say: Say) -> DemoResult:
    """Run the demo; what an earlier run finished is not done again."""
    for seed, shape in enumerate((*config.sources, config.new), start=1):
        count = config.new_micrographs if shape == config.new else config.micrographs
        _make_dataset(shape, count, seed, say)
    preset = demo_preset()
    loop = replace(preset.loop, workers=min(preset.loop.worker_range[1], available_cores()))
    trained = train(replace(preset, datasets=config.sources, loop=loop), say)
    heads = (*(head for head in trained if head.name != "generic"), contribute(ContributeConfig(config.new), say))
    folders = tuple(_pick_test_micrographs(head, config.out / head.name, say) for head in heads)
    return DemoResult(heads, config.new, folders, default_tracking_uri())


def _make_dataset(shape: str, micrographs: int, seed: int, say: Say) -> None:
    config = SimulateConfig(
        shape,
        f"builtin:{shape}",
        micrographs=micrographs,
        height=_SIDE_PX,
        width=_SIDE_PX,
        pixel_size_angstrom=_PIXEL_SIZE_ANGSTROM,
        contamination="light",
        seed=seed,
    )
    say(f"simulated and ingested {shape}: {make_dataset(config, val_size=2, test_size=3)}")


def _pick_test_micrographs(head: RegisteredHead, out: Path, say: Say) -> Path:
    dataset_name, chosen = head.name, head.name if head.champion else f"{head.name}@{head.version}"
    dataset = Store().open(dataset_name)
    folder = SimulateConfig(dataset_name, f"builtin:{dataset_name}").folder / "micrographs"
    files = tuple(str(folder / dataset.rows[row].id) for row in dataset.split("test"))
    report = pick(PickConfig(files, out, head=chosen, overlay=True, overwrite=True))
    say(f"picked the test micrographs of {dataset_name}: {sum(report.counts.values())} picks in {report.written[0]}")
    return out / "overlays"
