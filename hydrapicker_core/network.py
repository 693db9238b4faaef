"""The network: one trunk, one head per dataset, and the generic head (paper, section 3.1).

The trunk keeps the micrograph's resolution (stride 1); a head reduces it to one cell per 16 x 16 pixels and gives three
numbers for each: the offset of the box from the cell's anchor (x, y) and the log-odds of a particle.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from hydrapicker_core.errors import InvalidInputError

CELL_PX = 16
"""Side of a head's cell, in working pixels: four convolutions of stride 2."""

Module = TypeVar("Module", bound=nn.Module)

GENERIC = "generic"
"""Dataset name of the generic head (the paper's generalization head)."""


@dataclass(frozen=True)
class NetworkConfig:
    """The size of the network.

    Attributes:
        width: Channels of the trunk; a head's blocks have 2, 4, 8 and 16 times as many. The paper has 64.
        dropout: Probability with which a head's activations are dropped in training.
        norm_groups: Groups of each group normalisation; fewer where that would leave a group with one channel.
        norm_eps: Added to the variance in group normalisation.
        initial_log_odds: A new head's log-odds of a particle before it has seen any (class bias).
    """

    width: int = 64
    dropout: float = 0.3
    norm_groups: int = 32
    norm_eps: float = 1e-5
    initial_log_odds: float = -4.0

    def __post_init__(self) -> None:
        if self.width < 2 or self.width % 2:
            raise InvalidInputError(f"network width {self.width} is not a positive even number: give 64, 32, 16 …")
        if not 0 <= self.dropout < 1:
            raise InvalidInputError(f"dropout {self.dropout} is not in [0, 1): give 0.3, as the method's authors")
        if not (math.isfinite(self.initial_log_odds) and self.norm_eps > 0):
            raise InvalidInputError("initial_log_odds must be a number and norm_eps positive: give -4 and 1e-5")
        if self.norm_groups < 1:
            raise InvalidInputError(f"norm_groups {self.norm_groups} is not positive: give 32")

    def as_dict(self) -> dict[str, Any]:
        """The config as plain values, for a package's metadata."""
        return asdict(self)


def _group_norm(channels: int, config: NetworkConfig) -> nn.GroupNorm:
    # A group of one channel would be instance normalisation and lose how strongly that channel answers.
    groups = math.gcd(config.norm_groups, channels // 2)
    return nn.GroupNorm(groups, channels, eps=config.norm_eps)


class ConvPair(nn.Sequential):
    """Two stacked 3x3 convolutions with no non-linearity between them (an effective 5x5)."""

    HALO = 2
    """Rows and columns of input around an output pixel that it depends on."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
        )
        self.channels_out = channels_out


class ResidualBlock(nn.Module):
    """Two pairs, each normalised, around which a shortcut is added."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.pair1 = ConvPair(config.width, config.width)
        self.norm1 = _group_norm(config.width, config)
        self.pair2 = ConvPair(config.width, config.width)
        self.norm2 = _group_norm(config.width, config)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Apply the block."""
        y = torch.relu(self.norm1(self.pair1(x)))
        return torch.relu(x + self.norm2(self.pair2(y)))


class Trunk(nn.Module):
    """The feature extractor shared by all datasets: a stem of one pair, then three residual blocks."""

    BLOCKS = 3

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = ConvPair(1, config.width)
        self.norm = _group_norm(config.width, config)
        self.blocks = nn.ModuleList(ResidualBlock(config) for _ in range(self.BLOCKS))

    def forward(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b c h w"]:
        """Features of normalised images, at the images' own resolution."""
        x = torch.relu(self.norm(self.stem(images)))
        for block in self.blocks:
            x = block(x)
        return x


class Head(nn.Module):
    """The detector of one dataset: four blocks of stride 2, then three numbers per cell of 16 x 16 pixels."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        channels = [config.width * 2**k for k in range(5)]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1),
                nn.ReLU(inplace=True),
                _group_norm(channels_out, config),
                nn.Dropout(config.dropout),
            )
            for channels_in, channels_out in itertools.pairwise(channels)
        )
        self.out = nn.Conv2d(channels[-1], 3, 3, padding=1)
        if self.out.weight.is_meta:  # waits for weights; to draw numbers there, torch would import its compiler: 1 s
            return
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]  # a Conv2d made with its default bias has one
        with torch.no_grad():
            self.out.bias[2] = config.initial_log_odds  # type: ignore[index]  # the same

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 gy gx"]:
        """Per cell: offset x and offset y before their tanh, and log-odds of a particle."""
        x = features
        for block in self.blocks:
            x = block(x)
        return self.out(x)  # type: ignore[no-any-return]  # nn.Module calls are untyped


class MultiHeadNetwork(nn.Module):
    """A trunk and its heads by dataset name; the generic head is one of them, named ``generic``.

    Args:
        config: Size of trunk and heads.
        datasets: Names of the datasets that get a head of their own; the generic head is always there.
    """

    def __init__(self, config: NetworkConfig, datasets: Iterable[str] = ()) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk(config)
        self._heads = nn.ModuleDict()
        for name in (GENERIC, *datasets):
            self.add_head(name, Head(config))

    def add_head(self, name: str, head: Head) -> None:
        """Put `head` under a dataset's name; raises :class:`InvalidInputError` when the name is taken."""
        if _key(name) in self._heads:
            raise InvalidInputError(f"the network already has a head named {name!r}: give each dataset once")
        self._heads[_key(name)] = head

    def head(self, name: str) -> Head:
        """The head of a dataset (or ``generic``)."""
        head = self._heads[_key(name)]
        assert isinstance(head, Head)
        return head

    @property
    def generic(self) -> Head:
        """The generic head."""
        return self.head(GENERIC)

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the datasets with a head of their own, in the order they were added."""
        return tuple(name for name in map(_name, self._heads) if name != GENERIC)

    def dataset_heads(self) -> Iterator[Head]:
        """The heads of :attr:`datasets`, in that order."""
        return (self.head(name) for name in self.datasets)

    def forward(self, images: Float[Tensor, "b 1 h w"], name: str) -> Float[Tensor, "b 3 gy gx"]:
        """Output of one dataset's head on a minibatch."""
        return self.head(name)(self.trunk(images))  # type: ignore[no-any-return]  # nn.Module calls are untyped


def multi_head_from_single(single: MultiHeadNetwork, datasets: Iterable[str]) -> MultiHeadNetwork:
    """Stage 2's network: stage 1's trunk, and every head (generic included) initialised from stage 1's only head."""
    network = MultiHeadNetwork(single.config, datasets)
    network.trunk.load_state_dict(single.trunk.state_dict())
    for name in (GENERIC, *network.datasets):
        network.head(name).load_state_dict(single.generic.state_dict())
    return network


def channels_last(module: Module) -> Module:
    """The same module with its weights in channels-last memory, in which convolutions are faster on CPU and GPU."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # torch's stub


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], described_as: str) -> None:
    """Load weights strictly: the same keys, shapes and types, or :class:`InvalidInputError` naming `described_as`.

    A module on the device "meta", which has no numbers of its own yet, takes the tensors themselves, uncopied.
    """
    own = module.state_dict()
    for key in sorted(own.keys() ^ weights.keys()):
        problem = "lacks" if key in own else "has the unknown"
        raise InvalidInputError(f"{described_as} {problem} tensor {key!r}: it was made for another architecture")
    for key, value in weights.items():
        if value.shape != own[key].shape or value.dtype != own[key].dtype:
            raise InvalidInputError(
                f"{described_as} holds {key!r} as {value.dtype} {tuple(value.shape)}, not {own[key].dtype} "
                f"{tuple(own[key].shape)}: it was made for another architecture"
            )
        # numpy works in this thread: torch's own would wait for cores that others use
        if not np.isfinite(value.detach().float().cpu().numpy()).all():
            raise InvalidInputError(f"{described_as} holds NaN or infinite values in {key!r}: take another version")
    module.load_state_dict(dict(weights), assign=any(parameter.is_meta for parameter in module.parameters()))


# A ModuleDict's keys hold no dot and are no name of its attributes, a dataset's may be both; it never holds "%".
def _key(name: str) -> str:
    return "%" + name.replace(".", "%2E")


def _name(key: str) -> str:
    return key.removeprefix("%").replace("%2E", ".")
