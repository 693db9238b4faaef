import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hydrapicker_core.boxes import OFFSET_REACH_PX, anchor_centres, decode_offsets, encode_centres, square_iou

coordinate = st.floats(-40, 40, width=32)


@given(coordinate, coordinate, coordinate, coordinate, st.floats(1, 40, width=32))
def test_iou_equals_that_of_the_corners(ax: float, ay: float, bx: float, by: float, side: float) -> None:
    half = side / 2
    shared = max(0, min(ax, bx) + half - max(ax, bx) + half) * max(0, min(ay, by) + half - max(ay, by) + half)
    got = square_iou(torch.tensor([[ax, ay]]), torch.tensor([[bx, by]]), side)
    assert float(got) == pytest.approx(shared / (2 * side**2 - shared), abs=1e-3)


def test_iou_of_a_box_with_itself_and_of_none() -> None:
    centre = torch.tensor([[3.0, 4.0]])
    assert float(square_iou(centre, centre, 21)) == 1
    assert square_iou(torch.empty(0, 2), centre, 21).shape == (0, 1)


def test_anchors_are_the_means_of_their_cells_pixels() -> None:
    anchors = anchor_centres((2, 3))
    assert anchors.shape == (2, 3, 2)
    for gy in range(2):
        for gx in range(3):
            pixels_x = torch.arange(16 * gx, 16 * gx + 16).float()
            pixels_y = torch.arange(16 * gy, 16 * gy + 16).float()
            assert anchors[gy, gx].tolist() == [pixels_x.mean(), pixels_y.mean()]


@given(st.floats(-11.75, 11.75, width=32), st.floats(-11.75, 11.75, width=32))
def test_coding_returns_to_the_centre(dx: float, dy: float) -> None:
    anchors = anchor_centres((1, 1))
    centres = anchors + torch.tensor([dx, dy])
    assert torch.allclose(decode_offsets(encode_centres(centres, anchors), anchors), centres, atol=1e-2)


def test_a_cell_reaches_past_its_edge_and_no_further() -> None:
    anchor = torch.tensor([[7.5, 7.5]])
    assert torch.allclose(decode_offsets(torch.full((1, 2), 50.0), anchor), anchor + OFFSET_REACH_PX)
    assert torch.isfinite(encode_centres(anchor + 100, anchor)).all()
