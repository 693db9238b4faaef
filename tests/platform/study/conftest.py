"""A study whose trainings have been: two sources, a target, and random networks in the registries they end up in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_registry import dataset, fill

from hydrapicker.store.store import Store
from hydrapicker.study.config import StudyConfig
from hydrapicker.study.files import TargetFiles, labelling_order
from hydrapicker.study.plan import few_name

LABELS = (1, 3)


@pytest.fixture(scope="package")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Sources a and b, target c, few-shot datasets of c ingested as a contribution would, and three registries."""
    folder = tmp_path_factory.mktemp("studied")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRAPICKER_CACHE", str(folder / "cache"))
        found = {name: dataset(folder, name, seed) for seed, name in enumerate("abc")}
        few = {labels: ingest_few(folder, labels) for labels in LABELS}
        sources = {name: found[name] for name in "ab"}
        fill(
            f"sqlite:///{folder}/general.db",
            0,
            sources,
            [
                ("generic", None, "champion"),
                ("a", found["a"], "champion"),
                ("b", found["b"], "champion"),
                (few_name("c", 1), few[1], "challenger"),
                (few_name("c", 3), "e" * 64, "champion"),  # of other micrographs: not this study's
                (few_name("c", 3), few[3], "challenger"),
            ],
        )
        fill(
            f"sqlite:///{folder}/single.db",
            100,
            sources,
            [("generic", None, "champion"), (few_name("c", 3), few[3], "challenger")],
        )
        (folder / "work/alone").mkdir()
        fill(f"sqlite:///{folder}/work/alone/mlflow.db", 200, {"c": found["c"]}, [("c", found["c"], "champion")])
        yield folder


def ingest_few(folder: Path, labels: int) -> str:
    """What `hydrapicker contribute` ingests of the first micrographs; the fingerprint."""
    from hydrapicker.store.labelled import Labelled

    files = target(folder)
    rows = labelling_order(files.dataset)[:labels]
    star = folder / "work" / f"{labels}.star"
    files.write_few(rows, star)
    given = Labelled(tuple(str(files.by_row[row]) for row in rows), str(star), 34.0, test_size=0)
    return given.ingest(few_name("c", labels), str(folder / "work/datasets"), 21).fingerprint


def target(folder: Path) -> TargetFiles:
    """The files of target c."""
    return TargetFiles.of(Store(str(folder / "store")).open("c"), folder / "c")


@pytest.fixture(scope="package")
def config(studied: Path) -> StudyConfig:
    """The study of all of it."""
    return StudyConfig(
        targets=("c",),
        files=(f"c={studied}/c",),
        general=f"sqlite:///{studied}/general.db",
        single=f"sqlite:///{studied}/single.db",
        labels=LABELS,
        folder=studied / "work",
        store=f"{studied}/store",
    )
