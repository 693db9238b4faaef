"""Small heads and trunks from real networks, for tests of the registry and for the processes that these start."""

import torch
from torch import nn

from hydrapicker_registry import (
    HeadInput,
    HeadMetadata,
    HeadPackage,
    Training,
    TrunkInput,
    TrunkMetadata,
    TrunkPackage,
)

PNG = b"\x89PNG\r\n\x1a\n and so on"


def _weights(seed: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 3, 3))
    return dict(network.state_dict())


def trunk_package(seed: int = 0) -> TrunkPackage:
    metadata = TrunkMetadata(
        architecture={"width": 4, "dropout": 0.3, "norm_groups": 32, "norm_eps": 1e-5},
        training=Training({"optimiser": {"name": "adam", "betas": [0.9, 0.999]}}, "run-1", "0123abc", 0.1),
        metrics={},
        authors=("A. Trainer",),
        licence="CC-BY-4.0",
        citation="Masoumzadeh & Brubaker, BMVC 2019",
        created="2026-01-31T12:00:00+00:00",
        input=TrunkInput(21, "median-mad"),
        datasets={"PDB-4hhb": "a" * 64},
    )
    return TrunkPackage(metadata, _weights(seed))


def head_package(trunk: TrunkPackage, dataset: str = "PDB-6b7n", seed: int = 1, ap: float = 0.875) -> HeadPackage:
    generic = dataset == "generic"
    metadata = HeadMetadata(
        architecture={"width": 4, "dropout": 0.3, "norm_groups": 32, "norm_eps": 1e-5},
        training=Training({"epochs": 3}, "run-1", None, 0.1),
        metrics={"ap": ap, "auroc": 0.96},
        authors=("A. Contributor", "B. <b>Bold</b> | Pipe"),
        licence=None,
        citation=None,
        created="2026-01-31T12:00:00+00:00",
        dataset=dataset,
        dataset_version=None if generic else 1,
        dataset_fingerprint=None if generic else "b" * 64,
        trunk=trunk.reference(1),
        input=HeadInput(21, "median-mad", "dark", None if generic else 120.0),
        threshold=0.4,
    )
    return HeadPackage(metadata, _weights(seed), {"overlay.png": PNG})
