import numpy as np
import pytest
import torch

from hydrapicker_core import normalisation
from hydrapicker_core.errors import InvalidInputError
from hydrapicker_core.normalisation import HOT_PIXEL_SIGMA, robust_statistics, winsorise
from hydrapicker_core.preprocess import (
    CLIP_SIGMA,
    Background,
    background,
    normalise,
    pad_with_background,
    prepare,
    working_scale,
)


def _noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(height, width, generator=torch.Generator().manual_seed(seed))


def _discs(image: torch.Tensor, centres: torch.Tensor, radius: float, height: float) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(image.shape[0]), torch.arange(image.shape[1]), indexing="ij")
    for cx, cy in centres.tolist():
        image = image + height * ((x - cx) ** 2 + (y - cy) ** 2 < radius**2)
    return image


# robust statistics -----------------------------------------------------------------------------------------------


def test_robust_statistics_equal_numpys() -> None:
    image = _noise(41, 33) * 3 + 7
    median, spread = robust_statistics(image)
    values = image.numpy()
    assert median == pytest.approx(float(np.median(values)))
    assert spread == pytest.approx(1.4826 * float(np.median(np.abs(values - np.median(values)))), rel=1e-5)


def test_large_images_are_judged_by_a_subsample(monkeypatch: pytest.MonkeyPatch) -> None:
    image = _noise(600, 500) * 2 + 5
    # Stripes with the period that a stride not coprime to the width would see only one phase of.
    image[:, ::2] += 3
    whole = robust_statistics(image)
    monkeypatch.setattr(normalisation, "_MAX_SAMPLE", 15_000)
    assert robust_statistics(image) == pytest.approx(whole, rel=0.05)
    assert robust_statistics(image) == robust_statistics(image)


def test_sparse_counts_fall_back_to_the_standard_deviation() -> None:
    counts = (_noise(100, 100) > 1.5).float()
    median, spread = robust_statistics(counts)
    assert median == 0
    assert spread == pytest.approx(counts.std(correction=0).item())
    assert normalise(counts).unique().numel() == 2


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e8])
def test_constant_images_are_refused(value: float) -> None:
    for refuse in (robust_statistics, winsorise, normalise, lambda image: background(image, 21)):
        with pytest.raises(InvalidInputError, match="constant"):
            refuse(torch.full((50, 70), value))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_pixels_are_counted_and_refused(value: float) -> None:
    image = _noise(50, 60)
    image[3, 4] = image[5, 6] = value
    for refuse in (normalise, lambda i: background(i, 21), lambda i: prepare(i, 1.0)):
        with pytest.raises(InvalidInputError, match="2 of 3,000 pixels are NaN or infinite"):
            refuse(image)


def test_empty_images_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="no pixels"):
        normalise(torch.zeros(0, 5))


def test_normalised_images_do_not_depend_on_gain_and_offset() -> None:
    image = _noise(64, 48)
    image[0, 0] = 1000
    once = normalise(image)
    torch.testing.assert_close(normalise(image * 250 + 4000), once, atol=2e-4, rtol=0)
    assert robust_statistics(once) == pytest.approx((0, 1), abs=1e-5)
    assert once.max().item() == CLIP_SIGMA


def test_hot_pixels_are_limited_and_the_rest_kept() -> None:
    image = _noise(64, 64)
    hot = image.clone()
    hot[10, 20], hot[30, 40] = 1e6, -1e6
    median, spread = robust_statistics(hot)
    limited = winsorise(hot)
    assert limited[10, 20].item() == pytest.approx(HOT_PIXEL_SIGMA * spread)
    assert limited[30, 40].item() == pytest.approx(-HOT_PIXEL_SIGMA * spread)
    kept = torch.ones_like(hot, dtype=torch.bool)
    kept[10, 20] = kept[30, 40] = False
    torch.testing.assert_close(limited[kept] + median, image[kept])


# background ------------------------------------------------------------------------------------------------------


def test_background_is_that_of_the_noise_between_particles() -> None:
    centres = torch.tensor([[40.0, 40.0], [120.0, 60.0], [60.0, 150.0], [180.0, 180.0], [200.0, 30.0]])
    found = background(_discs(_noise(240, 260) * 2 + 10, centres, 10, -30), 21)
    assert found.mean == pytest.approx(10, abs=0.1)
    assert found.std == pytest.approx(2, rel=0.07)


def test_background_equals_a_loop_over_blocks() -> None:
    image = (_noise(84, 63) * torch.linspace(1, 4, 63)).double()
    blocks = [image[y : y + 21, x : x + 21].numpy() for y in range(0, 84, 21) for x in range(0, 63, 21)]
    quietest = sorted(blocks, key=np.std)[: len(blocks) // 2]
    found = background(image, 21)
    assert found.mean == pytest.approx(np.mean([block.mean() for block in quietest]))
    assert found.std == pytest.approx(np.median([block.std() for block in quietest]))


def test_masked_regions_are_no_background() -> None:
    image = _noise(210, 210) + 5
    image[:, :100] = 0
    found = background(image, 21)
    assert found.mean == pytest.approx(5, abs=0.2)
    assert found.std == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("shape", [(1, 2), (1, 50), (2, 2), (5, 30), (20, 20), (22, 23), (41, 43)])
def test_background_of_images_of_few_blocks(shape: tuple[int, int]) -> None:
    image = _noise(*shape, seed=4)
    found = background(image, 21)
    assert image.min().item() <= found.mean <= image.max().item()
    assert 0 < found.std <= image.max().item() - image.min().item()


def test_every_pixel_is_in_some_block() -> None:
    image = torch.arange(43 * 25, dtype=torch.float32).reshape(43, 25)
    blocks = normalisation._blocks(image, 21)
    assert blocks.shape == (6, 441)
    assert blocks.unique().numel() == image.numel()


def test_padding_is_background_around_an_untouched_image() -> None:
    image = _noise(30, 40)
    around = Background(mean=4.0, std=0.5)
    padded = pad_with_background(
        image, around, before=(50, 60), shape=(150, 200), generator=torch.Generator().manual_seed(0)
    )
    assert padded.shape == (150, 200)
    assert torch.equal(padded[50:80, 60:100], image)
    outside = torch.ones_like(padded, dtype=torch.bool)
    outside[50:80, 60:100] = False
    assert padded[outside].mean().item() == pytest.approx(4, abs=0.02)
    assert padded[outside].std().item() == pytest.approx(0.5, rel=0.02)
    again = pad_with_background(
        image, around, before=(50, 60), shape=(150, 200), generator=torch.Generator().manual_seed(0)
    )
    assert torch.equal(padded, again)


def test_padding_that_does_not_fit_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="does not fit"):
        pad_with_background(
            _noise(3, 3), Background(0.0, 1.0), before=(0, 1), shape=(3, 3), generator=torch.Generator()
        )


# prepare ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(300, 401), (257, 300)])
def test_a_particle_is_found_at_its_coordinates_times_the_scale(shape: tuple[int, int]) -> None:
    centre = torch.tensor([[171.0, 93.0]])
    image = _discs(_noise(*shape) * 0.2 + 1000, centre, 20, -20)
    prepared = prepare(image, working_scale(1.5, 60.0))
    dark = (prepared.image < -5.5).nonzero().float().mean(dim=0)
    assert prepared.image.dtype == torch.float32
    assert prepared.image.shape == (round(shape[0] * 21 / 40), round(shape[1] * 21 / 40))
    assert dark[1].item() == pytest.approx(171 * prepared.scale_x, abs=0.1)
    assert dark[0].item() == pytest.approx(93 * prepared.scale_y, abs=0.1)
    assert prepared.scale_x == pytest.approx(21 / 40, rel=0.01)
    assert prepared.background.mean == pytest.approx(0, abs=0.2)


def test_light_particles_are_inverted() -> None:
    image = _discs(_noise(120, 130), torch.tensor([[60.0, 60.0]]), 10, 20)
    torch.testing.assert_close(
        prepare(image, 1.0, light_particles=True).image, prepare(-image, 1.0).image, atol=1e-6, rtol=0
    )


def test_one_cosmic_ray_does_not_ring_through_the_image() -> None:
    image = _noise(200, 200)
    hit = image.clone()
    hit[100, 100] = 1e7
    difference = (prepare(hit, 0.5).image - prepare(image, 0.5).image).abs()
    assert (difference > 0.2).sum().item() < 40


def test_the_given_image_is_not_changed() -> None:
    image = _noise(50, 50)
    before = image.clone()
    prepare(image, 1.0, light_particles=True)
    assert torch.equal(image, before)


def test_particles_larger_than_the_image_are_refused_in_pixels() -> None:
    with pytest.raises(InvalidInputError, match="210 pixels across does not fit into an image of 300 x 200 pixels"):
        prepare(_noise(200, 300), 0.1)
    assert prepare(_noise(210, 300), 0.1).image.shape == (21, 30)


def test_half_precision_micrographs() -> None:
    image = _noise(60, 60)
    torch.testing.assert_close(prepare(image.half(), 0.5).image, prepare(image, 0.5).image, atol=0.01, rtol=0)
