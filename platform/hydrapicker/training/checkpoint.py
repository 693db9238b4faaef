"""What a checkpoint holds and how it is written and read.

A folder of safetensors and JSON: the network, the best network so far, the optimiser, the position, the record. Random
numbers are functions of seed and position, so no generator's state is kept.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Weights = dict[str, Tensor]


@dataclass
class Progress:
    """Position of a run and what it has recorded.

    Attributes:
        phase: Index of the phase in training.
        epoch: Epochs of that phase that are done.
        best_loss: Least validation loss of that phase, its start included where that was trained.
        best_epoch: Epochs done when it was reached; 0 for the phase's start.
        history: One entry per finished epoch.
    """

    phase: int = 0
    epoch: int = 0
    best_loss: float = float("inf")
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


def save_checkpoint(
    folder: Path, progress: Progress, network: Weights, best: Weights, optimiser: torch.optim.Optimizer
) -> None:
    """Write a checkpoint into an empty folder, its progress last."""
    save_file(stored(network), folder / "network.safetensors")
    save_file(stored(best), folder / "best.safetensors")
    save_file(_flatten(optimiser), folder / "optimiser.safetensors")
    (folder / "progress.json").write_text(json.dumps(asdict(progress)))


def load_progress(folder: Path) -> Progress:
    """The position and record of a checkpoint."""
    return Progress(**json.loads((folder / "progress.json").read_text()))


def load_weights_of(folder: Path, which: str) -> Weights:
    """The weights called ``network`` or ``best``."""
    return load_file(folder / f"{which}.safetensors")


def load_optimiser(folder: Path, optimiser: torch.optim.Optimizer) -> None:
    """Put a checkpoint's state into an optimiser over the same parameters."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in load_file(folder / "optimiser.safetensors").items():
        index, name = key.split(".", 1)
        parameter = parameters[int(index)]
        # State must lie in memory as its weights do (channels last), or the fused optimiser mixes them up.
        state.setdefault(int(index), {})[name] = (
            torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
        )
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _flatten(optimiser: torch.optim.Optimizer) -> Weights:
    state = optimiser.state_dict()["state"]
    return stored(
        {f"{i}.{name}": value for i, entry in state.items() for name, value in entry.items() if torch.is_tensor(value)}
    )


def stored(weights: Mapping[str, Tensor]) -> Weights:
    """Copies of weights as files hold them: on the CPU, in NCHW order, sharing nothing."""
    # Cloned: safetensors refuses tensors that share storage, and channels-last memory is stored as NCHW.
    return {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
