"""Stage 1, which all trials of one width share: trained once, as an ordinary run that later searches find again."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from hydrapicker.files import atomic_write
from hydrapicker.store.store import Dataset
from hydrapicker.training.config import TrainConfig
from hydrapicker.training.folder import RunFolder
from hydrapicker.training.recipe import Recipe
from hydrapicker.training.run import run_recipe
from hydrapicker.training.train import identity, tracked, training_recipe

_FINISHED = "finished.json"


def stage1_recipe(config: TrainConfig, datasets: Mapping[str, Dataset]) -> Recipe:
    """The first phase of a training as a run of its own, the same for all trainings that differ only in stage 2."""
    usual = TrainConfig()
    loss = replace(config.loss, lambda_bias=usual.loss.lambda_bias, bias_form=usual.loss.bias_form)
    shared = replace(config, loss=loss, stage2=usual.stage2, run_name="")
    key = sha256(f"stage 1 {identity(shared, datasets)}".encode()).hexdigest()
    recipe = training_recipe(shared, datasets)
    return replace(recipe, run_name=f"stage1-{key[:8]}", identity=key, phases=recipe.phases[:1])


def trained_stage1(config: TrainConfig, datasets: Mapping[str, Dataset], say: Callable[[str], None]) -> Path | None:
    """Folder of the last checkpoint of stage 1, which is trained if it has not been; None where it has no epochs.

    Raises:
        TrainingError: When the workers failed too often.
    """
    if config.stage1.epochs == 0:
        return None
    recipe = stage1_recipe(config, datasets)
    RunFolder(config.runs, recipe).check()
    folder = Path(config.runs).absolute() / recipe.run_name
    record = folder / _FINISHED
    if record.exists():
        say(f"stage 1 of width {config.network.width} was trained before, in {folder}")
    else:
        with tracked(recipe, config, config.runs, say) as (tracker, on_record):
            tracker.log_history(run_recipe(recipe, config.runs, on_record).history)
        last = max(path.parent.name for path in folder.glob("checkpoint_*/progress.json"))
        with atomic_write(record) as temporary:
            temporary.write_text(json.dumps({"checkpoint": last}))
    return folder / str(json.loads(record.read_text())["checkpoint"])
