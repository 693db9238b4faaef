"""Which heads belong to the trunk that new heads are trained on."""

from __future__ import annotations

from collections.abc import Iterable

from hydrapicker_registry.names import GENERIC
from hydrapicker_registry.versions import HeadVersion


def newest_trunk(heads: Iterable[HeadVersion]) -> str | None:
    """Return the sha256 of the champion generic head's trunk, None without one among `heads`."""
    champions = (head for head in heads if head.dataset == GENERIC and "champion" in head.aliases)
    return next((head.trunk_sha256 for head in champions), None)


def is_behind(head: HeadVersion, newest: str | None) -> bool:
    """Whether a head belongs to another trunk than the one whose sha256 is `newest`; it keeps working all the same."""
    return newest is not None and head.trunk_sha256 != newest
