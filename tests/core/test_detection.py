import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hydrapicker_core.boxes import anchor_centres, encode_centres
from hydrapicker_core.detection import Detections, decode, inside, suppress_duplicates


def test_a_head_that_says_where_particles_are_is_understood() -> None:
    centres = torch.tensor([[3.0, 10.0], [40.25, 20.5]])
    output = torch.zeros(3, 2, 3)
    output[2] = -20
    anchors = anchor_centres((2, 3))
    for (gy, gx), centre, log_odds in zip([(0, 0), (1, 2)], centres, [1.0, 3.0], strict=True):
        output[:2, gy, gx] = encode_centres(centre, anchors[gy, gx])
        output[2, gy, gx] = log_odds
    found = decode(output, 0.5)
    assert torch.allclose(found.xy, centres.flip(0), atol=1e-3), "most confident first"
    assert torch.allclose(found.score, torch.sigmoid(torch.tensor([3.0, 1.0])))


def test_nothing_above_the_floor() -> None:
    found = decode(torch.full((3, 2, 2), -20.0))
    assert found.xy.shape == (0, 2)
    assert suppress_duplicates(found, 5.0).xy.shape == (0, 2)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40), st.sampled_from([0.0, 1.0, 5.5]))
def test_suppression_equals_the_brute_force(points: list[tuple[int, int]], distance: float) -> None:
    xy = torch.tensor(points, dtype=torch.float32).reshape(-1, 2)
    score = torch.linspace(1, 0.5, len(points))
    kept: list[int] = []
    for i in range(len(points)):
        if all(float((xy[i] - xy[j]).norm()) >= distance for j in kept):
            kept.append(i)
    got = suppress_duplicates(Detections(xy, score), distance)
    assert torch.equal(got.xy, xy[kept])
    assert torch.equal(got.score, score[kept])


@pytest.mark.parametrize(("x", "y", "expected"), [(-0.5, 0, True), (-0.6, 0, False), (9.4, 4.4, True), (9.6, 0, False)])
def test_inside_is_to_the_edge_of_the_outer_pixels(x: float, y: float, expected: bool) -> None:
    assert bool(inside(torch.tensor([[x, y]]), (5, 10))) is expected
