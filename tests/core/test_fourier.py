import numpy as np
import pytest
import torch

from hydrapicker_core import fourier
from hydrapicker_core.errors import InvalidInputError
from hydrapicker_core.fourier import fourier_crop

SIZES = [1, 2, 3, 4, 5, 8, 9, 12, 17]


def _resampling_matrix(old: int, new: int) -> np.ndarray:
    """Brute force: the discrete Fourier transform written out, evaluated at the new samples."""
    smaller = min(old, new)
    matrix = np.zeros((new, old), dtype=complex)
    for k in range(-(smaller // 2), smaller // 2 + 1):
        at_nyquist = smaller % 2 == 0 and abs(k) == smaller // 2
        # The Nyquist frequency appears as both +k and -k here; unless it is folded from both, that counts it twice.
        weight = 0.5 if at_nyquist and new >= old else 1.0
        forward = np.exp(-2j * np.pi * k * np.arange(old) / old) / old
        matrix += weight * np.exp(2j * np.pi * k * np.arange(new) / new)[:, None] * forward
    return matrix.real


@pytest.mark.parametrize("old", SIZES)
@pytest.mark.parametrize("new", SIZES)
def test_equals_a_brute_force_dft(old: int, new: int) -> None:
    image = np.random.default_rng(old * 100 + new).normal(size=(old, new + 3))
    expected = _resampling_matrix(old, new) @ image @ _resampling_matrix(new + 3, old).T
    cropped = fourier_crop(torch.from_numpy(image), (new, old))
    np.testing.assert_allclose(cropped.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("shape", "new"), [((60, 81), (30, 41)), ((61, 80), (33, 32)), ((20, 25), (31, 48))])
def test_samples_a_band_limited_function_at_x_times_scale(shape: tuple[int, int], new: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    limits = [(min(a, b) - 1) // 2 for a, b in zip(shape, new, strict=True)]
    waves = [
        (rng.integers(-limits[0], limits[0] + 1), rng.integers(-limits[1], limits[1] + 1), *rng.normal(size=2))
        for _ in range(12)
    ]

    def sample(height: int, width: int) -> np.ndarray:
        y, x = np.mgrid[:height, :width]
        y, x = y / height, x / width
        return 5 + sum(a * np.cos(2 * np.pi * (ky * y + kx * x) + phase) for ky, kx, a, phase in waves)

    cropped = fourier_crop(torch.from_numpy(sample(*shape)).float(), new)
    assert cropped.dtype == torch.float32
    np.testing.assert_allclose(cropped.numpy(), sample(*new), atol=1e-5)


def test_the_mean_is_kept_and_the_same_shape_is_the_same_image() -> None:
    image = torch.randn(37, 50, generator=torch.Generator().manual_seed(0)) + 100
    for shape in [(9, 50), (37, 12), (40, 51), (1, 1)]:
        assert fourier_crop(image, shape).mean().item() == pytest.approx(image.mean().item(), rel=1e-6)
    same = fourier_crop(image, (37, 50))
    assert torch.equal(same, image)
    assert same.data_ptr() != image.data_ptr()


def test_enlarging_and_shrinking_again_is_the_same_image() -> None:
    image = torch.randn(12, 15, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(fourier_crop(fourier_crop(image, (30, 32)), (12, 15)), image)


def test_bands_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.randn(33, 40, generator=torch.Generator().manual_seed(2))
    whole = fourier_crop(image, (14, 17))
    monkeypatch.setattr(fourier, "_CHUNK_ELEMENTS", 150)
    torch.testing.assert_close(fourier_crop(image, (14, 17)), whole)


def test_half_precision_is_computed_in_single() -> None:
    image = torch.randn(16, 16, generator=torch.Generator().manual_seed(2)).half()
    torch.testing.assert_close(fourier_crop(image, (8, 8)), fourier_crop(image.float(), (8, 8)))


def test_nothing_cannot_be_resized() -> None:
    with pytest.raises(InvalidInputError, match="at least 1 x 1"):
        fourier_crop(torch.zeros(0, 4), (2, 2))
    with pytest.raises(InvalidInputError, match="at least 1 x 1"):
        fourier_crop(torch.zeros(4, 4), (0, 2))
