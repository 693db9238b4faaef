"""Circles lie on what was picked, measured on the PNG itself."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hydrapicker.picking.overlay import draw_overlay

NOTHING = np.zeros((0, 2), np.float32)


def drawn(path: Path, image: np.ndarray, xy: np.ndarray, diameter: float, **options: object) -> np.ndarray:
    draw_overlay(path, image, xy, diameter, **options)
    with Image.open(path) as png:
        assert (png.format, png.mode) == ("PNG", "RGB")
        return np.asarray(png).astype(float)


def coloured(picture: np.ndarray) -> np.ndarray:
    """How colourful every pixel is."""
    return picture.max(axis=2) - picture.min(axis=2)


def centroid(weights: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()


@pytest.mark.parametrize(
    ("shape", "diameter", "spot"),
    [
        ((300, 500), 40.0, (391, 77)),
        ((500, 300), 31.0, (70, 405)),
        ((1700, 2900), 90.0, (2411, 433)),
        ((1300, 2100), 300.0, (1507, 381)),
        ((1301, 907), 200.0, (307, 1003)),
    ],
)
def test_a_circle_lies_on_the_spot_it_was_picked_for(
    tmp_path: Path, shape: tuple[int, int], diameter: float, spot: tuple[int, int]
) -> None:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    distance2 = (columns - spot[0]) ** 2 + (rows - spot[1]) ** 2
    image = np.exp(-distance2 / (diameter / 4) ** 2).astype(np.float32)
    plain = drawn(tmp_path / "a.png", image, NOTHING, diameter)
    circle = drawn(tmp_path / "b.png", image, np.array([spot], np.float32), diameter)
    assert plain.shape == circle.shape
    assert coloured(plain).max() == 0
    scale = plain.shape[1] / shape[1]
    assert max(plain.shape[:2]) <= 1400
    assert plain.shape[0] / shape[0] == pytest.approx(scale, rel=0.01)
    ring = coloured(circle)
    ring[ring < 40] = 0
    bright = np.where(plain[..., 0] > 128, plain[..., 0], 0)
    np.testing.assert_allclose(centroid(ring), centroid(bright), atol=0.25)
    columns_hit, rows_hit = np.flatnonzero(ring.any(axis=0)), np.flatnonzero(ring.any(axis=1))
    for hit in (columns_hit, rows_hit):
        # A line of 2 pixels whose inner edge is the circle.
        assert np.ptp(hit) + 1 == pytest.approx(diameter * scale + 4, abs=1.5)


def test_the_first_row_is_at_the_top_and_dark_is_dark(tmp_path: Path) -> None:
    image = np.zeros((60, 100), np.float32)
    image[:30, :50] = 1
    picture = drawn(tmp_path / "a.png", image, NOTHING, 4.0)
    assert picture[5:25, 5:45].min() > 200
    assert picture[35:55].max() < 50
    assert picture[:, 55:95].max() < 50


def test_particles_are_marked_in_another_way_than_picks(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(200, 300)).astype(np.float32)
    picks, particles = np.array([[60, 70]], np.float32), np.array([[220, 130]], np.float32)
    picture = drawn(tmp_path / "a.png", image, picks, 30.0, particles_xy=particles)
    red, green = picture[..., 0] - picture[..., 1], picture[..., 1] - picture[..., 0]
    np.testing.assert_allclose(centroid(np.where(green > 60, green, 0)), picks[0], atol=0.5)
    np.testing.assert_allclose(centroid(np.where(red > 60, red, 0)), particles[0], atol=0.5)


def test_the_scale_bar_is_as_long_as_it_says(tmp_path: Path) -> None:
    """800 pixels of 4 Angstrom are 320 nm, of which a fifth is 64 nm: the bar is of 50 nm, 125 pixels."""
    image = np.random.default_rng(0).normal(size=(600, 800)).astype(np.float32)
    plain = drawn(tmp_path / "a.png", image, NOTHING, 30.0)
    barred = drawn(tmp_path / "b.png", image, NOTHING, 30.0, pixel_size_angstrom=4.0)
    changed = np.argwhere((plain != barred).any(axis=2))
    assert changed[:, 0].min() > 500
    assert changed[:, 1].max() < 200
    white = (barred[560:] > 250).all(axis=2)
    longest = max(len(run) for row in white for run in "".join("x" if on else " " for on in row).split())
    assert longest == pytest.approx(125, abs=3)


def test_small_pictures_have_no_room_for_a_bar(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(90, 120)).astype(np.float32)
    plain = drawn(tmp_path / "a.png", image, NOTHING, 30.0)
    np.testing.assert_array_equal(plain, drawn(tmp_path / "b.png", image, NOTHING, 30.0, pixel_size_angstrom=4.0))


def test_picks_beyond_the_edge_and_tiny_images_are_drawn(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    picks = np.array([[-0.4, -0.4], [4.4, 8.4]], np.float32)
    assert coloured(drawn(tmp_path / "a.png", image, picks, 5.0)).max() > 0
