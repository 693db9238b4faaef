"""Micrographs that cannot be used: gathered with their reasons, so that one of them does not end the work on others."""

from collections.abc import Mapping
from dataclasses import dataclass

from hydrapicker.errors import MicrographError

__all__ = ["Unusable", "in_short", "unusable_error"]

_NAMED = 20


@dataclass(frozen=True)
class Unusable:
    """A micrograph that cannot be used: its id, and why in a few words."""

    id: str
    reason: str


def in_short(error: MicrographError, file: object) -> str:
    """Say what is wrong with a file, without its name and without what to do about it."""
    return str(error).removeprefix(f"{file}: ").partition("; ")[0]


def unusable_error(reasons: Mapping[str, str], total: int) -> MicrographError:
    """Name files that cannot be used, each with its reason, in one line; ``total`` is how many files there were."""
    named = [f"{file}: {reason}" for file, reason in list(reasons.items())[:_NAMED]]
    if len(reasons) > _NAMED:
        named.append(f"and {len(reasons) - _NAMED} more")
    return MicrographError(
        f"{len(reasons)} of {total} micrographs cannot be used ({'; '.join(named)}); mend them, or give "
        "--skip-unusable with the same command, which leaves them out and keeps what is done"
    )
