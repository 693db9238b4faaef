"""Weights to safetensors bytes and back.

The header carries what the weights mean (architecture, input, trunk), so that the sha256 of the bytes vouches
for that too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hydrapicker_registry.errors import PackageError

if TYPE_CHECKING:
    import torch

# One key only: safetensors writes several in no fixed order, and the same weights shall give the same bytes
_CONTRACT_KEY = "hydrapicker"


def serialise_weights(weights: Mapping[str, torch.Tensor], contract: Mapping[str, object]) -> bytes:
    """Return the safetensors bytes; the same weights and contract give the same bytes.

    Raises
    ------
    PackageError
        For no weights at all, or weights that are not finite.
    """
    from safetensors.torch import save

    _validate(weights, "weights")
    # clones, for safetensors refuses tensors that share memory
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    data: bytes = save(tensors, metadata={_CONTRACT_KEY: _canonical(contract)})
    return data


def parse_weights(data: bytes, contract: Mapping[str, object], where: str) -> dict[str, torch.Tensor]:
    """Return the tensors of safetensors bytes whose header carries `contract`.

    Raises
    ------
    PackageError
        For a pickle, anything else that is not safetensors, tensors that do not fit the file exactly, weights
        that are not finite, and another contract in the header.
    """
    if data[:1] == b"\x80" or data[:4] == b"PK\x03\x04":
        raise PackageError(f"{where}: holds a pickle, which is never loaded; expected safetensors")
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        weights: dict[str, torch.Tensor] = load(data)
    except (SafetensorError, KeyError) as error:  # KeyError: a number format that torch does not have
        raise PackageError(f"{where}: not readable as safetensors ({error}); get the package again") from error
    # safetensors has checked the header's length and JSON
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    if header.get("__metadata__") != {_CONTRACT_KEY: _canonical(contract)}:
        raise PackageError(
            f"{where}: these weights belong to another architecture, input or trunk than the package states; "
            "get the package again"
        )
    _validate(weights, where)
    return weights


def _validate(weights: Mapping[str, torch.Tensor], where: str) -> None:
    import numpy as np

    if not weights:
        raise PackageError(f"{where}: holds no weights")
    for name, tensor in weights.items():
        # numpy works in this thread: torch's own would wait for cores that others use
        if tensor.is_floating_point() and not np.isfinite(tensor.detach().float().cpu().numpy()).all():
            raise PackageError(f"{where}: {name} holds NaN or infinity; the training diverged, train again")


def _canonical(contract: Mapping[str, object]) -> str:
    return json.dumps(contract, sort_keys=True, separators=(",", ":"), allow_nan=False)
