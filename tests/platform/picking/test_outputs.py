"""``hydrapicker pick --formats``: what lies where, in which convention, and above which threshold."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile
import tifffile

from hydrapicker import load_head
from hydrapicker.errors import InvalidInputError
from hydrapicker.files import FORMATS, match_to_micrographs, read_header, read_particles
from hydrapicker.picking.pick import PickConfig, PickReport, pick
from hydrapicker.picking.record import PickingRecord

PIXEL = 1.9
ALL = tuple(FORMATS)


@pytest.fixture
def report(here: Path, image: np.ndarray) -> PickReport:
    """An MRC and a TIFF of one image, picked into all formats at once."""
    Path("mics").mkdir()
    with mrcfile.new("mics/a.mrc", image) as file:
        file.voxel_size = PIXEL
    tifffile.imwrite("mics/b.tif", image)
    options = {"head": "any", "pixel_size_angstrom": PIXEL, "threshold": 0.6}
    return pick(PickConfig(("mics",), Path("out"), formats=ALL, **options))  # type: ignore[arg-type]


def test_every_format_has_its_place(report: PickReport, here: Path) -> None:
    found = sorted(str(path.relative_to("out")) for path in Path("out").rglob("*") if path.is_file())
    assert found == sorted([
        "all_picks.star", "picking.json", "picked/options.json", "picked/a.safetensors", "picked/b.safetensors",
        "autopick.star", "micrographs/a_autopick.star", "micrographs/b_autopick.star", "picks.star",
        "box/a.box", "box/b.box", "cbox/a.cbox", "cbox/b.cbox", "cs/picks.cs", "cs/picks.csg",
        "topaz/picks.txt", "csv/picks.csv", "parquet/picks.parquet",
    ])  # fmt: skip
    assert [str(path) for path in report.written] == [
        "out/picks.star", "out/box", "out/cbox", "out/cs/picks.cs", "out/topaz/picks.txt", "out/csv/picks.csv",
        "out/parquet/picks.parquet",
    ]  # fmt: skip
    listed = starfile.read("out/autopick.star")
    assert listed["rlnMicrographName"].tolist() == ["mics/a.mrc", "mics/b.tif"]
    assert listed["rlnMicrographCoordinates"].tolist() == [f"out/micrographs/{stem}_autopick.star" for stem in "ab"]


def test_every_format_holds_the_same_picks_and_cbox_the_doubtful_ones_too(
    report: PickReport, here: Path, image: np.ndarray
) -> None:
    sure = load_head("any").pick(image, pixel_size_angstrom=PIXEL, threshold=0.6)
    doubtful = load_head("any").pick(image, pixel_size_angstrom=PIXEL, threshold=0.01)
    assert 0 < len(sure) < len(doubtful)
    assert report.counts == {"mics/a.mrc": len(sure), "mics/b.tif": len(sure)}
    headers = [read_header(path) for path in sorted(Path("mics").iterdir())]
    for place in (*report.written, Path("out/micrographs")):
        matched = match_to_micrographs(read_particles(place), headers, place)
        assert len(matched.particles) == 2
        expected = doubtful if place.name == "cbox" else sure
        within = 0.5 if place.name in ("box", "picks.txt") else 1e-3
        for part in matched.particles.values():
            np.testing.assert_allclose(part.xy, expected.xy, rtol=0, atol=within + 1e-4)
            if place.name != "box":
                np.testing.assert_allclose(part.score, expected.score, rtol=1e-6)  # type: ignore[arg-type]
            if place.name in ("box", "cbox"):
                assert part.box_px == pytest.approx(42 / PIXEL, abs=0.5 if place.name == "box" else 1e-3)


def test_all_picks_begin_at_the_lower_of_threshold_and_floor(here: Path, image: np.ndarray) -> None:
    tifffile.imwrite("m.tif", image)
    for threshold, least in ((0.6, 0.01), (0.001, 0.001)):
        options = {"head": "any", "pixel_size_angstrom": PIXEL, "threshold": threshold}
        pick(PickConfig(("m.tif",), Path("out"), overwrite=True, **options))  # type: ignore[arg-type]
        assert PickingRecord.read(Path("out")).least_score == least
        scores = read_particles("out/all_picks.star")["m.tif"].score
        expected = load_head("any").pick(image, pixel_size_angstrom=PIXEL, threshold=least).score
        np.testing.assert_allclose(scores, expected, rtol=1e-6)  # type: ignore[arg-type]


def test_without_star_there_is_only_what_inspect_needs(here: Path, image: np.ndarray) -> None:
    tifffile.imwrite("m.tif", image)
    pick(PickConfig(("m.tif",), Path("out"), head="any", pixel_size_angstrom=PIXEL, formats=("topaz", "topaz")))
    found = sorted(str(path) for path in Path("out").glob("*"))
    assert found == ["out/all_picks.star", "out/picked", "out/picking.json", "out/topaz"]
    assert [path.name for path in Path("out/topaz").iterdir()] == ["picks.txt"]


def test_no_format_at_all_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no formats given: give some of star, box"):
        PickConfig(("m.tif",), Path("out"), formats=())
