"""A trunk's features of whole micrographs, kept for as long as the trunk stays as it is."""

from collections.abc import Callable, Hashable

from jaxtyping import Float
from torch import Tensor

Map = Float[Tensor, "1 c h w"]
Features = Callable[[Callable[[], Map]], Map]
"""Gives the features of a micrograph, by calling the function that computes them or without."""


class KeptFeatures:
    """Features by micrograph, in the memory they were computed in, up to a bound; the rest is computed again each time.

    They are kept as they are computed, in float32: with or without them every figure is the same to the last bit.

    Args:
        bound_gib: Memory that may be taken.
    """

    def __init__(self, bound_gib: float) -> None:
        self._left = bound_gib * 2**30
        self._kept: dict[Hashable, Map] = {}

    def of(self, micrograph: Hashable, compute: Callable[[], Map]) -> Map:
        """The features of a micrograph, computed unless they are here."""
        if micrograph in self._kept:
            return self._kept[micrograph]
        features = compute()
        size = features.numel() * features.element_size()
        if size <= self._left:
            self._left -= size
            self._kept[micrograph] = features
        return features
