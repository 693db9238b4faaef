"""``torch.compile``: what is compiled for training steps, and whether this machine can compile at all."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

from hydrapicker.errors import InvalidInputError

Code = TypeVar("Code", bound=Callable[..., Any])

# Dropout draws the random numbers that it draws uncompiled: a seed has one meaning.
_OPTIONS: dict[str, Any] = {"fallback_random": True}


def compiled(code: Code) -> Code:
    """A module or function whose calls are compiled, its first one for every shape of input; `code` itself stays."""
    return cast(Code, torch.compile(code, options=_OPTIONS))


def require_compiler(device: torch.device) -> None:
    """Compile something small, to learn it now where that is not possible.

    Raises:
        InvalidInputError: When it is not.
    """
    try:
        compiled(torch.sin)(torch.zeros(8, device=device))
    except (RuntimeError, OSError, ImportError) as error:
        cause = next((line for line in reversed(str(error).splitlines()) if "compiler" in line.lower()), "")
        reason = cause.strip() or type(error).__name__
        raise InvalidInputError(
            f"this machine cannot compile ({reason}): install a C++ compiler and Python's headers (g++, python3-dev), "
            "or train without --loop.compile"
        ) from error
