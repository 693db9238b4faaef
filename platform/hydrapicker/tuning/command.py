"""A config as the command that gives it."""

import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from hydrapicker.training.config import PRESETS, TrainConfig

_ALWAYS = "--loss.lambda-bias"
"""Said even where it is the default: it is what was searched for."""


def train_command(config: TrainConfig) -> str:
    """The shortest ``hydrapicker train`` command that gives `config`: a preset, and options for what differs."""
    candidates = [
        ["--preset", name, *_options(config, preset())] for name, preset in sorted(PRESETS.items(), reverse=True)
    ]
    return shlex.join(["hydrapicker", "train", *min(candidates, key=len)])


def _options(config: Any, default: Any, prefix: str = "--") -> Iterator[str]:
    for entry in fields(config):
        value, usual = getattr(config, entry.name), getattr(default, entry.name)
        name = prefix + entry.name.replace("_", "-")
        if is_dataclass(value):
            yield from _options(value, usual, f"{name}.")
        elif value != usual or name == _ALWAYS:
            yield from _option(name, value, usual)


def _option(name: str, value: Any, usual: Any) -> Iterator[str]:
    if isinstance(usual, bool):
        head, _, last = name.rpartition("." if "." in name else "--")
        yield name if value else f"{head}.no-{last}" if "." in name else f"--no-{last}"
        return
    yield name
    if isinstance(value, tuple):
        yield from map(str, value)
    else:
        yield str(value)
