"""An epoch as one plain line, with the time that is left."""

import time
from typing import Any

from hydrapicker.training.recipe import Recipe


class Progress:
    """Turns epoch records into lines.

    Args:
        recipe: What is being trained, for the number of epochs to come.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._epochs = {phase.name: phase.stage.epochs for phase in recipe.phases}
        self._first: float | None = None
        self._seen = 0

    def line(self, record: dict[str, Any]) -> str:
        """One line: phase, epoch, losses, validation, speed, time left."""
        self._seen += 1
        phase, epoch = record["phase"], record["epoch"]
        parts = [f"{phase} {epoch}/{self._epochs[phase]}"]
        for name in ("localisation", "classification"):
            values = [losses[name] for losses in record["losses"].values()]
            parts.append(f"{name} {sum(values) / len(values):.3f}")
        if record["lost_particles"]:
            parts.append(f"{record['lost_particles']} of {record['particles']} particles without an anchor")
        if record["validation"] is not None:
            parts.append(f"validation loss {record['validation']['loss']:.3f}")
            for dataset, roles in record["validation"]["heads"].items():
                parts.append(f"AP {dataset} {roles['own']['ap']:.2f} (generic {roles['generic']['ap']:.2f})")
        parts.append(f"{record['micrographs_per_second']:.1f} micrographs/s")
        parts.append(f"{_minutes(self._left(record))} left")
        return "  ".join(parts)

    def _left(self, record: dict[str, Any]) -> float:
        names = list(self._epochs)
        later = names[names.index(record["phase"]) + 1 :]
        epochs: int = self._epochs[record["phase"]] - record["epoch"] + sum(self._epochs[name] for name in later)
        # The start of workers counts for nothing: the clock runs from the end of the first epoch that is seen.
        now = time.monotonic()
        if self._first is None:
            self._first = now
            return epochs * float(record["seconds"])
        return epochs * (now - self._first) / (self._seen - 1)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
