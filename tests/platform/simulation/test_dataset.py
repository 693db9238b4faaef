"""The folder: same seed same bytes, continued after a stop, never mixed."""

import dataclasses
import hashlib
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile

from hydrapicker.errors import InvalidInputError
from hydrapicker.simulation.config import SimulateConfig
from hydrapicker.simulation.dataset import simulate
from hydrapicker.simulation.structure import StructureError


def _config(out: Path) -> SimulateConfig:
    return SimulateConfig(
        name="tiny",
        structure="builtin:globule",
        out=out,
        micrographs=3,
        height=160,
        width=224,
        pixel_size_angstrom=4.0,
        particles=15,
        contamination="light",
        seed=5,
        workers=1,
    )


def _bytes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    config = _config(tmp_path / "a")
    simulate(config, lambda done, total, label: steps.append((done, total)))
    simulate(dataclasses.replace(config, out=tmp_path / "b", workers=3))
    simulate(dataclasses.replace(config, out=tmp_path / "c", seed=6))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")
    assert len(_bytes(tmp_path / "a")) == 5
    ours, other = _bytes(tmp_path / "a"), _bytes(tmp_path / "c")
    assert all(ours[name] != other[name] for name in ours)


def test_a_micrograph_depends_on_its_own_number_only(tmp_path: Path) -> None:
    simulate(_config(tmp_path / "three"))
    simulate(dataclasses.replace(_config(tmp_path / "two"), micrographs=2))
    three, two = _bytes(tmp_path / "three"), _bytes(tmp_path / "two")
    names = [f"micrographs/tiny_0000{number}.mrc" for number in (1, 2)]
    assert [three[name] for name in names] == [two[name] for name in names]
    assert three[names[0]] != three[names[1]]


def test_files_are_as_a_laboratory_would_have_them(tmp_path: Path) -> None:
    result = simulate(_config(tmp_path / "a"))
    assert result.folder == tmp_path / "a"
    assert result.kept == 0
    table = starfile.read(result.particles_file)
    assert result.micrographs == 3
    assert result.particles == len(table) > 10
    for name, rows in table.groupby("rlnMicrographName"):
        assert result.counts[name] == len(rows)
        with mrcfile.open(result.folder / name) as file:
            assert file.data.shape == (160, 224)
            assert int(file.header.mode) == 2
            assert float(file.voxel_size.x) == pytest.approx(4.0)
            assert np.isfinite(file.data).all()
        assert rows["rlnCoordinateX"].between(0, 223).all()
        assert rows["rlnCoordinateY"].between(0, 159).all()
    assert table["rlnCoordinateX"].max() > 160  # x runs along the longer side


def test_float16_holds_the_same_counts(tmp_path: Path) -> None:
    simulate(_config(tmp_path / "a"))
    simulate(dataclasses.replace(_config(tmp_path / "b"), precision="float16"))
    name = "micrographs/tiny_00001.mrc"
    with mrcfile.open(tmp_path / "a" / name) as full, mrcfile.open(tmp_path / "b" / name) as half:
        assert int(half.header.mode) == 12
        np.testing.assert_allclose(half.data.astype(np.float32), full.data, rtol=1e-3)


def test_continues_where_it_stopped(tmp_path: Path) -> None:
    config = _config(tmp_path / "a")
    simulate(config)
    whole = _bytes(tmp_path / "a")
    kept = tmp_path / "a/micrographs/tiny_00001.mrc"
    written = kept.stat().st_mtime_ns
    (tmp_path / "a/micrographs/tiny_00002.mrc").unlink()
    (tmp_path / "a/particles.star").unlink()
    result = simulate(config)
    assert result.kept == 2
    assert kept.stat().st_mtime_ns == written
    assert _bytes(tmp_path / "a") == whole
    assert simulate(config).kept == 3


def test_another_simulation_or_anything_else_is_left_alone(tmp_path: Path) -> None:
    config = _config(tmp_path / "a")
    simulate(config)
    before = _bytes(tmp_path / "a")
    with pytest.raises(InvalidInputError, match=r"another simulation \(differs in seed"):
        simulate(dataclasses.replace(config, seed=9))
    with pytest.raises(InvalidInputError, match="structure_sha256"):
        simulate(dataclasses.replace(config, structure="builtin:shell"))
    assert _bytes(tmp_path / "a") == before
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(InvalidInputError, match="not a simulation"):
        simulate(_config(tmp_path / "b"))
    assert _bytes(tmp_path / "b").keys() == {"thesis.txt"}
    (tmp_path / "a" / "simulation.json").write_text("{")
    with pytest.raises(InvalidInputError, match="damaged"):
        simulate(config)


def test_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(StructureError):
        simulate(dataclasses.replace(_config(tmp_path / "a"), structure="builtin:globul"))
    with pytest.raises(StructureError, match="at most"):
        simulate(dataclasses.replace(_config(tmp_path / "a"), particles=4000))
    assert not (tmp_path / "a").exists()


def test_no_particles_at_all(tmp_path: Path) -> None:
    result = simulate(dataclasses.replace(_config(tmp_path / "a"), particles=0, contamination="none"))
    assert result.particles == 0
    assert result.particles_file.is_file()
