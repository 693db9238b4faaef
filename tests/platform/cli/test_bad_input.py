"""Bad input gets one clear line and a non-zero exit, and leaves nothing behind (issue 2)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest

COMMAND = Path(sys.executable).parent / "hydrapicker"


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def refuses(lab: Path, ingest: Callable) -> Callable[..., str]:
    """Ingest, expect one line, and make sure that nothing was written."""

    def run(*options: object, name: str = "toy") -> str:
        before = files_in(lab)
        line = ingest(*options, name=name).refusal()
        left = [path for path in files_in(lab) if path not in before]
        # The store's own folder may be left, empty: it is no dataset and no part of one.
        assert set(left) <= {"hydrapicker-data", "hydrapicker-data/datasets"}
        return line

    return run


def test_the_laboratory_can_be_ingested_and_described(ingest: Callable, hydrapicker: Callable) -> None:
    done = ingest()
    assert done.code == 0
    assert "toy v0001 stored: 1 train (4 particles), 1 val (4 particles), 1 test (4 particles)" in done.out
    assert "toy v0001 unchanged" in ingest().out
    assert "toy" in hydrapicker("datasets").out
    described = hydrapicker("datasets", "toy")
    assert described.code == 0
    assert "1 train, 1 val, 1 test" in described.out


def test_a_star_that_names_a_micrograph_that_is_not_there(lab: Path, refuses: Callable) -> None:
    with (lab / "particles.star").open("a") as star:
        star.write("mics/gone.mrc 5 5\n")
    line = refuses()
    assert "particles.star: 1 of 4 micrographs it names are not among the 3 given (mics/gone.mrc)" in line


def test_coordinates_outside_say_how_many_and_of_what(lab: Path, refuses: Callable) -> None:
    with (lab / "particles.star").open("a") as star:
        star.write("mics/a.mrc 5 200\n")
    assert "1 of 13 particles lie outside their micrographs (the first at x 5, y 200 of mics/a.mrc" in refuses()


def test_up_to_a_hundredth_outside_is_dropped_and_said(lab: Path, ingest: Callable) -> None:
    with (lab / "particles.star").open("a") as star:
        star.write("".join(f"mics/a.mrc {x} 5\n" for x in range(99)) + "mics/a.mrc 5 200\n")
    done = ingest()
    assert done.code == 0
    assert "dropped 1 particles that lie outside" in done.out


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "truncated"),
        (lambda path: path.write_bytes(b"not an image " * 500), "not"),
        (lambda path: path.write_bytes(b""), "empty file"),
        (lambda path: path.write_bytes(path.read_bytes()[:500]), "header"),
    ],
    ids=["truncated", "no MRC", "empty", "half a header"],
)
def test_a_damaged_file(lab: Path, refuses: Callable, spoil: Callable[[Path], object], words: str) -> None:
    spoil(lab / "mics" / "b.mrc")
    line = refuses()
    assert "mics/b.mrc: " in line
    assert words in line


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # mrcfile's, over its header
@pytest.mark.parametrize("value", [np.nan, np.inf, None], ids=["nan", "infinite", "constant"])
def test_pixels_that_cannot_be_picked(
    lab: Path, hydrapicker: Callable, ingest: Callable, write: Callable, value: float | None
) -> None:
    image = np.random.default_rng(0).normal(size=(90, 120)) if value is not None else np.full((90, 120), 7.0)
    image[4, 5] = 7 if value is None else value
    write(lab / "mics" / "b.mrc", image)
    line = ingest(name="toy").refusal()
    assert "mics/b.mrc: " in line
    assert ("every pixel is 7" if value is None else "1 of 10800 pixels are NaN or infinite") in line
    # What could be prepared is kept for the next attempt, but it is no dataset.
    assert "no datasets" in hydrapicker("datasets").out


def test_a_stack(lab: Path, refuses: Callable) -> None:
    with mrcfile.new(lab / "mics" / "b.mrc", np.zeros((3, 90, 120), np.float32), overwrite=True) as file:
        file.voxel_size = 2.0
    assert "mics/b.mrc: " in refuses()


def test_no_pixel_size_stated_and_none_given(lab: Path, refuses: Callable, write: Callable, ingest: Callable) -> None:
    write(lab / "mics" / "b.mrc", np.random.default_rng(0).normal(size=(90, 120)), pixel_size=0.0)
    line = refuses()
    assert "mics/b.mrc: " in line
    assert "pixel" in line
    assert ingest("--pixel-size-angstrom", 2).code == 0


@pytest.mark.parametrize(
    ("diameter", "words"),
    [(9.9, "at least 5 are needed"), (186, "larger than the image of"), (0, "above 0")],
)
def test_diameters_that_make_no_sense(refuses: Callable, diameter: float, words: str) -> None:
    assert words in refuses("--diameter-angstrom", diameter)


@pytest.mark.parametrize("name", ["a/b", "..", "../toy", "a..b", "", "-", "x" * 65, "a b", ".hidden"])
def test_names_no_dataset_can_have(refuses: Callable, name: str) -> None:
    assert f"dataset name {name!r} is not allowed" in refuses(name=name)


@pytest.mark.parametrize("command", [("datasets",), ("contribute",), ("train", "--preset", "demo", "--datasets")])
def test_an_unknown_dataset_has_the_nearest_named(
    command: tuple[str, ...], ingest: Callable, hydrapicker: Callable
) -> None:
    assert ingest().code == 0
    line = hydrapicker(*command, "Toyy").refusal()
    assert "no dataset Toyy" in line
    assert "did you mean toy?" in line
    assert "not allowed" in hydrapicker(*command, "../toy").refusal()


def test_an_unknown_version_of_a_dataset(ingest: Callable, hydrapicker: Callable) -> None:
    assert ingest().code == 0
    assert "has no version v0002; there are v0001" in hydrapicker("datasets", "toy", "--version", "v0002").refusal()


@pytest.mark.parametrize("what", ["--store", "HYDRAPICKER_STORE"])
def test_a_store_that_cannot_be_written(
    lab: Path, refuses: Callable, hydrapicker: Callable, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Below a file nobody can make a folder, not even root."""
    place = str(lab / "particles.star" / "store")
    if what == "--store":
        line = refuses("--store", place)
    else:
        monkeypatch.setenv(what, place)
        line = refuses()
    assert f"{place}/toy" in line
    assert "choose another place with --store or HYDRAPICKER_STORE" in line


def test_a_store_that_is_a_file(lab: Path, refuses: Callable) -> None:
    assert "particles.star" in refuses("--store", lab / "particles.star")


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "--picks", "particles.star", "--particles", "gone.star", "--diameter-angstrom", "24"),
        ("evaluate", "--picks", "mics/a.mrc", "--particles", "particles.star", "--diameter-angstrom", "24"),
        ("evaluate", "--picks", "particles.star", "--particles", "particles.star", "--diameter-angstrom", "-1"),
        ("pick", "gone.mrc", "--out", "out"),
        ("pick", "--out", "out"),
        ("pick", "mics", "--out", "out"),
        ("pick", "mics", "--out", "out", "--head", "../x"),
        ("pick", "mics", "--out", "out", "--threshold", "1.5"),
        ("pick", "mics", "--out", "out", "--min-distance-angstrom", "-3"),
        ("pick", "mics", "--out", "out", "--min-distance-angstrom", "nan"),
        ("pick", "mics", "--out", "out", "--diameter-angstrom", "nan"),
        ("simulate", "toy", "--structure", "builtin:unheard-of"),
        ("simulate", "toy", "--structure", "particles.star"),
        ("simulate", "../toy", "--structure", "builtin:barrel"),
        ("simulate", "toy", "--structure", "builtin:barrel", "--out", "particles.star/x"),
        ("train",),
        ("train", "--config", "gone.yaml"),
        ("train", "--preset", "demo", "--datasets", "generic"),
        ("contribute", "generic"),
        ("datasets", "--store", "no-such-scheme://x"),
    ],
    ids=" ".join,
)
def test_other_commands_refuse_in_one_line_and_leave_nothing(
    lab: Path, hydrapicker: Callable, command: tuple[str, ...]
) -> None:
    before = files_in(lab)
    hydrapicker(*command).refusal()
    assert files_in(lab) == before


def test_a_registry_that_is_no_database(lab: Path, hydrapicker: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{lab / 'particles.star'}")
    for command in (("heads",), ("pick", "mics", "--out", "out")):
        assert "not a sqlite database" in hydrapicker(*command).refusal()
    assert not (lab / "out").exists()


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("unheard",),
        ("ingest",),
        ("pick", "a", "--unheard-of"),
        ("datasets", "--version"),
        ("train", "--preset", "x"),
    ],
    ids=" ".join,
)
def test_misuse_ends_with_2(hydrapicker: Callable, command: tuple[str, ...]) -> None:
    done = hydrapicker(*command)
    assert done.code == 2
    assert done.out or done.err
    assert "Traceback" not in done.err


def test_an_unknown_command_is_one_line_with_the_known_ones(hydrapicker: Callable) -> None:
    assert "no command 'unheard-of': give one of simulate, collection, ingest" in hydrapicker("unheard-of").refusal(2)


def test_an_interrupt_ends_with_130_and_the_same_command_continues(lab: Path) -> None:
    command = [COMMAND, "simulate", "toy", "--structure", "builtin:barrel", "--micrographs", "16", "--workers", "1"]
    command += ["--height", "256", "--width", "256", "--pixel-size-angstrom", "6"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    # A shell's background job hands on an ignored SIGINT; the child shall heed it all the same.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, cwd=lab, env=environment, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    folder = lab / "hydrapicker-data" / "simulated" / "toy"
    deadline = time.monotonic() + 60
    while len(list(folder.glob("micrographs/toy_*.mrc"))) < 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130, shown
    assert shown.endswith("hydrapicker simulate: interrupted; run the same command to continue\n")
    assert "Traceback" not in shown
    assert not [path for path in files_in(folder) if Path(path).name.startswith(".")]
    assert not (folder / "particles.star").exists()
    done = subprocess.run(command, cwd=lab, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "on 16 micrographs" in done.stdout


def test_a_reader_that_leaves_early_is_no_traceback(lab: Path) -> None:
    command = f"'{COMMAND}' simulate --help | true; '{COMMAND}' --help | true; '{COMMAND}' datasets | true"
    done = subprocess.run(["bash", "-c", command], cwd=lab, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
