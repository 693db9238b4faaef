"""Random orders that depend on a key only, and the order in which a dataset is gone through."""

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

__all__ = ["random_order", "sweep_order"]


def random_order(n: int, *key: object) -> NDArray[np.int64]:
    """Return a random permutation of n that depends on the key only (anything that JSON can say)."""
    return np.argsort(_random_numbers(n, *key), kind="stable").astype(np.int64)


def sweep_order(shards: NDArray[np.int32], window: int, *key: object) -> NDArray[np.int64]:
    """Return the order in which a dataset's rows are gone through once: well mixed, yet a few shards at a time.

    The shards are shuffled, and the rows within each. Then every row moves to a place that is drawn from the
    ``window`` places from its own on, so that rows of neighbouring shards mix; no row ends up ``window`` places or
    more from where it was. Where the window holds all rows, all orders are equally likely.

    Parameters
    ----------
    shards : int32 (n,)
        In which shard each row lies; which number stands for which shard does not matter.
    window : int
        Number of rows.
    *key
        What the order depends on.

    Returns
    -------
    int64 (n,)
        Positions in ``shards``.
    """
    assert window >= 1, f"window is {window}"
    n = len(shards)
    if n <= window:
        return random_order(n, "rows", *key)
    _, first, inside = np.unique(shards, return_index=True, return_inverse=True)
    place_of_shard = np.empty(len(first), np.int64)
    place_of_shard[np.argsort(first)[random_order(len(first), "shards", *key)]] = np.arange(len(first))
    # One number to sort by, which is twice as fast as two: the shard's place, and below it 40 random bits.
    keys = place_of_shard[inside].astype(np.uint64) << np.uint64(40) | _random_numbers(n, "rows", *key) >> np.uint64(24)
    by_shard = np.argsort(keys, kind="stable")
    moved = (_random_numbers(n, "window", *key) >> np.uint64(11)) * (window * 2.0**-53)  # in [0, window)
    return by_shard[np.argsort(np.arange(n) + moved, kind="stable")].astype(np.int64)


def _random_numbers(n: int, *key: object) -> NDArray[np.uint64]:
    """Return n random numbers that depend on the key only.

    NumPy keeps the raw numbers of its bit generators the same from release to release, but not what ``permutation``
    makes of them, so that an epoch resumed after an update would go on in another order.
    """
    entropy = int.from_bytes(hashlib.sha256(json.dumps(key).encode()).digest(), "big")
    return np.random.Philox(np.random.SeedSequence(entropy)).random_raw(n)
