"""Positions: apart, everywhere, and only where allowed."""

import numpy as np

from hydrapicker.simulation.layout import MAX_COVERAGE, max_particles, scatter


def test_distances_by_brute_force() -> None:
    positions = scatter(150, 20.0, np.ones((300, 500), np.bool_), np.random.default_rng(0))
    assert positions.shape == (150, 2)
    apart = np.hypot(*(positions[:, None] - positions[None]).transpose(2, 0, 1))
    assert apart[~np.eye(len(positions), dtype=bool)].min() >= 20
    assert positions[:, 0].max() > 450  # x runs along the width
    assert positions[:, 1].max() < 300


def test_as_many_as_are_promised_fit() -> None:
    allowed = np.ones((600, 600), np.bool_)
    count = max_particles(allowed.size, 30.0)
    assert len(scatter(count, 30.0, allowed, np.random.default_rng(1))) == count
    assert count * np.pi * 15**2 / allowed.size > MAX_COVERAGE - 0.01


def test_nothing_lands_where_it_must_not() -> None:
    allowed = np.ones((200, 300), np.bool_)
    allowed[:, :150] = False
    positions = scatter(60, 10.0, allowed, np.random.default_rng(2))
    assert 10 < len(positions) < 50  # darts on the forbidden half are lost
    assert positions[:, 0].min() >= 150


def test_no_particles() -> None:
    generator = np.random.default_rng(3)
    assert scatter(0, 10.0, np.ones((50, 50), np.bool_), generator).shape == (0, 2)
    assert scatter(5, 10.0, np.zeros((50, 50), np.bool_), generator).shape == (0, 2)
