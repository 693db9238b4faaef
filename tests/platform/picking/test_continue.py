"""Picking goes on where it was: what is kept is not picked again, and what is kept is all that is written."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from PIL import Image

from hydrapicker.errors import HydraPickerError, InvalidInputError
from hydrapicker.files import read_particles
from hydrapicker.picking import line
from hydrapicker.picking.kept import claimed
from hydrapicker.picking.pick import PickConfig, PickReport, pick
from hydrapicker_registry import HeadRegistry
from hydrapicker_registry.registry import LoadedHead

PIXEL = 1.9


def write(path: Path, image: np.ndarray, pixel: float = PIXEL) -> None:
    path.parent.mkdir(exist_ok=True)
    with mrcfile.new(path, image, overwrite=True) as file:
        file.voxel_size = pixel


@pytest.fixture
def mics(here: Path, image: np.ndarray) -> Path:
    """Five micrographs, all different."""
    for number in range(5):
        write(here / "mics" / f"m{number}.mrc", np.roll(image, 17 * number, axis=1))
    return here / "mics"


@pytest.fixture(autouse=True)
def loaded_once(here: Path, monkeypatch: pytest.MonkeyPatch, loaded: dict[object, LoadedHead]) -> None:
    """Heads come from the registry once, which takes longer than picking does."""
    load = HeadRegistry.load

    def remembered(self: HeadRegistry, *asked: str | int | None, **how: bool) -> LoadedHead:
        if asked not in loaded:
            loaded[asked] = load(self, *asked, **how)  # type: ignore[arg-type]
        return loaded[asked]

    monkeypatch.setattr(HeadRegistry, "load", remembered)


@pytest.fixture(scope="module")
def loaded() -> dict[object, LoadedHead]:
    return {}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the micrographs that are picked, in order."""
    picked: list[str] = []
    original = line.read_file

    def noted(picker, file, name, config):  # type: ignore[no-untyped-def]
        picked.append(file.name)
        return original(picker, file, name, config)

    monkeypatch.setattr(line, "read_file", noted)
    return picked


def config(*files: str, **options: object) -> PickConfig:
    return PickConfig(files or ("mics",), Path("out"), **({"head": "any"} | options))  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_picks_nothing_and_changes_nothing(mics: Path, here: Path, read: list[str]) -> None:
    first = pick(config())
    before = contents(here / "out")
    second = pick(config())
    assert read == [f"m{number}.mrc" for number in range(5)]
    assert (first.skipped, second.skipped) == (0, 5)
    assert second.counts == first.counts
    assert contents(here / "out") == before


def test_only_what_is_new_or_changed_is_picked(mics: Path, here: Path, image: np.ndarray, read: list[str]) -> None:
    pick(config("mics/m0.mrc", "mics/m1.mrc"))
    write(mics / "m1.mrc", image[::-1].copy())
    before = read_particles("out/picks.star")["mics/m1.mrc"]
    read.clear()
    report = pick(config("mics/m0.mrc", "mics/m1.mrc", "mics/m2.mrc"))
    assert read == ["m1.mrc", "m2.mrc"]
    assert list(report.counts) == [f"mics/m{number}.mrc" for number in range(3)]
    after = read_particles("out/picks.star")["mics/m1.mrc"]
    assert after.xy.shape != before.xy.shape or not np.array_equal(after.xy, before.xy)


def test_a_changed_file_that_is_damaged_has_no_picks_any_more(mics: Path, here: Path) -> None:
    pick(config(overlay=True))
    (mics / "m3.mrc").write_bytes(b"no image" * 300)
    report = pick(config(overlay=True))
    assert list(report.failed) == ["mics/m3.mrc"]
    assert set(read_particles("out/picks.star")) == {f"mics/m{number}.mrc" for number in (0, 1, 2, 4)}
    assert not [path for path in (here / "out").rglob("*") if path.name.startswith("m3")]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"threshold": 0.7}, r"made with threshold 0.0 and not 0.7: give --overwrite to pick anew, or another --out"),
        ({"head": "any@challenger"}, "made with version 1 and not 2, threshold 0.0 and not 0.6: "),
        ({"head": "grid"}, "made with head any and not grid: "),
        ({"diameter_angstrom": 50.0}, "diameter_angstrom 42.0 and not 50.0, min_distance_angstrom 25.2 and not 30.0"),
        ({"min_distance_angstrom": 7.0}, "made with min_distance_angstrom 25.2 and not 7.0: "),
        ({"contrast": "light"}, "made with contrast dark and not light: "),
        ({"pixel_size_angstrom": 2.0}, "made with pixel_size_angstrom None and not 2.0: "),
    ],
)
def test_other_options_are_refused_and_leave_all_as_it_was(
    mics: Path, here: Path, changed: dict[str, object], words: str
) -> None:
    pick(config("mics/m0.mrc"))
    before = contents(here / "out")
    with pytest.raises(InvalidInputError, match=r"^out: holds picks ") as refusal:
        pick(config(**changed))
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert contents(here / "out") == before


def test_the_same_options_said_in_full_are_the_same(mics: Path, read: list[str]) -> None:
    pick(config())
    report = pick(config(version=1, diameter_angstrom=42.0, contrast="dark", min_distance_angstrom=0.6 * 42))
    assert (len(read), report.skipped) == (5, 5)


def test_overwrite_picks_anew_and_forgets_what_was_there(mics: Path, here: Path, read: list[str]) -> None:
    pick(config())
    report = pick(config("mics/m0.mrc", threshold=0.7, overwrite=True))
    assert read[5:] == ["m0.mrc"]
    assert list(report.counts) == ["mics/m0.mrc"] == list(read_particles("out/all_picks.star"))


def test_other_formats_and_overlays_come_later(mics: Path, here: Path, read: list[str]) -> None:
    once = pick(config())
    pick(config(formats=("box", "csv")))
    assert len(read) == 5
    assert len(list((here / "out" / "box").iterdir())) == 5
    written = read_particles("out/csv/picks.csv")
    assert {name: len(each.xy) for name, each in written.items()} == once.counts
    pick(config(overlay=True))
    assert len(read) == 10  # images are wanted again
    assert len(list((here / "out" / "overlays").iterdir())) == 5


def test_own_files_that_are_older_than_the_picks_are_written_again(mics: Path, here: Path, image: np.ndarray) -> None:
    pick(config(formats=("box",)))
    write(mics / "m1.mrc", image[::-1].copy())
    pick(config(formats=("csv",)))
    pick(config(formats=("box",)))
    boxes, table = read_particles("out/box"), read_particles("out/csv/picks.csv")
    for number in range(5):
        np.testing.assert_allclose(boxes[f"m{number}"].xy, table[f"mics/m{number}.mrc"].xy, atol=0.51)


def test_a_damaged_file_of_kept_picks_is_made_again(mics: Path, here: Path, read: list[str]) -> None:
    first = pick(config())
    kept = here / "out" / "picked" / "m2.safetensors"
    kept.write_bytes(kept.read_bytes()[:-9])
    assert pick(config()).counts == first.counts
    assert read[5:] == ["m2.mrc"]


def test_another_micrograph_of_a_name_that_is_there_is_refused(mics: Path, here: Path, image: np.ndarray) -> None:
    pick(config())
    write(here / "more" / "m1.mrc", image)
    with pytest.raises(InvalidInputError, match=r"more/m1.mrc: out has picks of mics/m1.mrc, another micrograph"):
        pick(config("more"))


def test_a_run_killed_in_the_middle_goes_on_without_repeating(mics: Path, here: Path, read: list[str]) -> None:
    """By SIGKILL while a file is written; the end is that of a run that was not disturbed."""
    alone = pick(PickConfig(("mics",), Path("alone"), head="any"))
    program = (
        "import os, signal, sys\n"
        "from hydrapicker.storage import atomic\n"
        "left = int(sys.argv[1])\n"
        "def dying(path, to_disk=atomic._to_disk):\n"
        "    global left\n"
        "    left -= 1\n"
        "    if left == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    to_disk(path)\n"
        "atomic._to_disk = dying\n"
        "from pathlib import Path\n"
        "from hydrapicker.picking.pick import PickConfig, pick\n"
        "pick(PickConfig(('mics',), Path('out'), head='any'))\n"
    )
    # Two calls for every file: options, and for each micrograph its picks and its own file, of which the third is
    # not in place yet.
    killed = subprocess.run([sys.executable, "-c", program, "13"], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert not (here / "out" / "picks.star").exists()
    kept = {path.stem for path in (here / "out" / "picked").glob("[!.]*.safetensors")}
    assert 0 < len(kept) < 5
    read.clear()
    report = pick(config())
    assert sorted(read) == sorted(f"m{number}.mrc" for number in range(5) if f"m{number}" not in kept)
    assert report.counts == alone.counts
    whole = contents(here / "alone")
    mine = {name: data for name, data in contents(here / "out").items() if ".part" not in name}
    assert mine.keys() == whole.keys()
    for name, data in whole.items():
        assert mine[name] == data.replace(b"alone/", b"out/")


def test_who_interrupts_is_told_how_to_go_on(
    mics: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hydrapicker.cli import main

    original = line.read_file

    def interrupted(picker, file, name, config):  # type: ignore[no-untyped-def]
        if file.name == "m3.mrc":
            os.kill(os.getpid(), signal.SIGINT)
        return original(picker, file, name, config)

    monkeypatch.setattr(line, "read_file", interrupted)
    command = ["pick", "mics", "--head", "any", "--out", "out"]
    assert main(command) == 130
    assert "run the same command to continue" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(here)


@pytest.fixture
def claim(here: Path) -> Iterator[None]:
    """Another process's hold on the folder: flock tells apart how a file was opened, not by whom."""
    with claimed(here / "out"):
        yield


def test_two_runs_into_one_folder_are_one_too_many(mics: Path, here: Path, claim: None) -> None:
    with pytest.raises(HydraPickerError, match=r"^out: another hydrapicker pick is at work in this folder"):
        pick(config())
    assert [path.name for path in (here / "out").iterdir()] == [".pick.lock"]


def test_files_in_s3_are_picked_like_local_ones(mics: Path, here: Path, bucket: str, read: list[str]) -> None:
    import boto3

    for path in mics.iterdir():
        boto3.client("s3").upload_file(str(path), bucket, f"mics/{path.name}")
    local = pick(config())
    folder = f"s3://{bucket}/mics"
    there: list[PickReport] = [pick(PickConfig((folder,), Path("there"), head="any")) for _ in range(2)]
    assert [report.skipped for report in there] == [0, 5]
    assert there[0].counts == {f"s3://{bucket}/{name}": number for name, number in local.counts.items()}
    kept, of_s3 = read_particles("out/all_picks.star"), read_particles("there/all_picks.star")
    for name, each in kept.items():
        np.testing.assert_array_equal(each.xy, of_s3[f"s3://{bucket}/{name}"].xy)


def test_an_overlay_is_a_picture(mics: Path, here: Path) -> None:
    pick(config("mics/m0.mrc", overlay=True))
    with Image.open("out/overlays/m0.png") as png:
        assert png.size == (203, 131)
