"""Settings: refused when they cannot be, with the remedy."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from hydrapicker.errors import InvalidInputError
from hydrapicker.simulation.config import SimulateConfig


def test_defaults_are_valid_and_frozen() -> None:
    config = SimulateConfig(name="PDB-4hhb", structure="builtin:barrel")
    assert config.folder == Path("hydrapicker-data/simulated/PDB-4hhb")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"name": "a/b"}, "a/b"),
        ({"name": "a..b"}, r"a\.\.b"),
        ({"name": ""}, "name"),
        ({"micrographs": 0}, "at least 1"),
        ({"height": 10}, "at least 64"),
        ({"particles": -1}, "at least 0"),
        ({"workers": 0}, "at least 1"),
        ({"seed": -1}, "at least 0"),
        ({"pixel_size_angstrom": 0.0}, "from 0.1"),
        ({"pixel_size_angstrom": float("nan")}, "nan"),
        ({"dose_e_per_angstrom2": float("inf")}, "inf"),
        ({"defocus_min_um": 3.0, "defocus_max_um": 1.0}, "swap"),
        ({"contamination": "some"}, "light"),
        ({"precision": "float64"}, "float16"),
        ({"precision": "float16", "pixel_size_angstrom": 40.0}, "float32"),
    ],
)
def test_refused_in_one_line(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said) as raised:
        SimulateConfig(**{"name": "x", "structure": "builtin:barrel", **setting})
    assert "\n" not in str(raised.value)


def test_identity_leaves_out_what_changes_no_byte() -> None:
    one = SimulateConfig(name="x", structure="a.pdb", out=Path("a"), workers=1)
    two = SimulateConfig(name="x", structure="b.pdb", out=Path("b"), workers=2)
    assert one.identity() == two.identity()
    assert one.identity() != dataclasses.replace(one, seed=1).identity()
