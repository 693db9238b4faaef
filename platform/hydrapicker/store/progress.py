"""How long work on a store tells how far it has got."""

from collections.abc import Callable

__all__ = ["Progress", "untold"]

Progress = Callable[[int, int, str], None]
"""Called with (done, in all, label)."""


def untold(done: int, total: int, label: str) -> None:
    """Tell nobody."""
