import pytest
import torch

from hydrapicker_core.bands import trunk_in_bands
from hydrapicker_core.boxes import anchor_centres
from hydrapicker_core.detection import Detections
from hydrapicker_core.inference import MARGIN_PX, InferenceConfig, detect, head_outputs, pad
from hydrapicker_core.network import GENERIC, Head, MultiHeadNetwork, NetworkConfig, Trunk
from hydrapicker_core.preprocess import Background


@pytest.fixture(scope="module")
def network() -> MultiHeadNetwork:
    torch.manual_seed(0)
    network = MultiHeadNetwork(NetworkConfig(width=8), ["a"]).eval()
    for module in network.modules():  # affine parameters that matter
        if isinstance(module, torch.nn.GroupNorm):
            torch.nn.init.normal_(module.weight, mean=1.0, std=0.3)
            torch.nn.init.normal_(module.bias, std=0.3)
    return network


@pytest.mark.parametrize("band_rows", [1, 2, 3, 16, 47, 48, 100])
def test_bands_give_what_one_pass_gives(network: MultiHeadNetwork, band_rows: int) -> None:
    image = torch.randn(1, 48, 37, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network.trunk(image[None])[0]
    assert torch.allclose(trunk_in_bands(network.trunk, image, band_rows), expected, atol=1e-4)


def test_statistics_per_band_would_not_do(network: MultiHeadNetwork) -> None:
    # Why bands are not tiles: a tile normalised by itself sees other statistics.
    image = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    image[:, :, 32:] *= 3
    with torch.no_grad():
        whole, alone = network.trunk(image), network.trunk(image[:, :, :32])
    assert (whole[:, :, 8:24] - alone[:, :, 8:24]).abs().max() > 0.1


def test_a_memory_bound_changes_no_pick(network: MultiHeadNetwork) -> None:
    image = torch.randn(210, 333, generator=torch.Generator().manual_seed(2))
    heads = {"a": network.head("a"), GENERIC: network.generic}
    low = InferenceConfig(score_floor=0.0, memory_bound_gib=1e-6)
    high = InferenceConfig(score_floor=0.0)
    banded = detect(network.trunk, heads, image, Background(0.0, 1.0), 21.0, low)
    whole = detect(network.trunk, heads, image, Background(0.0, 1.0), 21.0, high)
    for name in heads:
        assert len(whole[name].xy) > 50
        assert torch.allclose(banded[name].score, whole[name].score, atol=1e-5)
        assert torch.allclose(banded[name].xy, whole[name].xy, atol=1e-2)


def test_one_trunk_pass_for_all_heads(network: MultiHeadNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    forward = Trunk.forward
    monkeypatch.setattr(Trunk, "forward", lambda self, x: passes.append(1) or forward(self, x))
    head_outputs(network.trunk, {"a": network.head("a"), GENERIC: network.generic}, torch.randn(32, 32), 1.0)
    assert len(passes) == 1


@pytest.mark.parametrize("shape", [(1, 1), (100, 37), (16, 160)])
def test_padding_is_noise_around_an_untouched_image(shape: tuple[int, int]) -> None:
    image = torch.randn(shape)
    padded = pad(image, Background(5.0, 0.1))
    height, width = shape
    assert all(side % 16 == 0 for side in padded.image.shape)
    rows, columns = slice(MARGIN_PX, MARGIN_PX + height), slice(MARGIN_PX, MARGIN_PX + width)
    assert torch.equal(padded.image[rows, columns], image)
    assert abs(float(padded.image[: MARGIN_PX - 1].mean()) - 5) < 0.1
    assert torch.equal(pad(image, Background(5.0, 0.1)).image, padded.image)


def test_padding_is_removed_from_coordinates() -> None:
    padded = pad(torch.randn(20, 30), Background(0.0, 1.0))
    found = Detections(torch.tensor([[32.0, 32.0], [61.0, 51.0], [31.0, 40.0], [40.0, 52.0]]), torch.ones(4))
    assert padded.crop_coordinates(found).xy.tolist() == [[0.0, 0.0], [29.0, 19.0]]


def test_a_detector_of_bright_pixels_puts_them_where_they_are() -> None:
    # A head that answers with the brightness under its cell's centre: picks must lie at the bright cells' anchors.
    class Bright(Trunk):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images

    class Cells(Head):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            grid = torch.nn.functional.avg_pool2d(features, 16)
            return torch.cat([torch.zeros_like(grid), torch.zeros_like(grid), grid * 40 - 20], dim=1)

    config = NetworkConfig(width=2)
    image = torch.zeros(100, 150)
    image[32:48, 64:80] = 1  # the cell (2, 4) of the micrograph, whose margin is two whole cells
    found = detect(Bright(config), {"a": Cells(config)}, image, Background(0.0, 0.0), 21.0)["a"]
    assert found.xy.tolist() == [anchor_centres((7, 10))[2, 4].tolist()]
