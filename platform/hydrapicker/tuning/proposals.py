"""What is tried next: lambda_bias 0, then the training's own settings, then what Optuna proposes."""

from typing import Any

import optuna
from optuna.samplers import TPESampler
from ray import tune
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

from hydrapicker.tuning.config import TuneConfig
from hydrapicker.tuning.settings import Settings, searched

METRIC, MODE = "generic_ap", "max"


def search_space(config: TuneConfig) -> dict[str, Any]:
    """What is varied, as Ray Tune's distributions by the names of :class:`Settings`."""
    search = config.search
    space = {
        "lambda_bias": tune.loguniform(*search.lambda_bias),
        "lambda_cls": tune.loguniform(*(search.lambda_cls or (1, 2))),
        "learning_rate": tune.loguniform(*(search.learning_rate or (1, 2))),
        "width": tune.choice(list(search.widths)),
        "bias_form": tune.choice(list(search.bias_forms)),
    }
    return {name: space[name] for name in searched(search)}


def proposals(config: TuneConfig, at_once: int) -> ConcurrencyLimiter:
    """The searcher of a search, for as many trials at once."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    own = Settings.of(config.train)
    names = searched(config.search)
    as_given = {name: getattr(own, name) for name in names}
    sampler = TPESampler(
        seed=config.train.loop.seed,
        # Of some ten trials most would be random with the usual ten.
        n_startup_trials=max(2, config.trials // 3),
        multivariate=len(names) > 1,
        constant_liar=True,  # what others are trying at this moment is not proposed again
    )
    searcher = ZeroFirst(
        {**as_given, "lambda_bias": 0.0},
        sampler=sampler,
        points_to_evaluate=[as_given] if _within(as_given, config) else None,
    )
    return ConcurrencyLimiter(searcher, at_once)


def _within(settings: dict[str, Any], config: TuneConfig) -> bool:
    search = config.search
    ranges = {"lambda_bias": search.lambda_bias, "lambda_cls": search.lambda_cls, "learning_rate": search.learning_rate}
    choices = {"width": search.widths, "bias_form": search.bias_forms}
    for name, value in settings.items():
        ends = ranges.get(name)
        if not (ends[0] <= value <= ends[1] if ends else value in choices[name]):
            return False
    return True


def _rounded(value: Any) -> Any:
    # To what people type: a search cannot tell more digits than three apart.
    return float(f"{value:.3g}") if isinstance(value, float) else value


class ZeroFirst(OptunaSearch):
    """Optuna behind a first proposal of ours: a zero lies in no logarithmic range, so Optuna never hears of it.

    Args:
        first: The first proposal.
        options: Of Ray Tune's :class:`OptunaSearch`.
    """

    def __init__(self, first: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self._first, self._first_trial = first, ""
        self._tried: list[dict[str, Any]] = []

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next proposal; None where there is none at the moment."""
        self._first_trial = self._first_trial or trial_id
        if trial_id == self._first_trial:
            return dict(self._first)
        proposal: dict[str, Any] | None = super().suggest(trial_id)
        if proposal is None:
            return None
        rounded = {name: _rounded(value) for name, value in proposal.items()}
        if rounded in self._tried:  # Optuna comes back to where it was good: nothing is tried twice
            rounded = proposal
        self._tried.append(rounded)
        return dict(rounded)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Optuna learns of ends only: early stopping is not its affair."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell Optuna of a trial's end."""
        if trial_id != self._first_trial:
            super().on_trial_complete(trial_id, result, error)
