import math

import pytest

from hydrapicker_core.errors import InvalidInputError
from hydrapicker_core.preprocess import DEFAULT_BOX_PX, working_scale, working_shape


def test_the_diameter_becomes_the_box() -> None:
    scale = working_scale(1.3, 260.0)
    assert 260.0 / 1.3 * scale == pytest.approx(DEFAULT_BOX_PX)
    assert working_scale(2, 210, 42) == pytest.approx(0.4)


@pytest.mark.parametrize(("pixel", "diameter"), [(0.0, 100.0), (-1.0, 100.0), (1.0, math.nan), (math.inf, 1.0)])
def test_lengths_are_finite_and_positive(pixel: float, diameter: float) -> None:
    with pytest.raises(InvalidInputError, match="positive number of Angstrom"):
        working_scale(pixel, diameter)


def test_diameters_under_five_pixels_are_refused_with_both_numbers() -> None:
    with pytest.raises(InvalidInputError, match=r"24 Angstrom is 4\.80 pixels .* 5 Angstrom per pixel"):
        working_scale(5.0, 24.0)
    assert working_scale(5.0, 25.0) == pytest.approx(21 / 5)


def test_a_box_of_no_pixels_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="box_px"):
        working_scale(1.0, 100.0, 0)


def test_shapes_are_rounded_and_never_empty() -> None:
    assert working_shape(100, 251, 0.5) == (50, 126)
    assert working_shape(3, 1, 0.01) == (1, 1)
