"""Which micrographs are called odd, against what a reader would say of the numbers."""

import numpy as np
import pytest

from hydrapicker.picking.summary import MicrographCount, summarise


def counts(*picks: int, **changed: tuple[int, object]) -> list[MicrographCount]:
    """Micrographs a, b, c …, all alike but for what is changed: ``shape=(index, value)``."""
    made = []
    for number, count in enumerate(picks):
        values: dict[str, object] = {"shape": (100, 200), "pixel_size_angstrom": 1.5}
        values |= {key: value for key, (index, value) in changed.items() if index == number}
        made.append(MicrographCount(f"m{number}", count, **values))  # type: ignore[arg-type]
    return made


def test_total_median_and_range() -> None:
    summary = summarise(counts(3, 0, 8, 5))
    assert (summary.picks, summary.micrographs, summary.median, summary.fewest, summary.most) == (16, 4, 4.0, 0, 8)
    assert summary.odd == ()


def test_far_fewer_or_more_picks_than_the_others_are_odd() -> None:
    summary = summarise(counts(100, 110, 95, 3, 102, 99, 105, 400, 97, 0))
    assert summary.odd == (
        "m3: few picks, 3 where the median is 99.5",
        "m7: many picks, 400 where the median is 99.5",
        "m9: few picks, 0 where the median is 99.5",
    )


@pytest.mark.parametrize("mean", [2, 30, 1000])
def test_what_chance_does_is_not_odd(mean: int) -> None:
    random = np.random.default_rng(mean)
    odd = [summarise(counts(*random.poisson(mean, 200).tolist())).odd for _ in range(20)]
    assert sum(map(len, odd)) <= 1


def test_equal_counts_do_not_make_the_next_one_odd() -> None:
    assert summarise(counts(*[100] * 20, 120)).odd == ()
    assert len(summarise(counts(*[100] * 20, 300)).odd) == 1
    assert summarise(counts(*[0] * 20)).odd == ()


def test_few_micrographs_are_not_compared() -> None:
    assert summarise(counts(100, 100, 0)).odd == ()


def test_odd_size_and_odd_pixel_size() -> None:
    assert summarise(counts(5, 5, 5, shape=(1, (200, 100)))).odd == ("m1: 100 x 200 pixels where most are 200 x 100",)
    assert summarise(counts(5, 5, 5, pixel_size_angstrom=(2, 1.05))).odd == (
        "m2: 1.05 A per pixel where most have 1.5",
    )
    assert summarise(counts(5, 5, 5, pixel_size_angstrom=(2, 1.505))).odd == ()
    assert summarise(counts(5, 5, shape=(1, (200, 100)))).odd == ()
