"""Real micrographs and particles: EMPIAR-10146 as a lab would hand them over."""

import os
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile

from hydrapicker.files import find_micrographs, match_to_micrographs, read_header, read_micrograph, read_particles

SHARED = Path(os.environ.get("HYDRAPICKER_SHARED", Path(__file__).parents[4] / "shared"))
DATA = SHARED / "data" / "empiar-10146"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA}; set HYDRAPICKER_SHARED to the folder with data/")


def test_micrographs_are_what_mrcfile_reads() -> None:
    paths = find_micrographs([DATA / "micrographs"])
    assert len(paths) == 19
    with mrcfile.open(paths[3]) as file:
        micrograph = read_micrograph(paths[3])
        np.testing.assert_array_equal(micrograph.image, file.data)
        assert micrograph.pixel_size_angstrom == pytest.approx(float(file.voxel_size.x))


def test_every_particle_finds_its_micrograph_and_lies_inside() -> None:
    headers = [read_header(path) for path in find_micrographs([f"{DATA}/micrographs/*.mrc"])]
    result = match_to_micrographs(read_particles(DATA / "particles.star"), headers, DATA / "particles.star")
    assert (result.total, result.outside, result.unlisted) == (3112, 0, ())
    table = starfile.read(DATA / "particles.star")
    for path, particles in result.particles.items():
        rows = table[table.rlnMicrographName == f"micrographs/{path.name}"]
        np.testing.assert_allclose(particles.xy, rows[["rlnCoordinateX", "rlnCoordinateY"]], rtol=1e-6)


def test_particles_are_darker_than_their_surroundings_only_when_read_unflipped() -> None:
    """The picture itself says that MRC rows are not to be flipped."""
    path = find_micrographs([DATA / "micrographs"])[0]
    image, height = read_micrograph(path).image, read_header(path).height
    ((_, particles),) = [item for item in read_particles(DATA / "particles.star").items() if path.name in item[0]]

    def contrast(xy: np.ndarray) -> float:
        cells = [image[max(0, y - 15) : y + 16, max(0, x - 15) : x + 16].mean() for x, y in xy.round().astype(int)]
        return float(np.mean(cells) - image.mean()) / float(image.std())

    flipped = np.column_stack([particles.xy[:, 0], height - 1 - particles.xy[:, 1]])
    assert abs(contrast(particles.xy)) > 3 * abs(contrast(flipped))
