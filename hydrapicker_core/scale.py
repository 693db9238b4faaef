"""The working scale: how far a micrograph is shrunk so that every particle has the same extent in pixels."""

import math

from .errors import InvalidInputError

DEFAULT_BOX_PX = 21
"""Side of the box around a particle at the working scale, as the method's authors used for every dataset."""

MIN_DIAMETER_PX = 5
"""A particle under this many original pixels has no shape left to recognise."""


def working_scale(
    pixel_size_angstrom: float,
    diameter_angstrom: float,
    box_px: int = DEFAULT_BOX_PX,
) -> float:
    """Working pixels per original pixel, such that the particle's diameter becomes `box_px`.

    Parameters
    ----------
    pixel_size_angstrom
        Extent of one original pixel, in Angstrom.
    diameter_angstrom
        The particle's diameter, in Angstrom.
    box_px
        Side of the box at the working scale, in pixels.

    Returns
    -------
    float
        ``box_px * pixel_size_angstrom / diameter_angstrom``; above 1 the micrograph is enlarged.

    Raises
    ------
    InvalidInputError
        When a length is not finite and positive, or the diameter is under 5 original pixels.
    """
    for name, value in (
        ("pixel size", pixel_size_angstrom),
        ("particle diameter", diameter_angstrom),
    ):
        if not (math.isfinite(value) and value > 0):
            raise InvalidInputError(f"the {name} is {value:g} Angstrom: give a positive number of Angstrom")
    if box_px < 1:
        raise InvalidInputError(f"box_px is {box_px}: give at least 1, usually {DEFAULT_BOX_PX}")
    diameter_px = diameter_angstrom / pixel_size_angstrom
    if diameter_px < MIN_DIAMETER_PX:
        raise InvalidInputError(
            f"a particle of {diameter_angstrom:g} Angstrom is {diameter_px:.2f} pixels across at "
            f"{pixel_size_angstrom:g} Angstrom per pixel, and at least {MIN_DIAMETER_PX} are needed: "
            "check the diameter and the pixel size, or use less binned micrographs"
        )
    return box_px * pixel_size_angstrom / diameter_angstrom


def working_shape(height: int, width: int, scale: float) -> tuple[int, int]:
    """Height and width at the working scale, in whole pixels and at least 1 each."""
    return max(1, round(height * scale)), max(1, round(width * scale))
