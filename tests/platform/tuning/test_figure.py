"""The plot is drawn for whatever a search may end with."""

import io

import numpy as np
import pytest
from PIL import Image

from hydrapicker.training.config import demo
from hydrapicker.tuning.figure import draw_search
from hydrapicker.tuning.objective import Scores
from hydrapicker.tuning.outcome import Outcome
from hydrapicker.tuning.settings import Settings

BLUE, WHITE = np.array([31, 95, 168]), np.array([255, 255, 255])


def trials(*points: tuple[float, float | None], complete: bool = True) -> list[Outcome]:
    return [
        Outcome(i, Settings.of(demo(), {"lambda_bias": value}), 9, complete and ap is not None, ap, ap and 0.9, {}, {})
        for i, (value, ap) in enumerate(points, start=1)
    ]


def blue(png: bytes) -> np.ndarray:
    """Columns of the image, and of each the highest row, where the generic head's colour is above the legend."""
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    is_blue = (np.abs(pixels - BLUE).sum(axis=2) < 12)[: int(0.8 * len(pixels))]
    columns = np.flatnonzero(is_blue.any(axis=0))
    return np.stack([columns, is_blue.argmax(axis=0)[columns]], axis=1)


def test_zero_stands_left_of_all_others_and_higher_is_better() -> None:
    drawn = blue(draw_search(trials((1.0, 0.8), (0.0, 0.5), (0.1, 0.7)), {}, ("cross",), ("lambda_bias",)))
    left, right = drawn[drawn[:, 0] < drawn[:, 0].min() + 8], drawn[drawn[:, 0] > drawn[:, 0].max() - 8]
    assert left[:, 1].min() > right[:, 1].min() + 50, "the leftmost point is zero's, and the lowest"
    gaps = np.diff(drawn[:, 0])
    assert (gaps > 30).sum() == 1, "one gap only: between zero and the joined others"


@pytest.mark.parametrize(
    "outcomes",
    [
        trials(),
        trials((0.0, 0.5)),
        trials((0.3, 0.5)),
        trials((0.0, None), (0.1, None)),
        trials((0.0, 0.2), (0.1, 0.3), complete=False),
        trials((1e-9, 0.0), (1e9, 1.0), (0.0, 0.0)),
    ],
)
@pytest.mark.parametrize("stage1", [{}, {12: Scores({"cross": 0.4}, {}), 16: Scores({"cross": 0.5}, {})}])
def test_any_trials_are_drawn(outcomes: list[Outcome], stage1: dict[int, Scores]) -> None:
    content = draw_search(outcomes, stage1, ("cross", "disc"), ("lambda_bias", "bias_form"))
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        assert image.size > (600, 400)
