from typing import get_args

import pytest
import torch

from hydrapicker_core.bias_loss import BiasForm, BiasGradient, bias_loss, head_distances
from hydrapicker_core.network import MultiHeadNetwork, NetworkConfig, channels_last

FORMS: tuple[BiasForm, ...] = get_args(BiasForm)


def scattered_network() -> MultiHeadNetwork:
    torch.manual_seed(0)
    return channels_last(MultiHeadNetwork(NetworkConfig(width=2), ["a", "b", "c"]))


def weights(network: MultiHeadNetwork) -> tuple[list[list[torch.Tensor]], list[torch.Tensor]]:
    return [list(head.parameters()) for head in network.dataset_heads()], list(network.generic.parameters())


def expected_loss(heads: list[list[torch.Tensor]], generic: list[torch.Tensor], form: BiasForm) -> float:
    """The definitions, number by number."""
    of_heads = []
    for head in heads:
        squares = [((w - g) ** 2).sum().item() for w, g in zip(head, generic, strict=True)]
        forms = {"per-head": sum(squares) ** 0.5, "per-tensor": sum(s**0.5 for s in squares), "squared": sum(squares)}
        of_heads.append(forms[form])
    return sum(of_heads) / len(heads)


@pytest.mark.parametrize("form", FORMS)
def test_is_the_mean_over_heads_of_its_form(form: BiasForm) -> None:
    heads, generic = weights(scattered_network())
    assert bias_loss(heads, generic, form).item() == pytest.approx(expected_loss(heads, generic, form), rel=1e-5)


def test_the_papers_form_is_the_default_and_the_mean_of_the_heads_distances() -> None:
    heads, generic = weights(scattered_network())
    assert bias_loss(heads, generic).item() == pytest.approx(expected_loss(heads, generic, "per-head"), rel=1e-5)
    assert sum(head_distances(heads, generic)) / 3 == pytest.approx(bias_loss(heads, generic).item(), rel=1e-6)


@pytest.mark.parametrize("equal", ["no head", "one tensor", "one head", "all heads"])
@pytest.mark.parametrize("form", FORMS)
def test_gradient_in_closed_form_equals_autograds(form: BiasForm, equal: str) -> None:
    network = scattered_network()
    heads, generic = weights(network)
    with torch.no_grad():
        if equal == "one tensor":
            heads[1][0].copy_(generic[0])
        for head in {"one head": heads[1:2], "all heads": heads}.get(equal, []):
            for own, other in zip(head, generic, strict=True):
                own.copy_(other)
    (0.7 * bias_loss(heads, generic, form)).backward()
    expected = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    assert len(expected) == 4 * len(generic)
    assert any(gradient.any() for gradient in expected.values()) == (equal != "all heads")
    network.zero_grad()
    BiasGradient(heads, generic, 0.7, form).add()
    for name, parameter in network.named_parameters():
        if name in expected:
            assert parameter.grad is not None
            assert torch.allclose(parameter.grad, expected[name], rtol=1e-5, atol=1e-7), name


def test_gradients_lie_in_memory_as_their_weights_do() -> None:
    heads, generic = weights(scattered_network())
    BiasGradient(heads, generic, 1.0).add()
    strides = [(p.stride(), p.grad.stride()) for p in (*generic, *heads[0], *heads[2]) if p.grad is not None]
    assert len(strides) == 3 * len(generic)
    assert all(weight == gradient for weight, gradient in strides)
    assert any(weight[1] == 1 for weight, _ in strides if len(weight) == 4)


def test_gradient_is_added_to_what_is_there() -> None:
    heads, generic = weights(scattered_network())
    BiasGradient(heads, generic, 1.0).add()
    parameters = [*generic, *heads[0]]
    once = [p.grad.clone() for p in parameters if p.grad is not None]
    for p in heads[1]:
        p.grad = None  # heads that a minibatch came by stand beside heads that none did
    BiasGradient(heads, generic, 1.0).add()
    for p, gradient in zip(parameters, once, strict=True):
        assert p.grad is not None
        assert torch.allclose(p.grad, 2 * gradient)
    assert all(p.grad is not None and p.grad.any() for p in heads[1][::4])


@pytest.mark.parametrize("form", FORMS)
def test_no_heads_and_no_weight(form: BiasForm) -> None:
    heads, generic = weights(scattered_network())
    assert float(bias_loss([], generic, form)) == 0
    assert head_distances([], generic) == []
    BiasGradient([], generic, 1.0, form).add()
    assert all(p.grad is None for p in generic)
    BiasGradient(heads, generic, 0.0, form).add()
    assert all(p.grad is not None and not p.grad.any() for parameters in (*heads, generic) for p in parameters)


def test_what_is_kept_from_call_to_call_does_not_change_the_gradient() -> None:
    network = scattered_network()
    heads, generic = weights(network)
    kept = BiasGradient(heads, generic, 0.7)
    for _ in range(2):
        network.zero_grad()
        kept.add()
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.data -= 0.5 * parameter.grad  # the heads move, so that the next gradient is another
    network.zero_grad()
    kept.add()
    got = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    BiasGradient(heads, generic, 0.7).add()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == (name not in got)
        assert parameter.grad is None or torch.equal(parameter.grad, got[name]), name
