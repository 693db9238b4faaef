"""The gate: whether a contributed head may become champion, by its AP on micrographs that no head here was trained on.

A head passes when the AP of all its picks on the test micrographs is not below that of any rival on the same
micrographs. The estimate decides; its interval is put on record, and is wide where micrographs are few.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hydrapicker_core.bootstrap import Interval, MicrographPart, bootstrap_difference, drawn_average_precision
from hydrapicker_core.metrics import average_precision, pool

_ROUNDING = 1e-9
"""Below this two APs are the same."""

RivalName = Literal["generic", "champion"]
_RIVALS: tuple[RivalName, ...] = ("generic", "champion")


@dataclass(frozen=True, eq=False)
class Rival:
    """A head that the new one must not be worse than.

    Attributes:
        name: The generic head, or the reigning champion of the dataset.
        version: In the registry.
        parts: Its picks per test micrograph, in the new head's order; None when it cannot pick these micrographs.
    """

    name: RivalName
    version: int
    parts: Sequence[MicrographPart] | None


@dataclass(frozen=True)
class Margin:
    """The AP of the new head minus a rival's, with its interval over micrographs.

    Attributes:
        rival: The generic head, or the reigning champion.
        version: Of the rival.
        ap: Of the rival; NaN when it is undefined or was not measured.
        interval: 95 %, paired; NaN where it has none.
    """

    rival: RivalName
    version: int
    ap: float
    interval: Interval

    @property
    def passed(self) -> bool:
        """Whether the new head is not below; what is undefined is not."""
        return self.interval.estimate >= -_ROUNDING

    def __str__(self) -> str:
        """The margin in words."""
        who = "the generic head" if self.rival == "generic" else f"champion version {self.version}"
        if math.isnan(self.interval.estimate):
            return f"no margin over {who} can be measured on these micrographs"
        ends = "" if math.isnan(self.interval.low) else f" [{self.interval.low:+.3f}, {self.interval.high:+.3f}]"
        return f"{self.interval.estimate:+.3f}{ends} over {who} (AP {self.ap:.3f})"


@dataclass(frozen=True)
class Decision:
    """What the gate says of a head.

    Attributes:
        ap: Of the head on the test micrographs; NaN when it is undefined.
        micrographs: Number of test micrographs.
        margins: Over every rival.
    """

    ap: float
    micrographs: int
    margins: tuple[Margin, ...]

    @property
    def judged(self) -> bool:
        """Whether there was anything to judge the head on."""
        return self.micrographs > 0

    @property
    def passed(self) -> bool:
        """Whether the head may become champion."""
        return all(margin.passed for margin in self.margins)

    def __str__(self) -> str:
        """The figures in one line."""
        if not self.judged:
            return "no test micrographs"
        margins = ", ".join(map(str, self.margins))
        counted = "1 test micrograph" if self.micrographs == 1 else f"{self.micrographs} test micrographs"
        return f"AP {self.ap:.3f} on {counted}: {margins}"

    def metrics(self) -> dict[str, float]:
        """The figures as a package keeps them; what is not defined is left out."""
        least = min(
            self.margins, key=lambda margin: (not math.isnan(margin.interval.estimate), margin.interval.estimate)
        )
        figures = {"gate_passed": float(self.passed), **_named("gate_margin", least.interval)}
        for margin in self.margins:
            own = f"gate_{margin.rival}"
            figures |= {f"{own}_version": float(margin.version), f"{own}_ap": margin.ap}
            figures |= _named(f"{own}_margin", margin.interval)
        return {name: value for name, value in figures.items() if not math.isnan(value)}

    @classmethod
    def on_record(cls, metrics: Mapping[str, float]) -> "Decision | None":
        """Read the decision back from a head's metrics; None for a head that never came to the gate."""
        if "gate_passed" not in metrics:
            return None
        margins = []
        for rival in _RIVALS:
            own = f"gate_{rival}"
            if f"{own}_version" in metrics:
                ends = (metrics.get(f"{own}_margin{end}", math.nan) for end in ("", "_low", "_high"))
                version = int(metrics[f"{own}_version"])
                margins.append(Margin(rival, version, metrics.get(f"{own}_ap", math.nan), Interval(*ends)))
        return cls(metrics.get("ap", math.nan), int(metrics.get("micrographs", 0)), tuple(margins))


def decide(new: Sequence[MicrographPart], rivals: Sequence[Rival]) -> Decision:
    """Judge a head against its rivals on the same micrographs.

    Args:
        new: The head's picks per test micrograph.
        rivals: At least the generic head.
    """
    return Decision(average_precision(pool(new)), len(new), tuple(_margin(new, rival) for rival in rivals))


def _margin(new: Sequence[MicrographPart], rival: Rival) -> Margin:
    if rival.parts is None:
        return Margin(rival.name, rival.version, math.nan, Interval(math.nan, math.nan, math.nan))
    interval = bootstrap_difference(new, rival.parts, drawn_average_precision)
    return Margin(rival.name, rival.version, average_precision(pool(rival.parts)), interval)


def _named(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
