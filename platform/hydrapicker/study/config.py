"""What a study compares, and where its work and its report go."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from hydrapicker.errors import InvalidInputError
from hydrapicker_registry.connection import default_tracking_uri, without_login
from hydrapicker_registry.names import validate_dataset_name

__all__ = ["StudyConfig"]


@dataclass(frozen=True)
class StudyConfig:
    """Repeat the paper's experiments with trained models: sources, zero-shot, few-shot, single-head, robustness.

    Run again with the same options it continues where it stopped.

    Attributes:
        targets: Datasets of the store that no trunk was trained on; models are judged on their test micrographs.
        files: Where each target's files are, as NAME=FOLDER; the folder holds micrographs and particles.star, as one
            that `hydrapicker simulate` wrote.
        general: Tracking URI of the registry with the multi-head network; by default MLFLOW_TRACKING_URI.
        single: Tracking URI of a registry with a single-head network trained on the same sources (hydrapicker train
            --stage2.epochs 0), to compare with; without it there is no such table.
        labels: Numbers of labelled micrographs of a target that few-shot heads get.
        alone_epochs: Epochs of the networks that are trained from scratch on one target each.
        alone_config: YAML file of options for these trainings, over those of the demo preset.
        contribution_config: YAML file of options for the few-shot contributions.
        empty: Folders of micrographs without particles, on which picks of the generic head are counted.
        empty_diameters_angstrom: Diameters that are picked for on these.
        topaz: Topaz' executable; its shipped detector is judged on the targets too, at its best scale.
        folder: For the models, logs and marks of finished steps.
        out: Folder for tables, curves, figures and the config; a README.md in it is left alone.
        store: Folder or URL of the dataset store; by default HYDRAPICKER_STORE or ./hydrapicker-data/datasets.
    """

    targets: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    general: str | None = None
    single: str | None = None
    labels: tuple[int, ...] = (1, 3, 8)
    alone_epochs: int = 40
    alone_config: Path | None = None
    contribution_config: Path | None = None
    empty: tuple[Path, ...] = ()
    empty_diameters_angstrom: tuple[float, ...] = (80.0, 150.0, 250.0, 400.0)
    topaz: str | None = None
    folder: Path = Path("hydrapicker-data/study")
    out: Path = Path("study")
    store: str | None = None

    def __post_init__(self) -> None:
        for name in self.targets:
            validate_dataset_name(name)
        if len(set(self.targets)) < len(self.targets):
            raise InvalidInputError(f"a target is named twice in {' '.join(self.targets)}: give each once")
        if not self.labels or min(self.labels) < 1 or len(set(self.labels)) < len(self.labels):
            raise InvalidInputError(f"labels {self.labels} are not different numbers of micrographs: give 1 3 8")
        if self.alone_epochs < 1:
            raise InvalidInputError(f"alone_epochs {self.alone_epochs} is not positive: give at least 1")
        if any(not (value > 0 and math.isfinite(value)) for value in self.empty_diameters_angstrom):
            raise InvalidInputError(
                f"empty_diameters_angstrom {self.empty_diameters_angstrom} are not positive: give them in Angstrom"
            )
        _ = self.folders

    @property
    def folders(self) -> dict[str, Path]:
        """Folder of micrographs and particles by target."""
        found: dict[str, Path] = {}
        for each in self.files:
            name, separator, folder = each.partition("=")
            if not separator or not folder:
                raise InvalidInputError(f"files {each!r}: give NAME=FOLDER, as in PDB-4hhb=collection/PDB-4hhb")
            if name not in self.targets:
                raise InvalidInputError(f"files {each!r}: {name} is no target: name it in --targets too")
            found[name] = Path(folder)
        return found

    @property
    def general_uri(self) -> str:
        """Where the multi-head network is."""
        return self.general or default_tracking_uri()

    def without_logins(self) -> "StudyConfig":
        """The config as it may be shown, its defaults for registries filled in."""
        single = None if self.single is None else without_login(self.single)
        return replace(self, general=without_login(self.general_uri), single=single)

    @property
    def alone_uri(self) -> str:
        """Where the networks of one target each are."""
        return f"sqlite:///{self.folder}/alone/mlflow.db"

    @property
    def few_store(self) -> Path:
        """Where the datasets of a few labelled micrographs are."""
        return self.folder / "datasets"
