"""How micrographs come from the store to the trainer; the command line's options are made of this class."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from hydrapicker.errors import InvalidInputError
from hydrapicker.streaming.plan import Sampling

__all__ = ["StreamingConfig"]


@dataclass(frozen=True)
class StreamingConfig:
    """How an epoch is ordered, and how its micrographs are read.

    Attributes:
        sampling: proportional (every micrograph once per epoch), balanced (all datasets alike), or a temperature of
            at least 1 between the two (1 is proportional).
        shuffle_window: Micrographs of a dataset that are shuffled together; larger mixes better, smaller reads
            neighbours together.
        buffer_megabytes: Most that is held of micrographs that were read ahead or are on their way, per worker.
        connections: Requests to a remote store that are under way at once, per worker.
        cache: Folder on a local disk that keeps micrographs of a remote store, shared by the workers of a machine;
            without it nothing is kept.
        cache_gigabytes: Most that the cache holds; what was used longest ago makes room.
        retry_seconds: How long a request that fails in a way that may pass is tried again.
    """

    sampling: Sampling = "proportional"
    shuffle_window: int = 4096
    buffer_megabytes: float = 256
    connections: int = 8
    cache: str | None = None
    cache_gigabytes: float = 50
    retry_seconds: float = 60

    def __post_init__(self) -> None:
        if isinstance(self.sampling, str):
            if self.sampling not in ("proportional", "balanced"):
                raise InvalidInputError(
                    f"sampling {self.sampling!r} is not known: give proportional, balanced, or a temperature such as 2"
                )
        elif not 1 <= self.sampling < math.inf:
            raise InvalidInputError(
                f"sampling {self.sampling} is no temperature of at least 1: give 1 for proportional, 2 for something "
                "between, or balanced"
            )
        if self.shuffle_window < 1:
            raise InvalidInputError(f"shuffle_window {self.shuffle_window} is not positive: give 4096")
        if not 1 <= self.connections <= 256:
            raise InvalidInputError(f"connections {self.connections} is not between 1 and 256: give 8")
        for name, example in (("buffer_megabytes", 256), ("cache_gigabytes", 50)):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidInputError(f"{name} {getattr(self, name)} is not positive: give {example}")
        if not 0 <= self.retry_seconds < math.inf:
            raise InvalidInputError(f"retry_seconds {self.retry_seconds} is negative: give 60, or 0 to never try again")
        if self.cache == "":
            raise InvalidInputError("cache is an empty name: give a folder, or leave it out")

    def from_any_folder(self) -> "StreamingConfig":
        """Return the same with a cache that is found from any working folder; Ray's workers have their own."""
        return self if self.cache is None else replace(self, cache=str(Path(self.cache).expanduser().absolute()))
