"""The cores of this machine that are ours."""

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["available_cores"]


def available_cores() -> int:
    """Count the cores this process may use: those it is bound to, or fewer by a container's quota."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        bound = min(bound, max(1, int(quota) // int(period)))  # "max" is no number: no quota
    return bound
