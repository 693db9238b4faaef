"""The part of a micrograph that many heads are tried on."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrapicker.evaluation.windows import Window, crowded, judge_window
from hydrapicker_core.network import Head, NetworkConfig, Trunk

CELL = 16


@given(st.integers(1, 30), st.integers(1, 30), st.integers(5, 40), st.integers(0, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_no_other_window_holds_more(columns: int, rows: int, box_px: int, count: int, seed: int) -> None:
    width, height = columns * CELL, rows * CELL
    particles = (np.random.default_rng(seed).uniform(0, 1, (count, 2)) * (width - 1, height - 1)).astype(np.float32)
    x, y, w, h = crowded(particles, width, height, box_px)
    assert (x % CELL, y % CELL, w % CELL, h % CELL) == (0, 0, 0, 0)
    assert 0 <= x <= width - w
    assert 0 <= y <= height - h
    for side, whole in ((w, width), (h, height)):
        assert side == whole or side >= max(8 * box_px, whole // 5 - CELL)

    def inside(left: int, top: int) -> int:
        low, high = np.array([left, top]), np.array([left + w, top + h])
        return int(((particles >= low) & (particles < high)).all(axis=1).sum())

    best = max(inside(left, top) for left in range(0, width - w + 1, CELL) for top in range(0, height - h + 1, CELL))
    assert inside(x, y) == best


def test_a_window_of_a_large_micrograph_is_a_small_part_of_it() -> None:
    particles = np.array([[700, 300], [720, 310], [20, 20]], np.float32)
    x, y, w, h = crowded(particles, 864, 864, 21)
    assert w * h / 864**2 < 1 / 20
    assert x <= 700 < 720 < x + w
    assert y <= 300 < 310 < y + h


def test_a_window_without_particles_has_only_false_picks() -> None:
    config = NetworkConfig(width=4, initial_log_odds=1.0)
    head, trunk = Head(config).eval(), Trunk(config).eval()
    with torch.no_grad():
        features = trunk(torch.randn(1, 1, 64, 96))
    scores, hits, particles = judge_window(head, Window(features, np.empty((0, 2), np.float32)), 21)
    assert len(scores) == len(hits) > 0
    assert not hits.any()
    assert particles == 0
    assert scores[0] == pytest.approx(max(scores))
