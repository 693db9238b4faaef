"""The settings of one trial: what the search proposes, on top of what all trials share."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hydrapicker.training.config import TrainConfig
from hydrapicker.tuning.config import SearchConfig
from hydrapicker_core.bias_loss import BiasForm


@dataclass(frozen=True)
class Settings:
    """What trials may differ in.

    Attributes:
        lambda_bias: Weight of the bias loss.
        lambda_cls: Weight of the classification loss in stage 2.
        learning_rate: Of stage 2.
        width: Of the network.
        bias_form: Form of the bias loss.
    """

    lambda_bias: float
    lambda_cls: float
    learning_rate: float
    width: int
    bias_form: BiasForm

    @classmethod
    def of(cls, config: TrainConfig, proposal: Mapping[str, Any] | None = None) -> "Settings":
        """A training's own settings, with those of a proposal in their place."""
        own = cls(
            config.loss.lambda_bias,
            config.loss.lambda_cls,
            config.stage2.learning_rate,
            config.network.width,
            config.loss.bias_form,
        )
        return replace(own, **dict(proposal or {}))

    def applied_to(self, config: TrainConfig) -> TrainConfig:
        """The training with these settings."""
        loss = replace(config.loss, lambda_bias=self.lambda_bias, lambda_cls=self.lambda_cls, bias_form=self.bias_form)
        return replace(
            config,
            loss=loss,
            stage2=replace(config.stage2, learning_rate=self.learning_rate),
            network=replace(config.network, width=self.width),
        )


def searched(search: SearchConfig) -> tuple[str, ...]:
    """Names of the settings that a search varies, lambda_bias first."""
    varied = {
        "lambda_bias": True,
        "lambda_cls": search.lambda_cls is not None,
        "learning_rate": search.learning_rate is not None,
        "width": bool(search.widths),
        "bias_form": bool(search.bias_forms),
    }
    return tuple(name for name, is_varied in varied.items() if is_varied)


def widths(search: SearchConfig, config: TrainConfig) -> tuple[int, ...]:
    """The widths that trials may have."""
    return search.widths or (config.network.width,)
