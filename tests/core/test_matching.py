import pytest
import torch

from hydrapicker_core.boxes import anchor_centres, square_iou
from hydrapicker_core.matching import match_anchors


def brute_force(particles: torch.Tensor, grid: tuple[int, int], box_px: float) -> tuple[dict[int, int], int]:
    anchors = anchor_centres(grid).reshape(-1, 2)
    iou = square_iou(anchors, particles, box_px)
    best = {j: int(iou[:, j].argmax()) for j in range(len(particles))}
    pairs = {}
    for i in range(len(anchors)):
        wants = [j for j in range(len(particles)) if iou[i, j] > 0.6 or best[j] == i]
        if wants:
            pairs[i] = min(wants, key=lambda j: float((anchors[i] - particles[j]).norm()))
    return pairs, len(particles) - len(set(pairs.values()))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("box_px", [21.0, 60.0])
def test_equals_the_brute_force(seed: int, box_px: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    particles = torch.rand(15, 2, generator=generator) * torch.tensor([95.0, 63.0])
    got = match_anchors(particles, (4, 6), box_px)
    pairs, lost = brute_force(particles, (4, 6), box_px)
    assert dict(zip(got.anchors.tolist(), got.particles.tolist(), strict=True)) == pairs
    assert got.lost == lost


def test_every_lone_particle_gets_its_cell_however_far_from_the_anchor() -> None:
    got = match_anchors(torch.tensor([[0.0, 0.0], [31.4, 15.4]]), (2, 2), 21.0)
    assert got.anchors.tolist() == [0, 1]
    assert got.lost == 0


def test_the_nearer_of_two_wins_a_cell_and_the_other_is_counted() -> None:
    got = match_anchors(torch.tensor([[2.0, 2.0], [8.0, 7.0]]), (1, 1), 21.0)
    assert got.particles.tolist() == [1]
    assert got.lost == 1


def test_no_particles() -> None:
    got = match_anchors(torch.empty(0, 2), (3, 3), 21.0)
    assert len(got.anchors) == len(got.particles) == got.lost == 0
