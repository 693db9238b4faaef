"""``hydrapicker pick``: files in, files out, in RELION's conventions."""

import json
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile
import tifffile
from PIL import Image

from hydrapicker import load_head
from hydrapicker.cli import main
from hydrapicker.errors import HydraPickerError, InvalidInputError
from hydrapicker.files import read_particles
from hydrapicker.picking.pick import PickConfig, pick

PIXEL = 1.9
NAMES = ["rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit"]
FOR_ALL = ["all_picks.star", "autopick.star", "picked/options.json", "picking.json", "picks.star"]


@pytest.fixture
def mics(here: Path, image: np.ndarray) -> Path:
    """Two MRC files and a TIFF, all different."""
    folder = here / "mics"
    folder.mkdir()
    for name, pixels in {"a.mrc": image, "b.mrc": image[::-1, ::-1].copy()}.items():
        with mrcfile.new(folder / name, pixels) as file:
            file.voxel_size = PIXEL
    resolution = (1e8 / PIXEL, 1e8 / PIXEL)
    tifffile.imwrite(folder / "c.tif", image, resolution=resolution, resolutionunit="CENTIMETER")
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["pick", *map(str, arguments)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_every_micrograph_gets_a_star_and_all_one_more(
    mics: Path, here: Path, image: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "mics", "--head", "any", "--out", "out", "--pixel-size-angstrom", PIXEL)
    assert code == 0
    own = [path for stem in "abc" for path in (f"micrographs/{stem}_autopick.star", f"picked/{stem}.safetensors")]
    assert files_in(here / "out") == sorted([*own, *FOR_ALL])
    combined = starfile.read(here / "out" / "picks.star")
    assert list(combined.columns) == ["rlnMicrographName", *NAMES, "rlnMicrographPixelSize"]
    assert f"{len(combined)} picks on 3 micrographs by any version 1: out/picks.star" in out
    expected = load_head("any").pick(image, pixel_size_angstrom=PIXEL)
    for stem, suffix in (("a", "mrc"), ("b", "mrc"), ("c", "tif")):
        one = starfile.read(here / "out" / "micrographs" / f"{stem}_autopick.star")
        assert list(one.columns) == [*NAMES, "rlnClassNumber", "rlnAnglePsi"]
        same = combined[combined["rlnMicrographName"] == f"mics/{stem}.{suffix}"]
        np.testing.assert_array_equal(one[NAMES], same[NAMES])
        assert (np.diff(one[NAMES[2]]) <= 0).all()
        assert (same["rlnMicrographPixelSize"] - PIXEL).abs().max() < 1e-5
        if stem != "b":  # RELION reads a TIFF's last stored row first
            xy = expected.xy if stem == "a" else np.stack([expected.x, 130 - expected.y], axis=1)
            np.testing.assert_allclose(one[NAMES[:2]], xy, rtol=1e-6, atol=1e-5)
            np.testing.assert_allclose(one[NAMES[2]], expected.score, rtol=1e-6)


def test_all_picks_lie_beside_those_above_the_threshold_with_how_they_were_made(mics: Path, here: Path) -> None:
    pick(PickConfig(("mics",), Path("out"), head="any@challenger", pixel_size_angstrom=PIXEL))
    record = json.loads((here / "out" / "picking.json").read_text())
    names = ["mics/a.mrc", "mics/b.mrc", "mics/c.tif"]
    expected = {"format_version": 1, "head": "any", "head_version": 2, "threshold": 0.6, "least_score": 0.01}
    assert record == expected | {"min_distance_angstrom": 0.6 * 42, "diameter_angstrom": 42.0, "micrographs": names}
    everything, chosen = (read_particles(here / "out" / name) for name in ("all_picks.star", "picks.star"))
    for name, picks in everything.items():
        above = picks.score >= np.float32(0.6)
        np.testing.assert_array_equal(picks.xy[above], chosen[name].xy)
        np.testing.assert_array_equal(picks.score[above], chosen[name].score)
        assert 0 < above.sum() < len(above)
        assert picks.score.min() >= np.float32(0.01)


def test_what_pick_wrote_is_inspected_and_chosen_from(
    mics: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the threshold that was picked with, a choice gives picks.star again; at a lower one more, also of a TIFF."""
    run(capsys, "mics", "--head", "any@challenger", "--out", "out", "--pixel-size-angstrom", PIXEL)
    assert main(["inspect", "out", "--out", "r.html"]) == 0
    chosen, everything = (read_particles(here / "out" / name) for name in ("picks.star", "all_picks.star"))
    total = sum(len(each.xy) for each in everything.values())
    assert f"{total} picks on 3 micrographs" in capsys.readouterr().out
    choice = {"format_version": 1, "min_distance_angstrom": 0, "excluded_micrographs": []}
    for threshold, expected in ((0.6, chosen), (0.01, everything)):
        (here / "choice.json").write_text(json.dumps(choice | {"threshold": threshold}))
        assert main("inspect out --apply choice.json --out final.star".split()) == 0
        final = read_particles("final.star")
        assert final.keys() == expected.keys()
        for name, each in final.items():
            np.testing.assert_array_equal(each.xy, expected[name].xy)
            np.testing.assert_array_equal(each.score, expected[name].score)
    assert total > sum(len(each.xy) for each in chosen.values())


def test_the_same_picks_are_the_same_bytes(mics: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out in ("one", "two"):
        run(capsys, "mics", "--head", "any", "--out", out, "--pixel-size-angstrom", PIXEL, "--overlay")
    assert files_in(here / "one") == files_in(here / "two")
    for name in files_in(here / "one"):
        two = (here / "two" / name).read_bytes()
        # RELION's list names the files with their folder.
        assert (here / "one" / name).read_bytes() == (two.replace(b"two/", b"one/") if name == "autopick.star" else two)


def test_one_bad_file_among_good_ones_is_left_out_and_said(
    mics: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mics / "b.mrc").write_bytes((mics / "b.mrc").read_bytes()[:-7])
    options = ("--head", "any", "--out", "out", "--pixel-size-angstrom", PIXEL, "--overlay")
    code, out, err = run(capsys, "mics", *options)
    assert code == 1
    (line,) = [line for line in err.splitlines() if "b.mrc" in line and "left out" in line]
    assert "truncated" in line
    assert "picks on 2 micrographs" in out
    own = ("micrographs/{}_autopick.star", "overlays/{}.png", "picked/{}.safetensors")
    expected = [path.format(stem) for stem in "ac" for path in own]
    assert files_in(here / "out") == sorted([*expected, *FOR_ALL])
    assert set(read_particles(here / "out" / "picks.star")) == {"mics/a.mrc", "mics/c.tif"}


def test_when_all_are_bad_nothing_is_written(mics: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in mics.iterdir():
        path.write_bytes(b"no image " * 200)
    code, out, err = run(capsys, "mics", "--head", "any", "--out", "out")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("hydrapicker pick: mics/a.mrc: ")
    assert not (here / "out").exists()


def test_two_micrographs_of_one_name_are_refused_before_any_is_picked(
    mics: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "more").mkdir()
    (here / "more" / "a.mrc").write_bytes((mics / "a.mrc").read_bytes())
    code, _, err = run(capsys, "mics", "more", "--head", "any", "--out", "out")
    assert (code, err.count("\n")) == (1, 1)
    assert "two micrographs are called a: pick their folders one by one" in err
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--head", "anny"], "any"),
        (["--head", "any", "--version", "9"], "9"),
        ([], "head 'generic' has no diameter of its own"),
        (["--head", "any", "--diameter-angstrom", "9"], "at least 5 are needed"),
        (["--head", "any", "--diameter-angstrom", "3000"], "does not fit into an image"),
        (["--head", "any", "--out", "mics/a.mrc/out"], "cannot be written"),
        (["--head", "any", "--out", "mics/a.mrc"], "cannot be written"),
        (["--head", "later"], "upgrade"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(
    mics: Path, here: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    before = files_in(here)
    options = ["--out", "out", *options] if "--out" not in options else options
    code, out, err = run(capsys, "mics/a.mrc", *options)
    assert (code, out) == (1, "")
    lines = [line for line in err.splitlines() if line.startswith("hydrapicker pick: ")]
    assert len(lines) == 1
    assert words in lines[0]
    assert "Traceback" not in err
    assert files_in(here) == before


def test_without_a_diameter_no_micrograph_is_read(mics: Path, here: Path) -> None:
    """The generic head has none; of ten thousand micrographs none shall be read to find that out."""
    seen: list[str] = []
    with pytest.raises(InvalidInputError, match="no diameter of its own"):
        pick(PickConfig(("mics",), Path("out")), lambda done, total, label: seen.append(label))
    assert seen == []


def test_micrographs_without_any_pick_have_files_too(mics: Path, here: Path) -> None:
    report = pick(PickConfig(("mics/a.mrc", "mics/b.mrc"), Path("out"), head="grid", threshold=0.9, overlay=True))
    assert sorted(report.counts.values()) == [0, 0]
    assert read_particles(here / "out" / "picks.star") == {}
    found = read_particles(here / "out" / "micrographs")
    assert {name: len(particles.xy) for name, particles in found.items()} == {"a": 0, "b": 0}
    assert files_in(here / "out" / "overlays") == ["a.png", "b.png"]


def test_overlays_show_the_picks_in_stored_rows(mics: Path, here: Path, image: np.ndarray) -> None:
    """Also of a TIFF, whose y is turned round in the STAR file but not in the picture."""
    pick(PickConfig(("mics/c.tif",), Path("out"), head="any", pixel_size_angstrom=PIXEL, threshold=0.9, overlay=True))
    picks = load_head("any").pick(image, pixel_size_angstrom=PIXEL, threshold=0.9)
    with Image.open("out/overlays/c.png") as png:
        picture = np.asarray(png).astype(float)
    assert picture.shape == (*image.shape, 3)
    assert on_circles(picture, picks.xy, picks.diameter_px) > 0.99
    turned = np.stack([picks.x, 130 - picks.y], axis=1)
    assert on_circles(picture, turned, picks.diameter_px) < 0.6


def on_circles(picture: np.ndarray, xy: np.ndarray, diameter: float) -> float:
    """Share of points on the circles at which the picture has colour, on that pixel or on one beside it."""
    ring = np.pad(picture.max(axis=2) - picture.min(axis=2) > 40, 1)
    near = np.any([np.roll(ring, shift, (0, 1)) for shift in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))], axis=0)
    seen = []
    angles = np.linspace(0, 2 * np.pi, 60)
    for x, y in xy:
        columns = (x + (diameter / 2 + 1) * np.cos(angles)).round().astype(int)
        rows = (y + (diameter / 2 + 1) * np.sin(angles)).round().astype(int)
        inside = (columns >= 0) & (columns < picture.shape[1]) & (rows >= 0) & (rows < picture.shape[0])
        seen += near[rows[inside] + 1, columns[inside] + 1].tolist()
    return float(np.mean(seen))


def test_heads_lists_what_was_registered(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["heads"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["head", "version", "alias"]
    assert any(line.split()[:3] == ["any", "2", "challenger"] for line in lines)
    assert main(["heads", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"dataset": "any", "version": 1, "aliases": ["champion"]}.items() <= {
        key: value
        for entry in listed
        if (entry["dataset"], entry["version"]) == ("any", 1)
        for key, value in entry.items()
    }.items()


def test_a_config_says_what_is_wrong_when_it_is_built() -> None:
    for options in ({"threshold": -0.1}, {"memory_bound_gib": 0.0}, {"min_distance_angstrom": -1.0}):
        with pytest.raises(HydraPickerError, match=next(iter(options))):
            PickConfig(("a.mrc",), Path("out"), **options)


def test_carbon_and_edges_are_left_out_and_shown(
    here: Path, image: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    dark = image.copy()
    dark[:, 120:] -= 30 * image.std()
    with mrcfile.new(here / "m.mrc", dark) as file:
        file.voxel_size = PIXEL
    options = ("m.mrc", "--head", "any", "--overlay", "--exclude-edges-angstrom", 20, "--mask-contamination")
    assert run(capsys, *options, "--out", "out")[0] == 0
    (picks,) = read_particles(here / "out" / "picks.star").values()
    assert len(picks.xy) > 0
    assert picks.xy.min() > 20 / PIXEL - 1
    assert picks.xy[:, 0].max() < 125
    pixels = np.asarray(Image.open(here / "out" / "overlays" / "m.png"), dtype=int)
    reddish = (pixels[..., 0] - pixels[..., 2] > 20).mean(axis=0)
    assert reddish[160:].mean() > 0.9
    assert reddish[30:100].mean() < 0.3
    code, _, err = run(capsys, *options[:-1], "--out", "out")
    assert code == 1
    assert "mask_contamination True and not False: give --overwrite" in err


def test_a_head_in_the_cache_is_found_without_mlflow_in_the_process_that_picks(
    mics: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In processes of their own: the first fetches the head, for the second a helper asks what the name stands for."""
    script = "import sys; from hydrapicker.cli import main; print(main(sys.argv[1:]), 'mlflow' in sys.modules)"
    monkeypatch.setenv("HYDRAPICKER_CACHE", str(here / "cache"))
    for out, mlflow in (("first", True), ("second", False)):
        command = [sys.executable, "-c", script, "pick", "mics/a.mrc", "--head", "any@challenger", "--out", out]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        assert done.stdout.split()[-2:] == ["0", str(mlflow)], done.stderr
        assert json.loads((here / out / "picked" / "options.json").read_text())["version"] == 2
