"""``hydrapicker pick`` right after installation: no registry, no network, and what happens once there is one."""

import json
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from hydrapicker import load_head
from hydrapicker.cli import main
from hydrapicker.errors import InvalidInputError
from hydrapicker.picking.pick import PickConfig, pick
from hydrapicker.training.adoption import adopt_shipped
from hydrapicker_registry.shipped import shipped_head


@pytest.fixture
def alone(tmp_path: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a micrograph in it, and nothing configured."""
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HYDRAPICKER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "alone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with mrcfile.new("m.mrc", image) as file:
        file.voxel_size = 2.0
    return folder


def test_a_micrograph_is_picked_and_said_by_which_model(
    alone: Path, image: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "pick m.mrc --diameter-angstrom 60 --threshold 0".split()
    assert main(command) == 0
    called = shipped_head().version.called
    first, picked, _ = capsys.readouterr().out.splitlines()
    expected = load_head("generic").pick(image, pixel_size_angstrom=2, diameter_angstrom=60, threshold=0)
    assert first == f"picking with {called}"
    assert picked == f"{len(expected)} picks on 1 micrographs by {called}: picks/picks.star"
    assert json.loads((alone / "picks" / "picking.json").read_text())["head_version"] is None
    options = json.loads((alone / "picks" / "picked" / "options.json").read_text())
    assert (options["version"], options["head_sha256"]) == (None, shipped_head().version.package_sha256)
    assert sorted(path.name for path in alone.iterdir()) == ["m.mrc", "picks"]
    assert not (alone.parent / "cache").exists()
    assert main(command) == 0
    assert "1 micrographs had been picked before" in capsys.readouterr().out
    assert main(["inspect", "picks", "--out", "report.html"]) == 0
    assert "shipped generic head, particle diameter 60" in (alone / "report.html").read_text()


def test_picking_goes_on_when_a_registry_has_adopted_the_same_head(
    alone: Path, monkeypatch: pytest.MonkeyPatch, tracking_uri: str
) -> None:
    config = PickConfig(("m.mrc",), diameter_angstrom=60)
    assert pick(config).head == shipped_head().version.called
    assert adopt_shipped().version == 1
    report = pick(config)
    assert (report.head, report.skipped) == ("generic version 1", 1)
    assert json.loads((alone / "picks" / "picking.json").read_text())["head_version"] == 1
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)  # which has a generic head of its own
    with pytest.raises(InvalidInputError, match="holds picks made with"):
        pick(config)
