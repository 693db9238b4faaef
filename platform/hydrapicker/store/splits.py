"""Which micrographs train, which validate, which test: a fixed shuffle that depends on nothing but seed and names."""

import hashlib
from collections.abc import Iterable

from hydrapicker.errors import InvalidInputError

__all__ = ["DEFAULT_SHARE", "assign_splits", "split_size"]

DEFAULT_SHARE = 0.1
_ONE_OF_EACH = 3


def split_size(size: float | None, total: int) -> int:
    """Turn a split's size into a number of micrographs.

    Parameters
    ----------
    size : float or None
        A whole number is a count, a number between 0 and 1 a share of all, None a tenth; of a share at least one.
    total : int
        Number of micrographs there are.

    Raises
    ------
    InvalidInputError
        When the size is neither.
    """
    if size is None:
        size = DEFAULT_SHARE
    if 0 < size < 1:
        return max(1, round(size * total))
    if size >= 0 and float(size).is_integer():
        return int(size)
    raise InvalidInputError(
        f"a split of {size:g} micrographs is not possible; give a whole number, 0 for none, or a share between 0 and 1"
    )


def assign_splits(
    ids: Iterable[str], *, seed: int = 0, val_size: float | None = None, test_size: float | None = None
) -> dict[str, str]:
    """Assign every micrograph to ``train``, ``val`` or ``test``.

    Micrographs are shuffled by a hash of (seed, id): the first are test, the next validation, the rest training.
    The order in which they are given does not matter. By default two micrographs are one to train and one to test,
    and a single one is to train: to hold back more would leave nothing to learn from.

    Parameters
    ----------
    ids : iterable of str
        The micrographs' ids, all different.
    seed : int
        Another seed gives another shuffle.
    val_size, test_size : float or None
        As in :func:`split_size`.

    Raises
    ------
    InvalidInputError
        When no micrographs are given, or none would be left to train on.
    """
    names = list(ids)
    assert len(set(names)) == len(names), "ids must be unique"
    if not names:
        raise InvalidInputError("no micrographs with particles: give at least one")
    few = len(names) < _ONE_OF_EACH
    test = int(len(names) > 1) if few and test_size is None else split_size(test_size, len(names))
    val = 0 if few and val_size is None else split_size(val_size, len(names))
    if test + val >= len(names):
        raise InvalidInputError(
            f"{test} test and {val} validation micrographs of {len(names)} leave none to train on; "
            "make these splits smaller"
        )
    shuffled = sorted(names, key=lambda name: (hashlib.sha256(f"{seed}/{name}".encode()).digest(), name))
    parts = ["test"] * test + ["val"] * val + ["train"] * (len(names) - test - val)
    return dict(zip(shuffled, parts, strict=True))
