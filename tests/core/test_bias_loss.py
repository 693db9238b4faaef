import pytest
import torch

from hydrapicker_core.bias_loss import add_bias_gradient, bias_loss, head_distances
from hydrapicker_core.network import MultiHeadNetwork, NetworkConfig


def scattered_network() -> MultiHeadNetwork:
    torch.manual_seed(0)
    return MultiHeadNetwork(NetworkConfig(width=2), ["a", "b", "c"])


def weights(network: MultiHeadNetwork) -> tuple[list[list[torch.Tensor]], list[torch.Tensor]]:
    return [list(head.parameters()) for head in network.dataset_heads()], list(network.generic.parameters())


def test_is_the_mean_of_one_norm_per_head() -> None:
    heads, generic = weights(scattered_network())
    flat = [torch.cat([p.flatten() for p in head]) for head in (*heads, generic)]
    expected = sum((head - flat[-1]).norm() for head in flat[:-1]) / 3
    assert bias_loss(heads, generic).item() == pytest.approx(expected.item(), rel=1e-6)
    assert sum(head_distances(heads, generic)) / 3 == pytest.approx(expected.item(), rel=1e-6)


def test_gradient_in_closed_form_equals_autograds() -> None:
    network = scattered_network()
    heads, generic = weights(network)
    (0.7 * bias_loss(heads, generic)).backward()
    expected = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    assert len(expected) == 4 * len(generic)
    network.zero_grad()
    add_bias_gradient(heads, generic, 0.7)
    for name, parameter in network.named_parameters():
        if name in expected:
            assert parameter.grad is not None
            assert torch.allclose(parameter.grad, expected[name], atol=1e-7), name


def test_gradient_is_added_to_what_is_there() -> None:
    heads, generic = weights(scattered_network())
    add_bias_gradient(heads, generic, 1.0)
    once = [p.grad.clone() for p in generic if p.grad is not None]
    add_bias_gradient(heads, generic, 1.0)
    for p, gradient in zip(generic, once, strict=True):
        assert p.grad is not None
        assert torch.allclose(p.grad, 2 * gradient)


def test_a_head_equal_to_the_generic_head_has_no_gradient_and_no_nan() -> None:
    network = scattered_network()
    network.head("b").load_state_dict(network.generic.state_dict())
    heads, generic = weights(network)
    add_bias_gradient(heads, generic, 1.0)
    for p in heads[1]:
        assert p.grad is not None
        assert not p.grad.any()
    assert all(torch.isfinite(p.grad).all() for p in generic if p.grad is not None)


def test_no_heads_and_no_weight() -> None:
    heads, generic = weights(scattered_network())
    assert float(bias_loss([], generic)) == 0
    add_bias_gradient([], generic, 1.0)
    add_bias_gradient(heads, generic, 0.0)
    assert all(p.grad is None for p in generic)
