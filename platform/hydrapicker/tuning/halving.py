"""Early stopping that a killed search does not forget."""

import os
from pathlib import Path
from typing import Any

from ray.tune.schedulers import ASHAScheduler


class Halving(ASHAScheduler):
    """Asynchronous successive halving whose record of who was how good when lies in a file.

    Ray Tune brings trials and searcher back after a kill, but not the scheduler: it would compare the trials to come
    with what resumed ones reported many epochs later.

    Args:
        record: File of the record, Ray's own format.
        options: Of Ray Tune's :class:`ASHAScheduler`.
    """

    def __init__(self, record: Path, **options: Any) -> None:
        super().__init__(**options)
        self._record = record

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether a trial goes on, written down before anybody acts on it."""
        decision: str = super().on_trial_result(tune_controller, trial, result)
        unfinished = f"{self._record}.new"
        self.save(unfinished)
        os.replace(unfinished, self._record)  # noqa: PTH105 (a plain name, as Ray's save takes)
        return decision

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take what is compared; said again to a record that was read, it is nothing new."""
        return (metric, mode) == (self._metric, self._mode) or bool(super().set_search_properties(metric, mode, **spec))

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Ray Tune keeps the scheduler as it was when the search began.
        self.__dict__.update(state)
        if self._record.exists():
            self.restore(str(self._record))
