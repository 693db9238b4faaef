"""The trunk over an image too large for one pass, band of rows by band of rows, with the same result.

Group normalisation needs the mean and variance of a whole feature map, so tiles that pass through the network one
after the other, each normalised by itself, would not pick what one pass picks. Here the bands overlap by the reach of
one pair of convolutions, a pair is applied to all bands before the next one, and each normalisation uses the statistics
of the whole map. Fewer than three feature maps are held, where one pass holds four.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hydrapicker_core.network import ConvPair, ResidualBlock, Trunk

Rows = slice
Affine = tuple[Float[Tensor, " c 1 1"], Float[Tensor, " c 1 1"]]


@torch.no_grad()
def trunk_in_bands(trunk: Trunk, image: Float[Tensor, "1 h w"], band_rows: int) -> Float[Tensor, "c h w"]:
    """The trunk's features of one image, computed `band_rows` rows at a time."""
    x = _pair_in_bands(trunk.stem, image, band_rows)
    _in_place(x, _normalisation(trunk.norm, x, band_rows), band_rows)
    for block in trunk.blocks:
        assert isinstance(block, ResidualBlock)  # a ModuleList forgets what it holds
        y = _pair_in_bands(block.pair1, x, band_rows)
        _in_place(y, _normalisation(block.norm1, y, band_rows), band_rows)
        _pair_over_itself(block.pair2, y, band_rows)
        scale, shift = _normalisation(block.norm2, y, band_rows)
        for rows in _bands(x.shape[1], band_rows):
            x[:, rows] = torch.relu(x[:, rows] + (y[:, rows] * scale + shift))
        del y
    return x


def _bands(height: int, band_rows: int) -> Iterator[Rows]:
    return (slice(top, min(height, top + band_rows)) for top in range(0, height, band_rows))


def _pair_in_bands(pair: ConvPair, x: Float[Tensor, "i h w"], band_rows: int) -> Float[Tensor, "c h w"]:
    height, width = x.shape[1:]
    out = x.new_empty((pair.channels_out, height, width))
    for rows in _bands(height, band_rows):
        top = max(0, rows.start - ConvPair.HALO)
        bottom = min(height, rows.stop + ConvPair.HALO)
        out[:, rows] = pair(x[None, :, top:bottom])[0, :, rows.start - top : rows.stop - top]
    return out


def _pair_over_itself(pair: ConvPair, x: Float[Tensor, "c h w"], band_rows: int) -> None:
    # The rows above a band are overwritten before the band needs them, so they are kept aside.
    height = x.shape[1]
    above = x[:, :0].clone()
    for rows in _bands(height, band_rows):
        source = torch.cat([above, x[:, rows.start : min(height, rows.stop + ConvPair.HALO)]], dim=1)
        first, after = above.shape[1], above.shape[1] + rows.stop - rows.start
        above = source[:, max(0, after - ConvPair.HALO) : after]
        x[:, rows] = pair(source[None])[0, :, first:after]


def _normalisation(norm: nn.GroupNorm, x: Float[Tensor, "c h w"], band_rows: int) -> Affine:
    mean = torch.stack([_total(x[:, rows]) for rows in _bands(x.shape[1], band_rows)]).sum(0)
    square = torch.stack([_total(x[:, rows].square()) for rows in _bands(x.shape[1], band_rows)]).sum(0)
    count = x[0].numel() * x.shape[0] // norm.num_groups
    group_mean = mean.reshape(norm.num_groups, -1).sum(1) / count
    variance = square.reshape(norm.num_groups, -1).sum(1) / count - group_mean.square()
    deviation = torch.rsqrt(variance.clamp(min=0) + norm.eps)
    channels = x.shape[0] // norm.num_groups
    scale = norm.weight * deviation.repeat_interleave(channels).to(x.dtype)
    shift = norm.bias - group_mean.repeat_interleave(channels).to(x.dtype) * scale
    return scale[:, None, None], shift[:, None, None]


def _total(x: Float[Tensor, "c h w"]) -> Float[Tensor, " c"]:
    # In double precision: a map may have 10^8 values.
    return x.double().sum(dim=(1, 2))


def _in_place(x: Float[Tensor, "c h w"], affine: Affine, band_rows: int) -> None:
    scale, shift = affine
    for rows in _bands(x.shape[1], band_rows):
        x[:, rows] = torch.relu(x[:, rows] * scale + shift)
