"""A choice made among all picks, written in every format, by both commands that can."""

import json
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from hydrapicker.cli import main
from hydrapicker.errors import InvalidInputError
from hydrapicker.files import FORMATS, match_to_micrographs, read_header, read_particles
from hydrapicker.inspection.choice import far_apart
from hydrapicker.inspection.inspect import InspectConfig
from hydrapicker.picking.pick import PickConfig, pick

PIXEL = 1.9
THRESHOLD, DISTANCE = 0.3, 60.0


@pytest.fixture
def picked(here: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    """An MRC, a TIFF, and one that is chosen to be bad; and where the picks of the choice are, by stem."""
    Path("mics").mkdir()
    for name in ("a", "bad"):
        with mrcfile.new(f"mics/{name}.mrc", image) as file:
            file.voxel_size = PIXEL
    tifffile.imwrite("mics/b.tif", image)
    options = {"head": "any", "pixel_size_angstrom": PIXEL, "threshold": 0.6}
    pick(PickConfig(("mics",), Path("out"), formats=("parquet",), **options))  # type: ignore[arg-type]
    choice = {"format_version": 1, "threshold": THRESHOLD, "min_distance_angstrom": DISTANCE}
    Path("choice.json").write_text(json.dumps(choice | {"excluded_micrographs": ["mics/bad.mrc"]}))
    from hydrapicker import load_head

    found = load_head("any").pick(image, pixel_size_angstrom=PIXEL, threshold=THRESHOLD)
    kept = found.xy[far_apart(found.xy, DISTANCE / PIXEL)]
    assert len(pick(PickConfig(("mics",), Path("out"), **options)).counts) == 3  # type: ignore[arg-type]
    assert 0 < len(kept) < len(found)
    return {"a": kept, "b": kept}


@pytest.mark.parametrize("command", ["convert", "inspect"])
def test_a_choice_is_written_in_every_format(picked: dict[str, np.ndarray], command: str) -> None:
    headers = [read_header(path) for path in (Path("mics/a.mrc"), Path("mics/b.tif"), Path("mics/bad.mrc"))]
    for form in FORMATS:
        out = f"{command}_{form}"
        where = [out] if command == "convert" else ["--out", out]
        assert main([command, "out", *where, "--to", form, "--apply", "choice.json", "--micrographs", "mics"]) == 0
        matched = match_to_micrographs(read_particles(_file_in(Path(out))), headers, out)
        places = {Path(path).stem: part.xy for path, part in matched.particles.items() if len(part.xy)}
        assert places.keys() == picked.keys()
        for stem, xy in picked.items():
            np.testing.assert_allclose(places[stem], xy, atol=0.51 if form in ("box", "topaz") else 2e-3)


def _file_in(folder: Path) -> Path:
    (first, *others) = sorted(path for path in folder.iterdir() if path.name != "autopick.star")
    return folder if others and first.stem != others[0].stem else first


def test_a_format_without_a_choice_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"to is csv: it is for the picks of a choice, give --apply"):
        InspectConfig(Path("out"), to="csv")


def test_a_choice_that_is_none_leaves_nothing(
    picked: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("choice.json").write_text("{}")
    assert main(["convert", "out", "final.star", "--apply", "choice.json"]) == 1
    assert "export it from the report again" in capsys.readouterr().err
    assert not Path("final.star").exists()
