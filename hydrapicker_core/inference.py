"""Whole micrographs through the network, at any size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hydrapicker_core.bands import trunk_in_bands
from hydrapicker_core.detection import (
    MIN_DISTANCE_BOXES,
    SCORE_FLOOR,
    Detections,
    decode,
    inside,
    suppress_duplicates,
)
from hydrapicker_core.errors import InvalidInputError
from hydrapicker_core.network import CELL_PX, Head, Trunk
from hydrapicker_core.preprocess import Background, pad_with_background

MARGIN_PX = 2 * CELL_PX
"""Background noise put around a micrograph, so that particles at its edges are seen with surroundings."""

_MAPS_IN_ONE_PASS = 4
_BAND_PX = 2**16
_PADDING_SEED = 0
_LEAST_FAST_WIDTH = 32
"""Of narrower networks, plain convolutions take no longer."""


@dataclass(frozen=True)
class InferenceConfig:
    """How whole micrographs are picked.

    Attributes:
        score_floor: Detections below this probability are not kept at all.
        min_distance_boxes: Least distance between two detections, in boxes.
        memory_bound_gib: Above this estimate of one pass's feature maps the trunk works band by band (the fast trunk
            always does).
    """

    score_floor: float = SCORE_FLOOR
    min_distance_boxes: float = MIN_DISTANCE_BOXES
    memory_bound_gib: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.score_floor <= 1:
            raise InvalidInputError(f"score_floor {self.score_floor} is not in [0, 1]: give 0.01")
        if not self.min_distance_boxes >= 0:
            raise InvalidInputError(
                f"min_distance_boxes {self.min_distance_boxes} is negative: give 0.6, or 0 for none"
            )


@torch.no_grad()
def head_outputs(
    trunk: Trunk, heads: Mapping[str, Head], image: Float[Tensor, "h w"], memory_bound_gib: float
) -> dict[str, Float[Tensor, "3 gy gx"]]:
    """Output of several heads on one image whose sides are multiples of 16, with one pass through the trunk.

    Trunk and heads must be in evaluation mode. On a CPU and with Numba at hand, the trunk is
    :func:`hydrapicker_core.fast_trunk.fast_trunk`, unless the network is narrow.
    """
    framed = _framed_features(trunk, image)
    if framed is not None:
        return {name: _on_framed(head, framed) for name, head in heads.items()}
    features = _plain_features(trunk, image, memory_bound_gib)
    return {name: head(features)[0] for name, head in heads.items()}


@torch.no_grad()
def trunk_features(trunk: Trunk, image: Float[Tensor, "h w"], memory_bound_gib: float) -> Float[Tensor, "1 c h w"]:
    """Features of one image, of the trunk that :func:`head_outputs` takes."""
    framed = _framed_features(trunk, image)
    return _plain_features(trunk, image, memory_bound_gib) if framed is None else framed[None, :, 1:-1, 1:-1]


def _framed_features(trunk: Trunk, image: Float[Tensor, "h w"]) -> Float[Tensor, "c h2 w2"] | None:
    """The fast trunk's features with a frame of zeros, where it is to be had and worth it."""
    fast_trunk = _fast_trunk()
    if fast_trunk and trunk.config.width >= _LEAST_FAST_WIDTH and image.is_cpu and image.dtype == torch.float32:
        return fast_trunk(trunk, image)
    return None


def _plain_features(trunk: Trunk, image: Float[Tensor, "h w"], memory_bound_gib: float) -> Float[Tensor, "1 c h w"]:
    """Features of one image; above the bound the trunk works band by band, with the same result."""
    map_bytes = image.numel() * trunk.config.width * image.element_size()
    if map_bytes * _MAPS_IN_ONE_PASS <= memory_bound_gib * 2**30:
        return trunk(image[None, None])  # type: ignore[no-any-return]  # nn.Module calls are untyped
    return trunk_in_bands(trunk, image[None], max(1, _BAND_PX // image.shape[1]))[None]


@cache
def _fast_trunk() -> Callable[[Trunk, Tensor], Tensor] | None:
    try:
        from hydrapicker_core.fast_trunk import fast_trunk
    except (ImportError, RuntimeError):  # the second where Numba finds no folder to keep in what it compiles
        return None
    return fast_trunk


def _on_framed(head: Head, framed: Float[Tensor, "c h2 w2"]) -> Float[Tensor, "3 gy gx"]:
    """A head's output on features that have the first convolution's zeros around them already."""
    convolution, *after = head.blocks[0].children()
    assert isinstance(convolution, nn.Conv2d)
    x = nn.functional.conv2d(framed[None], convolution.weight, convolution.bias, convolution.stride)
    for module in (*after, *head.blocks[1:], head.out):
        x = module(x)
    return x[0]


@dataclass(frozen=True, eq=False)
class PaddedImage:
    """A normalised image with a margin of background noise, its sides multiples of 16.

    Attributes:
        image: The padded image.
        shape: (height, width) of the image inside the margin, which starts at (MARGIN_PX, MARGIN_PX).
    """

    image: Float[Tensor, "h w"]
    shape: tuple[int, int]

    def crop_coordinates(self, detections: Detections) -> Detections:
        """Detections in pixels of the image without its margin; those on the margin are dropped."""
        xy = detections.xy - MARGIN_PX
        keep = inside(xy, self.shape)
        return Detections(xy[keep], detections.score[keep])


def pad(image: Float[Tensor, "h w"], background: Background) -> PaddedImage:
    """Surround a normalised image with its background's noise; the same image gives the same noise."""
    height, width = image.shape
    padded = tuple(-(-(side + 2 * MARGIN_PX) // CELL_PX) * CELL_PX for side in (height, width))
    generator = torch.Generator().manual_seed(_PADDING_SEED)
    noisy = pad_with_background(
        image, background, before=(MARGIN_PX, MARGIN_PX), shape=(padded[0], padded[1]), generator=generator
    )
    return PaddedImage(noisy, (height, width))


def detect(
    trunk: Trunk,
    heads: Mapping[str, Head],
    image: Float[Tensor, "h w"],
    background: Background,
    box_px: float,
    config: InferenceConfig | None = None,
    excluded: Bool[Tensor, "h w"] | None = None,
) -> dict[str, Detections]:
    """Detections of several heads on a whole normalised image, in that image's pixels.

    The network runs where its weights are, everything else where the image is.

    Args:
        trunk: In evaluation mode.
        heads: By dataset name, in evaluation mode.
        image: Normalised, at working scale, any size.
        background: The image's background, for the noise around it.
        box_px: Side of a particle's box in working pixels.
        config: Score floor, minimum distance and memory bound.
        excluded: True where no particle can be: no detection is centred there, nor keeps another away.
    """
    config = config or InferenceConfig()
    padded = pad(image, background)
    weights = next(trunk.parameters())
    outputs = head_outputs(trunk, heads, padded.image.to(weights.device), config.memory_bound_gib)
    return {
        name: decode_padded(output.to(image.device), padded, box_px, config, excluded)
        for name, output in outputs.items()
    }


def decode_padded(
    output: Float[Tensor, "3 gy gx"],
    padded: PaddedImage,
    box_px: float,
    config: InferenceConfig,
    excluded: Bool[Tensor, "h w"] | None = None,
) -> Detections:
    """Detections from a head's output on a padded image, in pixels of the image without its margin."""
    detections = padded.crop_coordinates(decode(output, config.score_floor))
    if excluded is not None:
        column, row = detections.xy.round().long().unbind(dim=1)
        allowed = ~excluded[row, column]
        detections = Detections(detections.xy[allowed], detections.score[allowed])
    return suppress_duplicates(detections, config.min_distance_boxes * box_px)
