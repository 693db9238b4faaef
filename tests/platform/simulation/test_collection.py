"""The collection: what it consists of, what it asks for, and that one command makes it and continues it."""

from pathlib import Path

import numpy as np
import pytest

from hydrapicker.cli import main
from hydrapicker.errors import InvalidInputError
from hydrapicker.files import read_micrograph
from hydrapicker.simulation import collection
from hydrapicker.simulation.collection import COLLECTION, TARGETS, Entry, configs, entries
from hydrapicker.simulation.micrograph import particle_count
from hydrapicker.simulation.source import load_structure
from hydrapicker.simulation.structure import diameter_angstrom
from hydrapicker.store.store import Store


@pytest.fixture
def deposited(tmp_path: Path) -> Path:
    """A folder with a file, of no content, for every code."""
    folder = tmp_path / "structures"
    folder.mkdir()
    for entry in entries():
        if not entry.structure.startswith("builtin:"):
            (folder / f"{entry.structure}_molecule.cif.gz").touch()
    return folder


def test_the_collection_is_varied_and_its_targets_are_new(deposited: Path, tmp_path: Path) -> None:
    made = configs(entries(), deposited, tmp_path, None)
    assert len(COLLECTION) >= 24
    assert len({config.name for config in made}) == len({config.seed for config in made}) == len(made)
    assert not {each.structure for each in COLLECTION} & {each.structure for each in TARGETS}
    assert len({(config.structure, config.chains) for config in made}) >= 24
    assert "4hhb" in {each.structure for each in TARGETS}
    sources = made[: len(COLLECTION)]
    pixels = [config.pixel_size_angstrom for config in sources]
    assert (min(pixels), max(pixels)) == (0.8, 3.5)
    assert min(config.defocus_min_um for config in sources) <= 0.5
    assert max(config.defocus_max_um for config in sources) >= 3.5
    for field in ("voltage_kv", "dose_e_per_angstrom2", "ice_thickness_angstrom", "contamination", "contrast", "empty"):
        assert len({getattr(config, field) for config in sources}) > 1, field
    counts = [config.micrographs for config in sources]
    assert max(counts) >= 5 * min(counts)


def test_missing_structures_are_named_with_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"needs the structures 1aon 3j9i, and no --structures .*/1aon.cif.gz"):
        configs(entries(("PDB-3j9i", "PDB-1aon", "ring")), None, tmp_path, None)
    with pytest.raises(InvalidInputError, match=r"needs the structures 3j9i, and .* has no file of them"):
        configs(entries(("PDB-3j9i",)), tmp_path, tmp_path, None)
    with pytest.raises(InvalidInputError, match="the collection has no nothing: it has PDB-3j9i, "):
        entries(("nothing",))
    assert configs(entries(("ring",)), None, tmp_path, None)[0].structure == "builtin:ring"


def test_one_command_makes_and_continues_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"height": 128, "width": 160, "pixel_size_angstrom": 3.0, "empty": 0.5, "contrast": "light"}
    monkeypatch.setattr(collection, "COLLECTION", (Entry("one", "builtin:globule", 6, small),))
    monkeypatch.setattr(collection, "TARGETS", (Entry("two", "builtin:globule", 6, small),))
    monkeypatch.chdir(tmp_path)
    assert main(["collection", "--store", "store"]) == 0
    store = Store("store")
    assert store.names() == ("one", "two")
    dataset = store.open("one")
    counts = dataset.rows.particle_counts
    assert len(dataset) == 6
    assert (counts == 0).any()
    assert (counts > 0).any()
    assert dataset.contrast == "light"
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mrc")}
    next(iter(written)).unlink()
    assert main(["collection", "--store", "store"]) == 0
    assert store.open("one").version == "v0001"
    assert sum(path.stat().st_mtime_ns == before for path, before in written.items() if path.exists()) == 11
    assert main(["collection", "--list"]) == 0
    assert "one      source  builtin:globule            6" in capsys.readouterr().out


def test_light_contrast_is_the_dark_micrograph_inverted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = "--structure builtin:globule --height 100 --width 100 --micrographs 1 --pixel-size-angstrom 3".split()
    for contrast in ("dark", "light"):
        assert main(["simulate", "m", "--out", contrast, "--contrast", contrast, *options]) == 0
    dark, light = (read_micrograph(tmp_path / c / "micrographs" / "m_00001.mrc").image for c in ("dark", "light"))
    np.testing.assert_allclose(dark + light, 2 * 40 * 9, rtol=1e-6)


def test_every_dataset_has_room_for_its_particles(structures: Path, tmp_path: Path) -> None:
    """Those for which a number is given, with the real structures; skipped without them."""
    given = [each.name for each in entries() if "particles" in each.conditions]
    for config in configs(entries(given), structures, tmp_path, None):
        diameter = diameter_angstrom(load_structure(config.structure, config.chains))
        assert 10 <= particle_count(config, diameter) <= 250, config.name
        assert 50 <= diameter / config.pixel_size_angstrom <= 170, config.name
