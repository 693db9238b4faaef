"""The generic head that lies in the wheel: read with every byte checked, and written from a registry."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import hydrapicker_registry.shipped as shipped
from hydrapicker_core.errors import InvalidInputError
from hydrapicker_registry import GENERIC, HeadPackage, PackageError, Training, TrunkPackage
from hydrapicker_registry.reading import LoadedHead
from hydrapicker_registry.shipped import read_shipped, shipped_head
from hydrapicker_registry.shipped.__main__ import main
from hydrapicker_registry.shipped.writing import MAX_SHIPPED_BYTES, Public, write_shipped

FOLDER = Path(shipped.__file__).parent
DATA = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.suffix not in (".py", ".pyc", ""))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of what ships."""
    for name in DATA:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(FOLDER / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def loaded(generic: tuple[TrunkPackage, HeadPackage]) -> LoadedHead:
    """A generic head as a registry gives it."""
    trunk, head = generic
    return LoadedHead(head, trunk, replace(shipped_head().version, version=7))


@pytest.fixture
def generic(trunk: TrunkPackage, make_head: object) -> tuple[TrunkPackage, HeadPackage]:
    """A trunk and a generic head, trained where the config names places."""
    config = {"store": "s3://lab/data", "runs": "/home/nina/runs", "init": GENERIC, "stage": {"lr": 1e-3}, "n": ["~/x"]}
    head = make_head(trunk, GENERIC)  # type: ignore[operator]
    training = Training(config, "run-1", None, 0.1)
    return trunk, HeadPackage(replace(head.metadata, training=training), head.weights, head.pictures)


def test_what_ships_is_a_generic_head_with_its_trunk_and_names_no_place() -> None:
    loaded = shipped_head()
    assert loaded.head.metadata.dataset == loaded.version.dataset == GENERIC
    assert loaded.head.metadata.trunk.sha256 == loaded.trunk.sha256 == loaded.version.trunk_sha256
    assert loaded.head.metadata.licence
    assert re.fullmatch(r"the generic head shipped with hydrapicker \d+\.\d+\.\d+\S*", loaded.version.called)
    assert {"packages.json", "generic/head.safetensors", "trunk/trunk.json"} <= set(DATA)
    assert sum((FOLDER / name).stat().st_size for name in DATA) < MAX_SHIPPED_BYTES
    for name in DATA:
        if name.endswith((".json", ".md")):
            assert not re.findall(r'"[~/][^"]*"|"\w+://', (FOLDER / name).read_text()), name


@pytest.mark.parametrize("name", DATA)
def test_a_changed_byte_or_a_missing_file_is_noticed(copied: Path, name: str) -> None:
    assert read_shipped(copied)[0].package.metadata == shipped_head().head.metadata
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(PackageError, match="install hydrapicker again"):
        read_shipped(copied)
    (copied / name).unlink()
    with pytest.raises(PackageError, match="install hydrapicker again"):
        read_shipped(copied)


def test_it_picks_without_mlflow_and_leaves_nothing_behind(tmp_path: Path) -> None:
    code = """if True:
        import sys, numpy
        from hydrapicker import load_head
        picker = load_head("generic")
        image = numpy.random.default_rng(1).normal(size=(128, 128)).astype("float32")
        picks = picker.pick(image, pixel_size_angstrom=4, diameter_angstrom=120, threshold=0)
        print(len(picks) > 0, repr(picker), load_head("generic", offline=True).version, "mlflow" in sys.modules)
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "HYDRAPICKER"))}
    environment |= {"HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == f"True Picker({shipped_head().version.called}) None False", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_writing_tells_the_public_more_and_leaves_the_weights(loaded: LoadedHead, tmp_path: Path) -> None:
    told = Public("## Fails\n\nOn carbon.", "CC0-1.0", ("N. Body",), "a paper", {"zero_shot_ap": 0.5, "n": 3}, 0.25)
    size = write_shipped(loaded, told, tmp_path)
    head, trunk = read_shipped(tmp_path)
    assert size == sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert (head.package.sha256, trunk.package.sha256) == (loaded.head.sha256, loaded.trunk.sha256)
    for package in (head.package, trunk.package):
        metadata = package.metadata
        assert (metadata.licence, metadata.authors, metadata.citation) == ("CC0-1.0", ("N. Body",), "a paper")
    assert isinstance(head.package, HeadPackage)
    metadata = head.package.metadata
    assert (metadata.metrics, metadata.threshold) == ({"zero_shot_ap": 0.5, "n": 3.0}, 0.25)
    assert metadata.trunk.version == 1
    config = {"store": None, "runs": None, "init": GENERIC, "stage": {"lr": 1e-3}, "n": [None]}
    assert metadata.training.config == config
    assert head.package.pictures == loaded.head.pictures
    assert "## Fails\n\nOn carbon.\n\n## Measured" in (tmp_path / "generic" / "README.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["generic", "packages.json", "trunk"]
    write_shipped(loaded, Public(), tmp_path)
    assert read_shipped(tmp_path)[0].package.metadata.metrics == loaded.head.metadata.metrics


def test_what_may_not_ship_is_refused_and_changes_nothing(loaded: LoadedHead, copied: Path, make_head: object) -> None:
    head = loaded.head
    large = HeadPackage(head.metadata, head.weights, {"overlay.png": b"0" * MAX_SHIPPED_BYTES})
    own = make_head(loaded.trunk, "PDB-6b7n")  # type: ignore[operator]
    for refused, public, words in (
        (replace(loaded, head=large), Public(), r"15\.0 MB, and no more than 15 MB may ship"),
        (replace(loaded, head=own), Public(), "'PDB-6b7n' is not the generic one"),
        (loaded, Public(metrics={"ap": "high"}), "metric ap is no number"),  # type: ignore[dict-item]
        (loaded, Public(threshold=2.0), "not a score"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            write_shipped(refused, public, copied)
        assert read_shipped(copied)[0].sha256 == shipped_head().version.package_sha256
        assert sorted(path.name for path in copied.iterdir()) == ["generic", "packages.json", "trunk"]


def test_the_command_writes_a_registrys_champion(
    registry: object,
    run_id: str,
    tracking_uri: str,
    generic: tuple[TrunkPackage, HeadPackage],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trunk, head = generic
    registry.register_trunk(trunk, run_id)  # type: ignore[attr-defined]
    registry.register_head(head, run_id, "champion")  # type: ignore[attr-defined]
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "card.md").write_text("It fails on carbon.")
    (tmp_path / "metrics.json").write_text(json.dumps({"ap": 0.75}))
    where = ["--tracking-uri", tracking_uri, "--out", str(out)]
    told = ["--card", str(tmp_path / "card.md"), "--metrics", str(tmp_path / "metrics.json"), "--threshold", "0.3"]
    assert main([*where, *told]) == 0
    assert "wrote generic version 1 with its trunk" in capsys.readouterr().out
    written = read_shipped(out)[0].package
    assert (written.metadata.metrics, written.sha256) == ({"ap": 0.75}, head.sha256)
    assert all(torch.equal(written.weights[name], weights) for name, weights in head.weights.items())
    assert main([*where, "--metrics", str(tmp_path / "gone.json")]) == 1
    assert "gone.json: cannot be read" in capsys.readouterr().err
