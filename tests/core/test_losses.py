import math

import pytest
import torch

from hydrapicker_core.boxes import anchor_centres, decode_offsets
from hydrapicker_core.errors import InvalidInputError
from hydrapicker_core.losses import LossConfig, detection_loss, focal_loss
from hydrapicker_core.matching import match_anchors


def test_focal_loss_is_equation_3_term_by_term() -> None:
    log_odds, truth = [-5.0, -0.3, 0.0, 2.0], [0, 1, 1, 0]
    expected = 0.0
    for x, particle in zip(log_odds, truth, strict=True):
        p = 1 / (1 + math.exp(-x))
        right, alpha = (p, 0.25) if particle else (1 - p, 0.75)
        expected += -0.5 * alpha * (1 - right) ** 2 * math.log(right)
    got = focal_loss(torch.tensor(log_odds), torch.tensor(truth, dtype=torch.float32), 0.25, 2.0)
    assert float(got) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("log_odds", [-200.0, 200.0])
def test_focal_loss_and_its_gradient_are_finite_far_out(log_odds: float) -> None:
    x = torch.tensor([log_odds, -log_odds], requires_grad=True)
    focal_loss(x, torch.tensor([1.0, 1.0]), 0.25, 2.0).backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_minibatch_equals_the_sums_of_equations_2_and_3() -> None:
    generator = torch.Generator().manual_seed(1)
    outputs = torch.randn(3, 3, 4, 5, generator=generator)
    particles = [torch.rand(n, 2, generator=generator) * 60 for n in (6, 0, 2)]
    anchors = anchor_centres((4, 5)).reshape(-1, 2)
    l1, classes, pairs = 0.0, 0.0, 0
    for image, centres in zip(outputs, particles, strict=True):
        matches = match_anchors(centres, (4, 5), 21.0)
        truth = torch.zeros(20)
        for i, j in zip(matches.anchors.tolist(), matches.particles.tolist(), strict=True):
            truth[i] = 1
            centre = decode_offsets(image.reshape(3, 20)[:2, i], anchors[i])
            l1 += float((centre - centres[j]).abs().sum())
            pairs += 1
        classes += float(focal_loss(image[2].flatten(), truth, 0.25, 2.0))
    got = detection_loss(outputs, particles, 21.0, LossConfig(lambda_cls=2.0))
    assert float(got.localisation) == pytest.approx(l1 / 16 / pairs, rel=1e-5)
    assert float(got.classification) == pytest.approx(classes / pairs, rel=1e-5)
    assert float(got.total(LossConfig(lambda_cls=2.0))) == pytest.approx((l1 / 16 + 2 * classes) / pairs, rel=1e-5)
    assert got.particles == 8


def test_a_minibatch_without_particles_still_teaches_the_background() -> None:
    outputs = torch.zeros(2, 3, 4, 4, requires_grad=True)
    loss = detection_loss(outputs, [torch.empty(0, 2)] * 2, 21.0, LossConfig())
    loss.total(LossConfig()).backward()
    assert loss.localisation.item() == 0
    assert outputs.grad is not None
    assert bool((outputs.grad[:, 2] > 0).all())
    assert bool((outputs.grad[:, :2] == 0).all())


@pytest.mark.parametrize("wrong", [{"lambda_cls": -1}, {"lambda_bias": float("nan")}, {"alpha": 1.0}])
def test_impossible_losses_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        LossConfig(**wrong)


def test_an_unknown_form_of_the_bias_loss_is_refused() -> None:
    config = LossConfig()
    object.__setattr__(config, "bias_form", "cubed")  # in tests the constructor checks types before we can
    with pytest.raises(InvalidInputError, match="'cubed' is none of per-head, per-tensor, squared"):
        config.__post_init__()
