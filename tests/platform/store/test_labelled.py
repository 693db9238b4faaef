import pytest

from hydrapicker.errors import InvalidInputError
from hydrapicker.store.labelled import Labelled

GIVEN = {"micrographs": ("mics/*.mrc",), "particles": "picks.star", "diameter_angstrom": 120.0}


def test_nothing_given_is_false_and_micrographs_are_true() -> None:
    assert not Labelled()
    assert Labelled(**GIVEN)  # type: ignore[arg-type]  # of several types


@pytest.mark.parametrize("lacking", ["particles", "diameter_angstrom"])
def test_micrographs_need_picks_and_a_diameter(lacking: str) -> None:
    with pytest.raises(InvalidInputError, match=f"without --{lacking.replace('_', '-')}: give it too"):
        Labelled(**{name: value for name, value in GIVEN.items() if name != lacking})  # type: ignore[arg-type]


@pytest.mark.parametrize(("option", "value"), [("particles", "p.star"), ("val_size", 2), ("contrast", "light")])
def test_options_of_micrographs_that_are_not_given_are_refused(option: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=f"--{option.replace('_', '-')} given without micrographs"):
        Labelled(**{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("option", "value"), [("diameter_angstrom", -1.0), ("test_size", 1.5), ("contrast", "grey")])
def test_what_ingest_refuses_is_refused_at_once(option: str, value: object) -> None:
    with pytest.raises(InvalidInputError):
        Labelled(**(GIVEN | {option: value}))  # type: ignore[arg-type]
