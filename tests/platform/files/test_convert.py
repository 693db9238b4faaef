"""``hydrapicker convert``: from any format to any other, and what it changes on the way."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import tifffile

from hydrapicker.cli import main
from hydrapicker.errors import HydraPickerError
from hydrapicker.files import FORMATS, Particles, read_particles, write_mrc, write_picks
from hydrapicker.files.convert import ConvertConfig, convert

PATTERN = np.array([[10, 5], [80, 7], [33, 50]], np.float32)
SCORE = np.array([0.75, 0.5, 0.25], np.float32)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with micrographs of 100 x 60 pixels, an MRC and a TIFF, and the pattern as CSV over both."""
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).normal(size=(60, 100)).astype(np.float32)
    write_mrc("mics/a.mrc", image, 1.5)
    tifffile.imwrite("mics/b.tif", image, resolution=(1e8 / 1.5, 1e8 / 1.5), resolutionunit="CENTIMETER")
    rows = [f"mics/{name},{x:g},{y:g},{s:g}" for name in ("a.mrc", "b.tif") for (x, y), s in zip(PATTERN, SCORE)]  # noqa: B905
    Path("p.csv").write_text("\n".join(["micrograph,x,y,score", *rows]) + "\n")
    return tmp_path


def refusal(*arguments: object, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["convert", *map(str, arguments)]) == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    return shown.err


# BOX files hold no scores, and CBOX files need them.
@pytest.mark.parametrize(("first", "second"), [pair for pair in permutations(FORMATS, 2) if pair != ("box", "cbox")])
def test_from_any_format_to_any_other(here: Path, first: str, second: str) -> None:
    """And from there to CSV: the pattern is still where it was, on the MRC and on the TIFF."""
    steps = [("p.csv", first), (first, second), (second, "csv")]
    for step, (source, to) in enumerate(steps):
        inside = Path(f"{step}-{source}") if step else Path(source)
        inside = inside / "micrographs" if source == "star" else inside
        convert(ConvertConfig(str(inside), Path(f"{step + 1}-{to}"), to, micrographs=("mics",), box_px=21))  # type: ignore[arg-type]
    found = read_particles("3-csv")
    assert list(found) == ["mics/a.mrc", "mics/b.tif"]
    for part in found.values():
        np.testing.assert_allclose(part.xy, PATTERN, atol=1e-3)
        if "box" in (first, second):
            assert part.score is None
        else:
            np.testing.assert_allclose(part.score, SCORE)  # type: ignore[arg-type]


def test_the_command_says_what_it_wrote(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "p.csv", "p.star", "--micrographs", "mics"]) == 0
    assert capsys.readouterr().out == "6 particles on 2 micrographs: p.star\n"
    found = read_particles("p.star")
    assert found["mics/b.tif"].xy.tolist() == [[10, 54], [80, 52], [33, 9]]
    assert found["mics/b.tif"].pixel_size_angstrom == 1.5
    assert main(["convert", "p.star", "boxes", "--to", "box", "--diameter-angstrom", "30"]) == 0
    assert capsys.readouterr().out == "6 particles on 2 micrographs: 2 files in boxes\n"
    assert Path("boxes/b.box").read_text() == "0\t44\t20\t20\n70\t42\t20\t20\n23\t-1\t20\t20\n"


def test_files_that_do_not_name_their_micrographs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["convert", "p.csv", "boxes", "--to", "box", "--box-px", "20", "--micrographs", "mics"])
    capsys.readouterr()
    assert main(["convert", "boxes", "q.csv"]) == 0
    assert "2 micrographs are named without a suffix (a, b) and taken as MRC" in capsys.readouterr().err
    assert main(["convert", "boxes/*.box", "q.csv", "--micrographs", "mics/*"]) == 0
    assert capsys.readouterr().err == ""
    assert read_particles("q.csv")["mics/b.tif"].xy.tolist() == PATTERN.tolist()


def test_flip_scale_and_sizes(here: Path) -> None:
    Path("one.csv").write_text("micrograph,x,y\nm.mrc,10,5\n")
    convert(ConvertConfig("one.csv", Path("f.csv"), flip_y=True, height=60))
    assert read_particles("f.csv")["m.mrc"].xy.tolist() == [[10, 54]]
    convert(ConvertConfig("p.csv", Path("g.csv"), flip_y=True, micrographs=("mics",)))
    assert read_particles("g.csv")["mics/b.tif"].xy.tolist() == [[10, 54], [80, 52], [33, 9]]
    convert(ConvertConfig("one.csv", Path("s.cs"), scale=4, height=240, width=400, pixel_size_angstrom=0.5))
    scaled = read_particles("s.cs")["m.mrc"]
    np.testing.assert_allclose(scaled.xy, [[40, 20]], rtol=1e-6)
    assert (scaled.shape, scaled.pixel_size_angstrom) == ((240, 400), 0.5)
    # What the file itself says of sizes is scaled with it, and flipping comes after.
    convert(ConvertConfig("s.cs", Path("t.cs"), scale=0.25, flip_y=True))
    back = read_particles("t.cs")["m.mrc"]
    np.testing.assert_allclose(back.xy, [[10, 54]], rtol=1e-6)
    assert (back.shape, back.pixel_size_angstrom) == ((60, 100), 2.0)


def test_boxes_of_the_file_are_kept_and_scaled(here: Path) -> None:
    write_picks("cbox", "in", {"m.mrc": Particles(PATTERN, SCORE, box_px=20.0)})
    convert(ConvertConfig("in", Path("out"), "box", scale=2))
    assert Path("out/m.box").read_text().splitlines()[0] == "0\t-10\t40\t40"


def test_threshold_and_distance(here: Path) -> None:
    xy = np.array([[10, 10], [13, 14], [16, 18], [50, 50]], np.float32)  # 5 px apart, and one alone
    particles = {"mics/a.mrc": Particles(xy, np.array([0.3, 0.9, 0.5, 0.2], np.float32))}
    write_picks("csv", "in.csv", particles)
    convert(ConvertConfig("in.csv", Path("t.csv"), threshold=0.3))
    assert read_particles("t.csv")["mics/a.mrc"].xy.tolist() == xy[:3].tolist()
    # 1.5 Angstrom a pixel: 7.6 is more than 5 pixels, 7.4 is less. The second of three has the highest score.
    for distance, kept in ((7.6, [1, 3]), (7.4, [1, 2, 0, 3]), (0, [0, 1, 2, 3])):
        convert(ConvertConfig("in.csv", Path("d.csv"), min_distance_angstrom=distance, micrographs=("mics",)))
        found = read_particles("d.csv")["mics/a.mrc"]
        assert found.xy.tolist() == xy[kept].tolist()
    write_picks("csv", "in.csv", {"a": Particles(xy)})
    convert(ConvertConfig("in.csv", Path("d.csv"), min_distance_angstrom=10, pixel_size_angstrom=1.9))
    assert read_particles("d.csv")["a"].xy.tolist() == xy[[0, 2, 3]].tolist()  # without scores, the first one stays


def test_no_particles(here: Path) -> None:
    write_picks("star", "in", {"mics/a.mrc": Particles(np.empty((0, 2), np.float32), np.empty(0, np.float32))})
    for form in FORMATS:
        options = {"threshold": 0.5, "min_distance_angstrom": 9.0, "flip_y": True, "box_px": 9.0}
        report = convert(ConvertConfig("in/micrographs", Path(form), form, micrographs=("mics",), **options))  # type: ignore[arg-type]
        assert report.counts == {"mics/a.mrc": 0}
        assert all(path.is_file() for path in report.written)


def test_a_few_outside_are_left_out_and_said_and_more_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["micrograph,x,y", "mics/a.mrc,5,61", *(f"mics/a.mrc,{i % 100},{i % 60}" for i in range(150))]
    Path("o.csv").write_text("\n".join(lines))
    assert main(["convert", "o.csv", "o.star", "--micrographs", "mics"]) == 0
    assert "left out 1 particles that lie outside" in capsys.readouterr().out
    Path("o.csv").write_text("\n".join(lines[:3]))
    assert "1 of 2 particles lie outside" in refusal("o.csv", "p.star", "--micrographs", "mics", capsys=capsys)
    assert not Path("p.star").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["p.csv", "out"], "out: give --to star|box|cbox|cs|topaz|csv|parquet"),
        (["p.csv", "out.star", "--to", "csv"], "out.star: ends like star and not like csv"),
        (["gone.csv", "out.star"], "gone.csv: no such particle file"),
        (["p.csv", "out.cs"], "--micrographs"),
        (["p.csv", "out", "--to", "box", "--micrographs", "mics"], "--diameter-angstrom or --box-px"),
        (["p.csv", "out.box", "--box-px", "9", "--micrographs", "mics"], "there are 2; give a folder"),
        (["p.csv", "out.star"], "mics/b.tif: its rows are counted from the other end"),
        (["p.csv", "out.csv", "--flip-y"], "give --height"),
        (["p.csv", "out.csv", "--min-distance-angstrom", "9"], "give --pixel-size-angstrom or --micrographs"),
        (["p.csv", "out.csv", "--scale", "0"], "scale 0.0 is not positive"),
        (["p.csv", "out.csv", "--box-px", "9", "--diameter-angstrom", "9"], "give one of them"),
        (["p.csv", "out.csv", "--micrographs", "mics", "--height", "9"], "leave height and width out"),
        (["p.csv", "out.csv", "--threshold", "nan"], "threshold nan is no score"),
        (["p.csv", "out.star", "--micrographs", "mics/a.mrc"], "1 of 2 micrographs it names are not among the 1 given"),
    ],
)
def test_what_cannot_be_converted(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert words in refusal(*arguments, capsys=capsys)
    assert not list(here.glob("out*"))


def test_a_threshold_needs_scores(here: Path) -> None:
    Path("x.csv").write_text("x,y\n1,2\n")
    with pytest.raises(HydraPickerError, match=r"x\.csv: x has no scores"):
        convert(ConvertConfig("x.csv", Path("y.csv"), threshold=0.5))
