"""Packages of every format version there ever was load, say what they said, and compute what they computed."""

import json
from pathlib import Path

import pytest
import torch

from hydrapicker_core.network import Head, NetworkConfig, Trunk, load_weights
from hydrapicker_registry import HeadInput, HeadPackage, TrunkPackage, read_package
from hydrapicker_registry.package import FORMAT_VERSION

GOLDEN = Path(__file__).parent / "golden"
FORMATS = sorted(folder.name for folder in GOLDEN.glob("format-*"))


def fixed_input() -> torch.Tensor:
    """The formula of golden/make.py, written down once more: the input of old packages must not change either."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(80.0), indexing="ij")
    return (torch.sin(x / 3) * torch.cos(y / 5) + torch.sin((x + 2 * y) / 11))[None, None]


def test_the_present_format_has_golden_packages() -> None:
    assert f"format-{FORMAT_VERSION}" in FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_golden_packages_load_and_compute_the_same(name: str) -> None:
    expected = json.loads((GOLDEN / name / "expected.json").read_text())
    trunk = read_package(GOLDEN / name / "trunk", sha256=expected["sha256"]["trunk"])
    head = read_package(GOLDEN / name / "head", sha256=expected["sha256"]["head"])
    assert isinstance(trunk, TrunkPackage)
    assert isinstance(head, HeadPackage)
    network = NetworkConfig(**head.metadata.architecture)  # type: ignore[arg-type]
    modules = Trunk(network).eval(), Head(network).eval()
    load_weights(modules[0], trunk.weights, "trunk")
    load_weights(modules[1], head.weights, "head")
    with torch.no_grad():
        output = modules[1](modules[0](fixed_input()))
    assert list(output.shape) == expected["output_shape"]
    torch.testing.assert_close(output.flatten(), torch.tensor(expected["output"]), atol=1e-4, rtol=1e-4)


def test_the_first_format_says_what_it_said() -> None:
    head = read_package(GOLDEN / "format-1" / "head")
    assert isinstance(head, HeadPackage)
    said = head.metadata
    assert (said.dataset, said.dataset_version, said.dataset_fingerprint) == ("PDB-6b7n", 1, "b" * 64)
    assert said.input == HeadInput(21, "median-mad-clip6", "dark", 120.0)
    assert (said.metrics, said.threshold) == ({"ap": 0.875, "auroc": 0.96}, 0.4)
    assert said.authors == ("A. Contributor", "B. Contributor")
    assert said.training.config == {"epochs": 3, "optimiser": {"name": "adam", "betas": [0.9, 0.999]}}
    assert said.trunk.sha256 == read_package(GOLDEN / "format-1" / "trunk").sha256
    assert list(head.pictures) == ["overlay.png"]
