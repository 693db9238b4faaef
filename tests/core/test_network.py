import subprocess
import sys

import pytest
import torch

from hydrapicker_core.errors import InvalidInputError
from hydrapicker_core.network import (
    GENERIC,
    Head,
    MultiHeadNetwork,
    NetworkConfig,
    Trunk,
    load_weights,
    multi_head_from_single,
)

TINY = NetworkConfig(width=4)


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_paper_sized_network_has_the_papers_number_of_parameters() -> None:
    # FACTS: trunk 0.48 M, each head 6.3 M.
    assert round(parameters(Trunk(NetworkConfig())) / 1e6, 2) == 0.48
    assert round(parameters(Head(NetworkConfig())) / 1e6, 1) == 6.3


def test_paper_sized_network_has_the_papers_group_norms() -> None:
    groups = [m.num_groups for m in Trunk(NetworkConfig()).modules() if isinstance(m, torch.nn.GroupNorm)]
    assert groups == [32] * 7


@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 80), (368, 368)])
def test_trunk_has_stride_1_and_head_stride_16(height: int, width: int) -> None:
    network = MultiHeadNetwork(TINY, ["a"]).eval()
    image = torch.randn(2, 1, height, width)
    assert network.trunk(image).shape == (2, 4, height, width)
    assert network(image, "a").shape == (2, 3, height // 16, width // 16)


def test_pairs_have_no_non_linearity_inside() -> None:
    pair = Trunk(TINY).stem
    x, y = torch.randn(1, 1, 9, 9), torch.randn(1, 1, 9, 9)
    zero = pair(torch.zeros(1, 1, 9, 9))
    assert torch.allclose(pair(x + y), pair(x) + pair(y) - zero, atol=1e-5)


def test_new_head_starts_at_the_class_bias() -> None:
    log_odds = MultiHeadNetwork(TINY).eval()(torch.randn(1, 1, 64, 64), GENERIC)[:, 2]
    assert (log_odds + 4).abs().max() < 1


def test_heads_are_found_by_dataset_name_dots_included() -> None:
    network = MultiHeadNetwork(TINY, ["PDB-6b7n", "a.b"])
    assert network.datasets == ("PDB-6b7n", "a.b")
    assert network.head("a.b") is list(network.dataset_heads())[1]
    assert MultiHeadNetwork(TINY, ["train", "keys", "half"]).datasets == ("train", "keys", "half")
    with pytest.raises(InvalidInputError, match=r"already has a head named 'a\.b'"):
        network.add_head("a.b", Head(TINY))


def test_stage_2_starts_from_stage_1s_trunk_and_only_head() -> None:
    single = MultiHeadNetwork(TINY)
    network = multi_head_from_single(single, ["a", "b"])
    image = torch.randn(1, 1, 32, 32)
    expected = single.eval()(image, GENERIC)
    for name in ("a", "b", GENERIC):
        assert torch.equal(network.eval()(image, name), expected)
    network.head("a").out.bias.data += 1
    assert torch.equal(network(image, "b"), expected), "heads share no storage"


def test_loading_is_strict() -> None:
    head = Head(TINY)
    weights = head.state_dict()
    load_weights(Head(TINY), weights, "head 'a'")
    with pytest.raises(InvalidInputError, match=r"head 'a' lacks tensor 'out\.bias'"):
        load_weights(head, {k: v for k, v in weights.items() if k != "out.bias"}, "head 'a'")
    with pytest.raises(InvalidInputError, match="has the unknown tensor 'extra'"):
        load_weights(head, {**weights, "extra": torch.zeros(1)}, "head 'a'")
    with pytest.raises(InvalidInputError, match="another architecture"):
        load_weights(head, Head(NetworkConfig(width=8)).state_dict(), "head 'a'")
    with pytest.raises(InvalidInputError, match="NaN or infinite"):
        load_weights(head, {**weights, "out.bias": torch.full((3,), float("nan"))}, "head 'a'")


@pytest.mark.parametrize("wrong", [{"width": 5}, {"width": 0}, {"dropout": 1.0}, {"norm_groups": 0}])
def test_impossible_networks_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        NetworkConfig(**wrong)  # type: ignore[arg-type]


def test_a_head_that_waits_for_its_weights_imports_no_compiler() -> None:
    """To draw random numbers on the device "meta", torch would import its compiler, which takes a second."""
    program = (
        "import sys, torch; from hydrapicker_core.network import Head, NetworkConfig\n"
        "with torch.device('meta'): Head(NetworkConfig(width=4))\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
