"""Packages of the product's own small networks for tests: weights and what matters are given, the rest is filled in."""

from collections.abc import Mapping

import torch
from torch import Tensor

from hydrapicker.store.layout import NORMALISATION
from hydrapicker_core.network import Head, NetworkConfig, Trunk
from hydrapicker_registry import (
    HeadInput,
    HeadMetadata,
    HeadPackage,
    Training,
    TrunkInput,
    TrunkMetadata,
    TrunkPackage,
)

_FILLED_IN: Mapping[str, object] = {
    "training": Training({}, "run", None, None),
    "metrics": {},
    "authors": (),
    "licence": None,
    "citation": None,
    "created": "2026-01-31T12:00:00+00:00",
}
_BOX_PX = 21


@torch.no_grad()
def arbitrary_weights(network: NetworkConfig, seed: int) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    """Of a trunk, and of a head that answers with scores of all sizes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        trunk, head = Trunk(network), Head(network)
        head.out.weight.normal_(std=0.1)
        head.out.bias.zero_()
    return trunk.state_dict(), head.state_dict()


def trunk_package(network: NetworkConfig, weights: Mapping[str, Tensor], **changed: object) -> TrunkPackage:
    """A trunk; `changed` are fields of its metadata."""
    values = {
        **_FILLED_IN, "architecture": network.as_dict(), "input": TrunkInput(_BOX_PX, NORMALISATION), "datasets": {}
    }  # fmt: skip
    return TrunkPackage(TrunkMetadata(**(values | changed)), weights)  # type: ignore[arg-type]


def head_package(
    trunk: TrunkPackage,
    name: str,
    weights: Mapping[str, Tensor],
    diameter_angstrom: float | None,
    threshold: float | None = None,
    **changed: object,
) -> HeadPackage:
    """A head of a trunk, without a dataset where it has no diameter; `changed` are fields of its metadata."""
    known = diameter_angstrom is not None
    values = {
        **_FILLED_IN,
        "architecture": trunk.metadata.architecture,
        "dataset": name,
        "dataset_version": 1 if known else None,
        "dataset_fingerprint": "b" * 64 if known else None,
        "trunk": trunk.reference(1),
        "input": HeadInput(_BOX_PX, NORMALISATION, "dark", diameter_angstrom),
        "threshold": threshold,
    }
    return HeadPackage(HeadMetadata(**(values | changed)), weights)  # type: ignore[arg-type]
