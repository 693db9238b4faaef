"""The fast trunk against the plain one and against double precision."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch

from hydrapicker_core import fast_trunk as module
from hydrapicker_core import inference
from hydrapicker_core.fast_trunk import fast_trunk
from hydrapicker_core.inference import InferenceConfig, detect, head_outputs
from hydrapicker_core.network import GENERIC, MultiHeadNetwork, NetworkConfig, channels_last
from hydrapicker_core.preprocess import Background


@pytest.fixture(scope="module")
def network() -> MultiHeadNetwork:
    """Its normalisations' and convolutions' parameters all matter."""
    torch.manual_seed(0)
    network = MultiHeadNetwork(NetworkConfig(width=32), ["a"]).eval()
    for each in network.modules():
        if isinstance(each, torch.nn.GroupNorm):
            torch.nn.init.normal_(each.weight, mean=1.0, std=0.3)
            torch.nn.init.normal_(each.bias, std=0.3)
        if isinstance(each, torch.nn.Conv2d):
            torch.nn.init.normal_(each.bias, std=0.3)  # type: ignore[arg-type]  # a default Conv2d has one
    return channels_last(network)


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def image_of(height: int, width: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(height, width, generator=torch.Generator().manual_seed(seed))


# One tile; less, just, and more than a band; rows of tiles that do not divide into equal parts.
@pytest.mark.parametrize("shape", [(4, 4), (16, 16), (64, 20), (68, 36), (100, 228), (132, 12)])
def test_features_are_the_plain_trunks_also_at_borders(
    network: MultiHeadNetwork, threads: int, shape: tuple[int, int]
) -> None:
    image = image_of(*shape)
    with torch.no_grad():
        exact = copy.deepcopy(network.trunk).double()(image.double()[None, None])[0]
        plain = network.trunk(image[None, None])[0]
    framed = fast_trunk(network.trunk, image)
    torch.testing.assert_close(framed[:, 1:-1, 1:-1], plain, rtol=0, atol=3e-4)
    # No worse than some tens of roundings of float32, of values up to about 5.
    assert (framed[:, 1:-1, 1:-1] - exact).square().mean().sqrt() < 2e-5
    assert torch.equal(framed, torch.nn.functional.pad(framed[:, 1:-1, 1:-1], (1, 1, 1, 1)))
    assert torch.get_num_threads() == threads


def test_the_number_of_threads_changes_no_bit(network: MultiHeadNetwork) -> None:
    image, before, found = image_of(80, 48), torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(fast_trunk(network.trunk, image))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


def test_a_large_mean_costs_the_normalisation_nothing(network: MultiHeadNetwork) -> None:
    trunk = copy.deepcopy(network.trunk)
    with torch.no_grad():
        trunk.stem[1].bias += 1000.0  # type: ignore[union-attr,operator]
        plain = copy.deepcopy(trunk).double()(image_of(32, 32).double()[None, None])[0]
    found = fast_trunk(trunk, image_of(32, 32))[:, 1:-1, 1:-1]
    assert (found - plain).square().mean().sqrt() < 2e-3


def test_picks_are_those_of_the_plain_network(network: MultiHeadNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    image = image_of(75, 141, seed=2)
    heads = {"a": network.head("a"), GENERIC: network.generic}
    passes: list[tuple[int, ...]] = []
    noted = noting(passes)
    monkeypatch.setattr(inference, "_fast_trunk", lambda: noted)
    fast = detect(network.trunk, heads, image, Background(0.0, 1.0), 21.0, InferenceConfig(score_floor=0.0))
    assert passes == [(144, 208)], "one pass through the fast trunk for all heads"
    monkeypatch.setattr(inference, "_fast_trunk", lambda: None)
    plain = detect(network.trunk, heads, image, Background(0.0, 1.0), 21.0, InferenceConfig(score_floor=0.0))
    for name in heads:
        assert len(fast[name].xy) > 10
        torch.testing.assert_close(fast[name].score, plain[name].score, rtol=0, atol=1e-4)  # as its docs say
        torch.testing.assert_close(fast[name].xy, plain[name].xy, rtol=0, atol=1e-2)


def noting(passes: list[tuple[int, ...]]) -> Callable[..., torch.Tensor]:
    def noted(trunk: object, image: torch.Tensor) -> torch.Tensor:
        passes.append(tuple(image.shape))
        return fast_trunk(trunk, image)  # type: ignore[arg-type]

    return noted


def test_narrow_networks_and_other_types_take_the_plain_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[tuple[int, ...]] = []
    noted = noting(passes)
    monkeypatch.setattr(inference, "_fast_trunk", lambda: noted)
    narrow = MultiHeadNetwork(NetworkConfig(width=4)).eval()
    head_outputs(narrow.trunk, {"": narrow.generic}, image_of(16, 16), 1.0)
    wide = MultiHeadNetwork(NetworkConfig(width=32)).double().eval()
    head_outputs(wide.trunk, {"": wide.generic}, image_of(16, 16).double(), 1.0)
    assert passes == []


def test_without_numba_the_plain_trunk_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "hydrapicker_core.fast_trunk", None)
    assert inference._fast_trunk.__wrapped__() is None


def test_an_error_of_a_worker_is_everybodys(network: MultiHeadNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(module.kernels, "tiles_to_winograd", failing)
    with pytest.raises(MemoryError):
        fast_trunk(network.trunk, image_of(16, 16))


def test_the_transforms_are_those_of_the_polynomials() -> None:
    # Independent: F(4, 3) says that A^T [(G g) * (B^T d)] is the valid correlation of six samples with three weights.
    rng = np.random.default_rng(0)
    d, g = rng.normal(size=(6, 6)), rng.normal(size=(3, 3))
    source, v = np.zeros((6, 6, 1), np.float32), np.empty((6, 6, 1, 1), np.float32)
    source[..., 0] = d
    module.kernels.tiles_to_winograd(source, 0, 0, np.empty((6, 6, 1), np.float32), v)
    products = (v[..., 0, 0] * (module._G.numpy() @ g @ module._G.numpy().T)).astype(np.float32)[..., None, None]
    target = np.zeros((6, 6, 1), np.float32)
    module.kernels.winograd_to_tiles(products, np.ones(1, np.float32), np.empty((6, 4, 1), np.float32), target, 0, 0)
    expected = [[(d[y : y + 3, x : x + 3] * g).sum() + 1 for x in range(4)] for y in range(4)]
    np.testing.assert_allclose(target[1:-1, 1:-1, 0], expected, atol=1e-4)
