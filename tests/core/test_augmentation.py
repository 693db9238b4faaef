import math
from itertools import product

import pytest
import torch

from hydrapicker_core.augmentation import (
    AugmentationConfig,
    CropView,
    augment,
    cut,
    draw_view,
    generator_for,
    move_into,
)
from hydrapicker_core.errors import InvalidInputError
from hydrapicker_core.normalisation import Background

SHAPES = [(90, 130), (200, 70), (64, 64), (40, 50), (30, 100)]
NO_NOISE = Background(mean=0.0, std=0.0)


def _blobs(shape: tuple[int, int], points: torch.Tensor, sigma: float = 2.0) -> torch.Tensor:
    y, x = torch.meshgrid(
        torch.arange(shape[0], dtype=torch.float64), torch.arange(shape[1], dtype=torch.float64), indexing="ij"
    )
    image = torch.zeros(shape, dtype=torch.float64)
    for px, py in points.double().tolist():
        image += torch.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))
    return image.float()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("config", [AugmentationConfig(64), AugmentationConfig(64, rotate=False)])
def test_a_marked_pixel_stays_under_its_coordinate(shape: tuple[int, int], config: AugmentationConfig) -> None:
    seen = 0
    for seed in range(80):
        generator = generator_for(seed, 0, "marked")
        room = torch.tensor([shape[1] - 17.0, shape[0] - 17.0])
        point = 8 + torch.rand(1, 2, generator=generator) * room
        crop, moved = augment(_blobs(shape, point), point, NO_NOISE, config, generator)
        assert crop.shape == (64, 64)
        if len(moved) == 0 or moved.min() < 8 or moved.max() > 55:
            continue
        seen += 1
        # Not the brightest pixel but the whole blob, drawn anew where the coordinate says it is.
        assert (crop - _blobs((64, 64), moved)).abs().max().item() < 0.03
    assert seen >= 10


def test_particles_are_kept_exactly_when_their_centre_is_on_a_pixel_of_the_crop() -> None:
    points = torch.tensor([[9.5, 20.0], [9.4, 20.0], [25.4, 20.0], [25.5, 20.0], [12.0, 35.4], [12.0, 35.5]])
    view = CropView(16, (17.5, 27.5))
    assert move_into(points, view).tolist() == [
        [-0.5, 0.0],
        pytest.approx([15.4, 0.0]),
        pytest.approx([2.0, 15.4]),
    ]


def test_particles_and_pixels_follow_the_same_map_for_any_view() -> None:
    points = torch.tensor([[30.0, 22.0], [45.0, 50.0], [60.0, 33.0]])
    image = _blobs((80, 90), points)
    for angle, flip_x, flip_y in product([0.3, 1.9, 4.4], [False, True], [False, True]):
        view = CropView(64, (44.3, 38.7), angle, flip_x, flip_y)
        moved = move_into(points, view)
        assert len(moved) == 3
        crop = cut(image, NO_NOISE, view, torch.Generator())
        assert (crop - _blobs((64, 64), moved)).abs().max().item() < 0.03


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_right_angles_and_flips_equal_rot90_and_flip(quarter_turns: int) -> None:
    image = torch.randn(32, 32, generator=torch.Generator().manual_seed(1)) * 1e-3
    for flip_x, flip_y in product([False, True], [False, True]):
        view = CropView(32, (15.5, 15.5), quarter_turns * math.pi / 2, flip_x, flip_y)
        expected = torch.rot90(image, quarter_turns, (0, 1))
        expected = expected.flip([axis for axis, flipped in ((0, flip_y), (1, flip_x)) if flipped])
        assert torch.equal(cut(image, NO_NOISE, view, torch.Generator()), expected)


def test_without_rotation_crops_are_bit_exact_and_reach_every_position() -> None:
    image = torch.arange(18 * 20, dtype=torch.float32).reshape(18, 20) / 7
    config = AugmentationConfig(16, rotate=False, flip=False)
    origins = set()
    for seed in range(200):
        crop, _ = augment(image, torch.zeros(0, 2), NO_NOISE, config, generator_for(seed, 0, "m"))
        y, x = divmod(round(crop[0, 0].item() * 7), 20)
        assert torch.equal(crop, image[y : y + 16, x : x + 16])
        origins.add((y, x))
    assert origins == set(product(range(3), range(5)))


def test_interpolation_agrees_with_a_smooth_function() -> None:
    def smooth(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.sin(x / 5) * torch.cos(y / 7)

    y, x = torch.meshgrid(torch.arange(300.0), torch.arange(2000.0), indexing="ij")
    view = CropView(48, (1700.2, 150.9), 0.7)
    crop = cut(smooth(x, y), NO_NOISE, view, torch.Generator())
    steps = torch.arange(48) - 23.5
    inside_x = 1700.2 + math.cos(0.7) * steps[None] - math.sin(0.7) * steps[:, None]
    inside_y = 150.9 + math.sin(0.7) * steps[None] + math.cos(0.7) * steps[:, None]
    torch.testing.assert_close(crop, smooth(inside_x, inside_y), atol=0.012, rtol=0)


def test_the_outside_is_background_noise_and_the_inside_is_not_faded() -> None:
    image = torch.full((40, 40), 50.0)
    config = AugmentationConfig(64)
    pixels = torch.cartesian_prod(torch.arange(40.0), torch.arange(40.0))
    outside = []
    for seed in range(30):
        crop, shown = augment(image, pixels, Background(10.0, 2.0), config, generator_for(seed, 1, "m"))
        assert ((crop - 50).abs() < 1e-3).sum().item() == pytest.approx(len(shown), abs=50)
        assert len(shown) > 1100
        outside.append(crop[(crop - 50).abs() >= 1e-3])
    values = torch.cat(outside)
    assert values.max().item() < 25
    assert values.mean().item() == pytest.approx(10, abs=0.1)
    assert values.std().item() == pytest.approx(2, rel=0.05)


def test_crops_lie_within_larger_images_and_hold_smaller_ones() -> None:
    for seed in range(100):
        view = draw_view(200, 30, AugmentationConfig(64), generator_for(seed, 0, "m"))
        extent = 31.5 * (abs(math.cos(view.angle)) + abs(math.sin(view.angle)))
        assert extent - 1e-9 <= view.centre[1] <= 199 - extent + 1e-9
        assert abs(view.centre[0] - 14.5) <= min(extent - 14.5, 17) + 1e-9


@pytest.mark.parametrize("rotate", [True, False])
def test_an_enlarged_crop_shows_larger_particles_where_their_coordinates_are(rotate: bool) -> None:
    config = AugmentationConfig(64, rotate=rotate, resize=0.5)
    enlargements = []
    for seed in range(60):
        generator = generator_for(seed, 0, "resized")
        view = draw_view(160, 150, config, generator)
        enlargements.append(view.enlarged)
        inward = torch.tensor([[math.cos(seed), math.sin(seed)]]) * 18 / view.enlarged
        point = torch.tensor([view.centre]) + inward
        crop = cut(_blobs((160, 150), point, 3.0), NO_NOISE, view, generator)
        moved = move_into(point, view)
        # Bicubic sampling of a blob this wide is right to a hundredth.
        assert (crop - _blobs((64, 64), moved, 3.0 * view.enlarged)).abs().max().item() < 0.02
    assert min(enlargements) < 0.72
    assert max(enlargements) > 1.4
    assert all(1 / 1.5 <= each <= 1.5 for each in enlargements)


def test_particles_in_an_enlarged_crop_are_those_on_its_pixels() -> None:
    points = torch.tensor([[10.0, 10.0], [13.9, 10.0], [14.1, 10.0], [10.0, 6.1], [10.0, 5.9]])
    view = CropView(16, (10.0, 10.0), enlarged=2.0)  # from 4 source pixels before the centre to 4 after
    assert move_into(points, view).tolist() == [[7.5, 7.5], pytest.approx([15.3, 7.5]), pytest.approx([7.5, -0.3])]


@pytest.mark.parametrize("resize", [-0.1, 1.5, math.nan])
def test_a_resize_is_a_share(resize: float) -> None:
    with pytest.raises(InvalidInputError, match="share from 0 to 1"):
        AugmentationConfig(resize=resize)


def test_a_view_beside_the_image_is_all_noise() -> None:
    for centre in [(-500.0, 5.0), (500.5, 5.0), (5.0, 900.0)]:
        crop = cut(torch.full((9, 1), 7.0), Background(0.0, 1.0), CropView(16, centre, 0.2), generator_for(0, 0, "m"))
        assert crop.std().item() == pytest.approx(1, rel=0.2)


def test_no_particles_and_images_of_one_pixel() -> None:
    crop, moved = augment(
        torch.ones(1, 1), torch.zeros(0, 2), Background(0.0, 1.0), AugmentationConfig(16), generator_for(0, 0, "m")
    )
    assert crop.shape == (16, 16)
    assert moved.shape == (0, 2)


def test_randomness_is_a_function_of_seed_epoch_and_micrograph() -> None:
    def draw(seed: int, epoch: int, micrograph_id: str) -> float:
        return float(torch.rand((), generator=generator_for(seed, epoch, micrograph_id), dtype=torch.float64))

    assert draw(1, 2, "a/b") == draw(1, 2, "a/b")
    assert len({draw(*key) for key in [(1, 2, "a"), (2, 1, "a"), (1, 2, "b"), (12, 2, "a"), (1, 22, "a")]}) == 5
    # The same on every machine and in every version: sha256("7/3/mic-001"), not Python's hash().
    assert generator_for(7, 3, "mic-001").initial_seed() == 0x1899D2B48FCF6591


@pytest.mark.parametrize("crop_px", [0, -16, 100, 370])
def test_crops_are_multiples_of_a_cell(crop_px: int) -> None:
    with pytest.raises(InvalidInputError, match="multiple of 16"):
        AugmentationConfig(crop_px=crop_px)
