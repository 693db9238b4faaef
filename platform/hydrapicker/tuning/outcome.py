"""What became of the trials, and which was best."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydrapicker.tuning.settings import Settings


@dataclass(frozen=True)
class Outcome:
    """The end of one trial.

    Attributes:
        number: Of the trial, from 1, in the order of their beginnings.
        settings: What it tried.
        epochs: Of stage 2 that it trained.
        complete: Whether these were all of them.
        generic_ap: The generic head's AP on the targets, averaged; None where the trial came to nothing.
        own_ap: The own heads' AP on the sources, averaged; None likewise.
        generic: The generic head's AP per target.
        own: The own head's AP per source.
        failure: Why it came to nothing; empty for most.
    """

    number: int
    settings: Settings
    epochs: int
    complete: bool
    generic_ap: float | None
    own_ap: float | None
    generic: dict[str, float]
    own: dict[str, float]
    failure: str = ""

    @property
    def ending(self) -> str:
        """How it ended, in a few words."""
        if self.failure:
            return self.failure
        return "complete" if self.complete else f"stopped at epoch {self.epochs}"


def best_of(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The complete trial whose generic head is best on the targets, the first of equals; None where none is complete.

    A trial that was stopped early is no candidate: it was behind when it was, and its figures are of another epoch.
    """
    complete = [outcome for outcome in outcomes if outcome.complete and outcome.generic_ap is not None]
    return max(complete, key=lambda outcome: outcome.generic_ap or 0.0, default=None)


def table(outcomes: Sequence[Outcome], names: Sequence[str]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Columns and rows, by lambda_bias; `names` are the settings that were varied."""
    best = best_of(outcomes)
    columns = ("trial", *names, "generic head's AP on targets", "own heads' AP on sources", "ended", "")
    rows = [
        (
            outcome.number,
            *(_shown(getattr(outcome.settings, name)) for name in names),
            outcome.generic_ap,
            outcome.own_ap,
            outcome.ending,
            "best" if outcome is best else "",
        )
        for outcome in sorted(outcomes, key=lambda outcome: (outcome.settings.lambda_bias, outcome.number))
    ]
    return columns, rows


def as_csv(outcomes: Sequence[Outcome], names: Sequence[str]) -> str:
    """All figures of all trials, in the order of their beginnings."""
    targets = sorted({name for outcome in outcomes for name in outcome.generic})
    sources = sorted({name for outcome in outcomes for name in outcome.own})
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    per_dataset_names = [*(f"generic_ap.{name}" for name in targets), *(f"own_ap.{name}" for name in sources)]
    write(["trial", *names, "epochs", "ended", "generic_ap", "own_ap", *per_dataset_names])
    for outcome in outcomes:
        settings = [getattr(outcome.settings, name) for name in names]
        per_dataset = [*(outcome.generic.get(name) for name in targets), *(outcome.own.get(name) for name in sources)]
        figures = [outcome.generic_ap, outcome.own_ap, *per_dataset]
        write([outcome.number, *settings, outcome.epochs, outcome.ending, *figures])
    return text.getvalue()


def _shown(value: float | str) -> object:
    # A weight of 0.0012 is no 0.001: three significant digits, as a string.
    return f"{value:.3g}" if isinstance(value, float) else value
