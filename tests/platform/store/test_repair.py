"""Repairs are of ingested micrographs, as only those can be made again; every shard must come out as it was."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from hydrapicker.errors import DatasetNotFoundError, InvalidInputError, StoreError
from hydrapicker.storage.location import Location
from hydrapicker.store import repair as repair_module
from hydrapicker.store.clean import leftovers, remove
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest
from hydrapicker.store.repair import repair
from hydrapicker.store.store import Store
from hydrapicker.store.verify import verify

SHARDS = ("toy/v0001/00000.shard", "toy/v0001/00001.shard")


@pytest.fixture
def config(lab, root) -> IngestConfig:
    """Six micrographs of 5,520 bytes, three to a shard; their scale is not quite one half."""
    micrographs, particles = lab(shape=(91, 121))
    return IngestConfig("toy", (micrographs,), particles, 84.0, store=root, workers=2, shard_megabytes=0.012)


@pytest.fixture
def mics(config: IngestConfig) -> Path:
    ingest(config)
    return Path(config.micrographs[0]).parent


@pytest.fixture
def damage(root: str) -> Callable[..., None]:
    """Flip a bit of some micrographs' bytes, by their row numbers in the current version."""

    def damage(*numbers: int) -> None:
        location, rows = Location(root), Store(root).open("toy").rows
        for row in (rows[number] for number in numbers):
            path = f"toy/{row.shard}" if "/" in row.shard else f"toy/v0001/{row.shard}"
            content = bytearray(location.read(path))
            content[row.offset + row.length // 2] ^= 4
            location.write(path, bytes(content))

    return damage


def contents(root: str) -> dict[str, bytes]:
    location = Location(root)
    return {file.path: location.read(file.path) for file in location.files("toy")}


def other_micrograph(path: Path) -> None:
    with mrcfile.new(path, np.random.default_rng(99).normal(size=(90, 120)).astype(np.float32), overwrite=True) as file:
        file.voxel_size = 2.0


def test_an_intact_version_is_left_alone(root, mics):
    before = contents(root)
    report = repair(Store(root), "toy", mics)
    assert (report.dataset, report.version) == ("toy", "v0001")
    assert (report.shards, report.micrographs, report.refused) == ((), (), ())
    assert contents(root) == before


@pytest.mark.parametrize("numbers", [(0,), (4,), (0, 2), (1, 5)])
def test_flipped_bits(root, mics, damage, numbers):
    before = contents(root)
    damage(*numbers)
    assert contents(root) != before
    calls = []
    report = repair(Store(root), "toy", mics, progress=lambda *call: calls.append(call))
    assert report.micrographs == tuple(f"mic{number:02d}.mrc" for number in numbers)
    assert report.shards == tuple(SHARDS[number] for number in sorted({n // 3 for n in numbers}))
    assert report.refused == ()
    assert contents(root) == before
    assert calls[-1] == (len(report.shards), len(report.shards), "repairing toy")


def test_missing_cut_and_too_long_shards(root, mics):
    before = contents(root)
    location = Location(root)
    location.remove(SHARDS[0])
    location.write(SHARDS[1], before[SHARDS[1]][:6000])
    report = repair(Store(root), "toy", mics)
    assert report.micrographs == tuple(f"mic{number:02d}.mrc" for number in (0, 1, 2, 4, 5))
    assert contents(root) == before
    location.write(SHARDS[1], before[SHARDS[1]] + b"more")
    report = repair(Store(root), "toy", mics)
    assert (report.shards, report.micrographs) == ((SHARDS[1],), ())
    assert contents(root) == before


def test_another_file_of_that_name_is_refused(root, mics, damage):
    other_micrograph(mics / "mic01.mrc")
    damage(0, 1)
    before = contents(root)
    report = repair(Store(root), "toy", mics)
    assert (report.shards, report.micrographs) == ((), ())
    (line,) = report.refused
    assert "toy v0001, shard 00000.shard, micrograph mic01.mrc is left as it is" in line
    assert f"{mics / 'mic01.mrc'} is not the file that was ingested" in line
    assert contents(root) == before


def test_one_shard_that_must_be_left_does_not_keep_another_from_repair(root, mics, damage):
    good = contents(root)
    (mics / "mic01.mrc").unlink()
    damage(1, 4)
    before = contents(root)
    report = repair(Store(root), "toy", mics)
    assert report.micrographs == ("mic04.mrc",)
    (line,) = report.refused
    assert "micrograph mic01.mrc is left as it is: no file of this name in the folder given" in line
    after = contents(root)
    assert after[SHARDS[1]] == good[SHARDS[1]]
    assert after[SHARDS[0]] == before[SHARDS[0]]


def test_a_file_that_cannot_be_read_is_refused_by_its_name(root, mics, damage):
    (mics / "mic01.mrc").write_bytes(b"no micrograph")
    damage(1)
    before = contents(root)
    (line,) = repair(Store(root), "toy", mics).refused
    assert str(mics / "mic01.mrc") in line
    assert contents(root) == before


def test_files_are_found_at_any_depth_and_the_right_one_of_several_is_taken(root, mics, damage, tmp_path):
    before = contents(root)
    damage(1)
    for name in ("a", "z"):
        (tmp_path / "archive" / name).mkdir(parents=True)
        other_micrograph(tmp_path / "archive" / name / "mic01.mrc")
    (tmp_path / "archive/a/mic01.mrc").write_bytes(b"no micrograph")
    (tmp_path / "archive/m/n").mkdir(parents=True)
    shutil.copy(mics / "mic01.mrc", tmp_path / "archive/m/n")
    for name in ("loop", "loop2"):  # were they followed for ever, this test would not end
        (tmp_path / "archive/m" / name).symlink_to(tmp_path / "archive")
    assert repair(Store(root), "toy", tmp_path / "archive").micrographs == ("mic01.mrc",)
    assert contents(root) == before


def test_ids_that_are_paths(root, config, damage, tmp_path):
    mics = Path(config.micrographs[0]).parent
    for folder in ("one", "two"):
        (tmp_path / "grids" / folder).mkdir(parents=True)
    for number in range(6):
        target = tmp_path / "grids" / ("one", "two")[number % 2] / f"mic{number // 2}.mrc"
        (mics / f"mic{number:02d}.mrc").rename(target)
    star = Path(config.particles)
    lines = star.read_text()
    for number in range(6):
        lines = lines.replace(f"mics/mic{number:02d}.mrc", f"{('one', 'two')[number % 2]}/mic{number // 2}.mrc")
    star.write_text(lines)
    ingest(replace(config, micrographs=(str(tmp_path / "grids/*/*.mrc"),)))
    before = contents(root)
    damage(1, 4)
    assert repair(Store(root), "toy", tmp_path / "grids").micrographs == ("one/mic1.mrc", "two/mic1.mrc")
    assert contents(root) == before
    damage(1)
    (tmp_path / "grids/one/mic1.mrc").unlink()
    (line,) = repair(Store(root), "toy", tmp_path / "grids").refused  # two/mic1.mrc is another micrograph
    assert "no file of this name" in line


def test_a_shard_shared_by_two_versions_is_repaired_for_both(root, config, mics, damage):
    with mrcfile.new(mics / "new.mrc", np.random.default_rng(7).normal(size=(90, 120)).astype(np.float32)) as file:
        file.voxel_size = 2.0
    star = Path(config.particles)
    more = star.with_name("more.star")
    more.write_text("\n".join(star.read_text().splitlines()[:6]) + "\nmics/new.mrc 50 50\n")
    ingest(replace(config, micrographs=(str(mics / "new.mrc"),), particles=str(more), append=True))
    assert Store(root).open("toy").version == "v0002"
    before = contents(root)
    damage(2)
    assert len(verify(Store(root), "toy", "v0001").damages) == len(verify(Store(root), "toy").damages) == 1
    report = repair(Store(root), "toy", mics)
    assert (report.version, report.shards, report.micrographs) == ("v0002", (SHARDS[0],), ("mic02.mrc",))
    assert contents(root) == before


def test_a_damaged_index_is_for_ingest_to_repair(root, config, mics):
    good = contents(root)
    index = bytearray(good["toy/v0001/index.parquet"])
    index[len(index) // 2] ^= 1
    Location(root).write("toy/v0001/index.parquet", bytes(index))
    with pytest.raises(StoreError, match=r"index.parquet: damaged, .*run the same hydrapicker ingest again"):
        repair(Store(root), "toy", mics)
    ingest(config)
    assert contents(root) == good


def test_an_interrupted_repair_changes_nothing_and_can_be_done_again(root, mics, damage, monkeypatch):
    good = contents(root)
    damage(0, 2)
    before = contents(root)
    prepare, made = repair_module.prepare_micrograph, []

    def interrupted(path: Path, **options: object) -> object:
        made.append(path)
        if len(made) == 2:
            raise KeyboardInterrupt
        return prepare(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(repair_module, "prepare_micrograph", interrupted)
        with pytest.raises(KeyboardInterrupt):
            repair(Store(root), "toy", mics)
    assert contents(root) == before
    assert Location(root).unfinished_uploads() == ()
    repair(Store(root), "toy", mics)
    assert contents(root) == good


_KILLED = """
import os, signal, sys
from hydrapicker.store import repair
from hydrapicker.store.store import Store
prepare, made = repair.prepare_micrograph, []
def killed(path, **options):
    made.append(path)
    if len(made) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return prepare(path, **options)
repair.prepare_micrograph = killed
repair.repair(Store(sys.argv[1]), "toy", sys.argv[2])
"""


@pytest.mark.parametrize("root", ["local"], indirect=True)
def test_a_killed_repair_can_be_done_again(root, mics, damage):
    good = contents(root)
    damage(0, 2)
    before = contents(root)
    ended = subprocess.run([sys.executable, "-c", _KILLED, root, str(mics)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ended.returncode == -signal.SIGKILL
    after = contents(root)
    left = set(after) - set(before)
    assert [path.endswith(".tmp") for path in left] == [True]
    assert {path: after[path] for path in before} == before
    repair(Store(root), "toy", mics)
    assert {leftover.path for leftover in remove(Store(root), leftovers(Store(root), older_than_hours=0))} == left
    assert contents(root) == good


def test_originals_at_a_url(bucket, lab):
    micrographs, particles = lab()
    store = Store(f"s3://{bucket}/sets")
    ingest(IngestConfig("toy", (micrographs,), particles, 84.0, store=store.location.root, shard_megabytes=0.012))
    originals = Location(f"s3://{bucket}/archive/deep")
    for path in Path(micrographs).parent.glob("*.mrc"):
        originals.write(f"er/{path.name}", path.read_bytes())
    good = contents(store.location.root)
    store.location.remove(SHARDS[1])
    assert len(repair(store, "toy", f"s3://{bucket}/archive").micrographs) == 3
    assert contents(store.location.root) == good


def test_what_is_not_there_is_told_before_anything_is_read(root, mics):
    with pytest.raises(InvalidInputError, match="nowhere: no such folder"):
        repair(Store(root), "toy", "nowhere")
    with pytest.raises(DatasetNotFoundError, match="no version v0007"):
        repair(Store(root), "toy", mics, "v0007")
