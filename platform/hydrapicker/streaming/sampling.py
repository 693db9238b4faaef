"""How many minibatches of an epoch each dataset gets."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sampling", "quotas"]

Sampling = Literal["proportional", "balanced"] | float
"""``proportional``: every micrograph once per epoch. ``balanced``: as many minibatches from every dataset. A number
of at least 1 is a temperature T between the two: shares as n^(1/T), where 1 is proportional and infinity balanced."""


def quotas(minibatches: Sequence[int], sampling: Sampling, total: int = 0) -> NDArray[np.int64]:
    """Share out an epoch's minibatches among datasets; every dataset gets at least one.

    Shares are rounded by largest remainder.

    Parameters
    ----------
    minibatches : sequence of int
        For every dataset, how many minibatches it takes to go through it once; at least 1.
    sampling : Sampling
        How to share.
    total : int
        Minibatches of the epoch, at least one for each dataset; 0: as many as all datasets gone through once.

    Returns
    -------
    int64 (datasets,)
        Minibatches per epoch.
    """
    assert min(minibatches, default=1) >= 1, "an empty dataset has no minibatches to give"
    exponent, total = _exponent(sampling), total or sum(minibatches)
    assert total >= len(minibatches), f"{total} minibatches for {len(minibatches)} datasets"
    # Powers differ in their last bits from machine to machine; rounded shares do not, and neither does what follows.
    weights = [n**exponent for n in minibatches]
    shares = np.round(total * np.array(weights) / sum(weights), 6)
    shared: NDArray[np.int64] = np.floor(shares).astype(np.int64)
    largest_remainders = np.argsort(shared - shares, kind="stable")  # of equal ones the first
    shared[largest_remainders[: total - int(shared.sum())]] += 1
    for left_out in np.flatnonzero(shared == 0):  # in a short epoch; no temperature is below 1, so in no other
        shared[np.argmax(shared)] -= 1
        shared[left_out] = 1
    return shared


def _exponent(sampling: Sampling) -> float:
    if isinstance(sampling, str):
        return {"proportional": 1.0, "balanced": 0.0}[sampling]
    assert sampling >= 1, f"temperature is {sampling}"
    return 1 / sampling
