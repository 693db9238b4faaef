"""Make the golden packages of a new format version: `python tests/registry/golden/make.py`.

There is one folder per format version. Those that are committed are never made again and never changed: they stand for
the heads that laboratories have, which must load for ever. When the format changes, raise FORMAT_VERSION in
hydrapicker_registry/package.py, run this once, and commit the new folder beside the old ones.
"""

import json
import sys
from pathlib import Path

import torch

from hydrapicker_core.network import Head, NetworkConfig, Trunk
from hydrapicker_registry import (
    HeadInput,
    HeadMetadata,
    HeadPackage,
    Training,
    TrunkInput,
    TrunkMetadata,
    TrunkPackage,
    write_package,
)
from hydrapicker_registry.package import FORMAT_VERSION

NETWORK = NetworkConfig(width=2)
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a4944415408d763680000008200814dd436f60000"
    "000049454e44ae426082"
)


def fixed_input() -> torch.Tensor:
    """An image made by a formula, so that no random number generator is asked to stay the same for ever."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(80.0), indexing="ij")
    return (torch.sin(x / 3) * torch.cos(y / 5) + torch.sin((x + 2 * y) / 11))[None, None]


def fixed_weights(module: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Weights of usual size, made by a formula."""
    weights = {}
    for number, (name, tensor) in enumerate(module.state_dict().items()):
        steps = torch.arange(tensor.numel(), dtype=torch.float32).reshape(tensor.shape)
        weights[name] = torch.sin(steps * 1.7 + number + seed) * 0.4 + (1.0 if "norm" in name else 0.0)
    return weights


def packages() -> tuple[TrunkPackage, HeadPackage]:
    """A trunk and a head with every field filled."""
    shared = {
        "architecture": NETWORK.as_dict(),
        "training": Training(
            {"epochs": 3, "optimiser": {"name": "adam", "betas": [0.9, 0.999]}}, "run-1", "0123abc", 0.1
        ),
        "authors": ("A. Contributor", "B. Contributor"),
        "licence": "CC-BY-4.0",
        "citation": "Masoumzadeh & Brubaker, BMVC 2019",
        "created": "2026-01-31T12:00:00+00:00",
    }
    trunk = TrunkPackage(
        TrunkMetadata(**shared, metrics={}, input=TrunkInput(21, "median-mad-clip6"), datasets={"PDB-4hhb": "a" * 64}),
        fixed_weights(Trunk(NETWORK), 1),
    )
    head = HeadMetadata(
        **shared,
        metrics={"ap": 0.875, "auroc": 0.96},
        dataset="PDB-6b7n",
        dataset_version=1,
        dataset_fingerprint="b" * 64,
        trunk=trunk.reference(1),
        input=HeadInput(21, "median-mad-clip6", "dark", 120.0),
        threshold=0.4,
    )
    return trunk, HeadPackage(head, fixed_weights(Head(NETWORK), 2), {"overlay.png": PNG})


def main() -> int:
    """Write the packages of this format version, what they compute, and their checksums."""
    folder = Path(__file__).parent / f"format-{FORMAT_VERSION}"
    if folder.exists():
        print(f"{folder} is there already and must never change: raise FORMAT_VERSION first", file=sys.stderr)
        return 1
    trunk, head = packages()
    modules = Trunk(NETWORK).eval(), Head(NETWORK).eval()
    for module, package in zip(modules, (trunk, head), strict=True):
        module.load_state_dict(dict(package.weights))
    with torch.no_grad():
        output = modules[1](modules[0](fixed_input()))
    document = {
        "sha256": {"trunk": write_package(folder / "trunk", trunk), "head": write_package(folder / "head", head)},
        "output_shape": list(output.shape),
        "output": [round(value, 6) for value in output.flatten().tolist()],
    }
    (folder / "expected.json").write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
