"""Masks against what the simulation knows of its own carbon and ice crystals, and against images without any."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from hydrapicker.errors import HydraPickerError
from hydrapicker.files import read_micrograph, read_particles
from hydrapicker.picking.masks import contamination_mask, edge_mask
from hydrapicker.picking.picker import Picker
from hydrapicker.simulation.config import SimulateConfig
from hydrapicker.simulation.micrograph import plan_micrograph, render_micrograph
from hydrapicker.simulation.projection import Projector, projection_box_px
from hydrapicker.simulation.source import load_structure
from hydrapicker.simulation.structure import diameter_angstrom
from hydrapicker_core.preprocess import prepare, working_scale

SHARED = Path(os.environ.get("HYDRAPICKER_SHARED", Path(__file__).parents[4] / "shared"))
DATA = SHARED / "data" / "empiar-10146"
BOX = 21
PIXEL = 1.9


def _contaminated(name: str):
    """Micrographs at the working scale: image, carbon, crystals and particles (x, y)."""
    structure = load_structure(name)
    diameter = diameter_angstrom(structure)
    config = SimulateConfig("m", name, height=700, width=800, pixel_size_angstrom=2.5, contamination="heavy", seed=3)
    projector, box = Projector(structure, 2.5), projection_box_px(structure, 2.5)
    for index in (0, 1):
        plan = plan_micrograph(config, diameter, box, index)
        prepared = prepare(render_micrograph(config, projector, plan, index), working_scale(2.5, diameter))
        top, left = plan.margin
        field = np.s_[top : top + 700, left : left + 800]
        shape = prepared.image.shape
        carbon, crystals = (
            ndimage.zoom((each[field] > 1).astype(np.float32), (shape[0] / 700, shape[1] / 800), order=1) > 0.5
            for each in (plan.contamination.carbon_angstrom, plan.contamination.crystal_angstrom)
        )
        particles = plan.labelled(config) * [prepared.scale_x, prepared.scale_y]
        yield prepared.image.numpy(), carbon, crystals, particles


def test_carbon_and_large_crystals_are_masked_and_particles_are_not() -> None:
    carbons, large, clean, lost = [], [], [], []
    for image, carbon, crystals, particles in (*_contaminated("builtin:shell"), *_contaminated("builtin:cross")):
        mask = contamination_mask(image, BOX)
        inner = ndimage.distance_transform_edt(np.pad(crystals, 1)) > BOX
        carbons.append(mask[carbon])
        large.append(mask[inner[1:-1, 1:-1]])
        clean.append(mask[~carbon & ~crystals])
        x, y = np.minimum(particles.round().astype(int).T, [[image.shape[1] - 1], [image.shape[0] - 1]])
        lost.append(mask[y, x])
    share = [float(np.concatenate(each).mean()) for each in (carbons, large, clean, lost)]
    assert share[0] > 0.95
    assert share[1] > 0.95
    assert share[2] < 0.01
    assert share[3] < 0.02


@pytest.mark.parametrize("slope", [0.0, 2.0])
@pytest.mark.parametrize("spacing", [0, 21, 24, 60])
def test_ice_that_slopes_and_crowds_of_particles_are_not_masked(slope: float, spacing: int) -> None:
    image = np.random.default_rng(spacing).normal(size=(300, 420)).astype(np.float32)
    y, x = np.indices(image.shape)
    image += slope * (x / 420 + y / 300 - 1)
    if spacing:
        image[(x % spacing - spacing // 2) ** 2 + (y % spacing - spacing // 2) ** 2 < 100] -= 1.5
    assert contamination_mask(image, BOX).mean() == 0


def test_a_dark_disc_is_masked_where_it_is_and_not_where_it_is_small() -> None:
    image = np.random.default_rng(0).normal(size=(300, 420)).astype(np.float32)
    y, x = np.indices(image.shape)
    disc = (x - 300) ** 2 + (y - 80) ** 2 < 40**2
    corner = x + y < 90
    image[disc | corner] -= 4
    image[(x - 150) ** 2 + (y - 200) ** 2 < 11**2] -= 4
    mask, truth = contamination_mask(image, BOX), disc | corner
    assert (mask & truth).sum() / (mask | truth).sum() > 0.85
    assert not mask[180:220, 130:170].any()
    assert contamination_mask(-image, BOX)[80, 300], "an empty hole"


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (22, 22), (100, 21)])
def test_small_and_even_images_have_no_mask(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    for image in (np.zeros(shape, np.float32), noise):
        assert not contamination_mask(image, BOX).any()


def test_an_edge_is_as_wide_as_asked_for() -> None:
    expected = np.ones((6, 9), np.bool_)
    expected[1:-1, 2:-2] = False
    np.testing.assert_array_equal(edge_mask((6, 9), (1.4, 2.0)), expected)
    assert not edge_mask((6, 9), (0, 0)).any()
    assert edge_mask((6, 9), (4, 4)).all()


def test_no_pick_is_near_an_edge_or_on_carbon(any_head: Picker, image: np.ndarray) -> None:
    image = image.copy()
    image[:, 120:] -= 30 * image.std()
    everywhere = any_head.pick(image, pixel_size_angstrom=PIXEL, min_distance_angstrom=0)
    assert everywhere.excluded is None
    inner = any_head.pick(image, pixel_size_angstrom=PIXEL, min_distance_angstrom=0, exclude_edges_angstrom=40.0)
    margin = 40 / PIXEL
    far = (everywhere.xy > margin).all(axis=1) & (everywhere.xy < np.array(image.shape[::-1]) - 1 - margin).all(axis=1)
    assert 0 < len(inner) < len(everywhere)
    assert abs(len(inner) - far.sum()) <= 2, "a pick within a working pixel of the line"
    assert inner.excluded is not None
    ice = any_head.pick(image, pixel_size_angstrom=PIXEL, mask_contamination=True)
    assert len(ice) > 0
    assert ice.x.max() < 125 < everywhere.x.max()
    with pytest.raises(HydraPickerError, match="exclude_edges_angstrom -1 is not a width"):
        any_head.pick(image, pixel_size_angstrom=PIXEL, exclude_edges_angstrom=-1)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA}; set HYDRAPICKER_SHARED to the folder with data/")
def test_hardly_a_labelled_particle_of_a_real_dataset_is_masked() -> None:
    masked = count = 0
    for name, particles in sorted(read_particles(DATA / "particles.star").items())[::3]:
        (path,) = DATA.rglob(Path(name).name)
        prepared = prepare(torch.from_numpy(read_micrograph(path).image), working_scale(1.5, 120.0))
        mask = contamination_mask(prepared.image.numpy(), BOX)
        xy = (particles.xy * [prepared.scale_x, prepared.scale_y]).round().astype(int)
        x, y = np.minimum(xy.T, [[mask.shape[1] - 1], [mask.shape[0] - 1]])
        masked, count = masked + int(mask[y, x].sum()), count + len(xy)
    assert count > 1000
    assert masked < 0.005 * count
