"""The study from beginning to end: trainings, then everything that is measured, then the report."""

from collections.abc import Callable

from hydrapicker.errors import InvalidInputError
from hydrapicker.store.store import Store
from hydrapicker.study.config import StudyConfig
from hydrapicker.study.files import TargetFiles
from hydrapicker.study.models import load_generics
from hydrapicker.study.plan import trainings
from hydrapicker.study.report import Report, write_report
from hydrapicker.study.results import measure
from hydrapicker.study.steps import run_steps
from hydrapicker.study.topaz import extractions

__all__ = ["run_study"]

Say = Callable[[str], None]
Progress = Callable[[int, int, str], None]


def run_study(config: StudyConfig, say: Say, progress: Progress = lambda done, total, label: None) -> Report:
    """Do what is left of a study, and write its report anew.

    Raises:
        InvalidInputError: For what cannot be done, before any training starts.
        DatasetNotFoundError, HeadNotFoundError: For a target or a generic head that is not there.
        StudyError: When a training or Topaz fails.
        OutputError: When the report cannot be written.
    """
    if not config.targets:
        raise InvalidInputError("no targets to study: give their names with --targets")
    if lacking := [name for name in config.targets if name not in config.folders]:
        raise InvalidInputError(f"no files of {', '.join(lacking)}: give them with --files NAME=FOLDER")
    store = Store(config.store)
    generics = load_generics(config)
    targets = {
        name: TargetFiles.of(dataset, config.folders[name])
        for name, dataset in store.open_all(dict.fromkeys(config.targets)).items()
    }
    steps = [*trainings(config, generics, targets), *extractions(config, targets)]
    run_steps(steps, config.folder, say)
    results = measure(config, store, generics, targets, progress)
    return write_report(config, generics, steps, results)
