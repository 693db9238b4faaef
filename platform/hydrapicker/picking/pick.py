"""Picking files: micrographs in, particle files out, each written whole or not at all."""

import os
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

from hydrapicker.errors import InvalidInputError
from hydrapicker.files import micrograph_stem
from hydrapicker.files.inputs import find_inputs
from hydrapicker.files.remote import RemoteFile
from hydrapicker.memory import give_back_large_buffers
from hydrapicker.picking.config import PickConfig, PickReport
from hydrapicker.picking.contrast import COMPARED
from hydrapicker.picking.kept import Origin
from hydrapicker.picking.line import picked_in_line
from hydrapicker.picking.one import Outcome
from hydrapicker.picking.picker import Picker
from hydrapicker.picking.session import Session, say_if_shipped
from hydrapicker_registry.asking import load_beside
from hydrapicker_registry.reading import LoadedHead

__all__ = ["PickConfig", "PickReport", "pick"]

File = Path | RemoteFile
Progress = Callable[[int, int, str], None]
Say = Callable[[str], None]


def pick(
    config: PickConfig,
    progress: Progress = lambda done, total, label: None,
    say: Say = lambda line: None,
    notice: Say = lambda line: None,
) -> PickReport:
    """Pick every micrograph that is not picked yet; one that cannot be used is left out and reported.

    Args:
        config: What to pick, and how.
        progress: Told how many of how many are done, and a word on the last.
        say: Told which head picks, where that is not a head of the registry.
        notice: Told what looks wrong with all of it, as soon as that is known.

    Raises:
        HydraPickerError: When no micrograph could be picked, or the output cannot be written, or OUT holds picks made
            with other options, or somebody else is picking into it.
    """
    give_back_large_buffers()
    if config.watch:
        from hydrapicker.picking.watch import watch

        return watch(config, progress, say, notice)
    files = find_inputs(config.files)
    _refuse_twins(files)
    loaded = load_beside(config.head, config.version)
    picker, version = Picker.of(loaded), loaded.version
    say_if_shipped(version, say)
    for_workers = loaded if _on_ray(config) else None
    del loaded  # the picker has weights of its own, in another order
    with Session.opened(config, picker, version, notice) as session:
        waiting = [file for file in files if not _is_done(session, file)]
        session.skipped = done = len(files) - len(waiting)
        progress(done, len(files), "")
        with closing(_outcomes(config, for_workers, picker, waiting, files[:COMPARED])) as outcomes:
            for file, outcome in outcomes:
                done += 1
                progress(done, len(files), session.take(file, outcome))
        return session.finish()


def _refuse_twins(files: Sequence[File]) -> None:
    """Refuse micrographs whose own files would have the same name."""
    stem, number = Counter(micrograph_stem(file.name) for file in files).most_common(1)[0]
    if number > 1:
        raise InvalidInputError(f"two micrographs are called {stem}: pick their folders one by one")


def _is_done(session: Session, file: File) -> bool:
    try:
        origin = Origin.of(file)
    except OSError:  # gone since it was listed: picking it will say so
        return False
    return session.is_done(origin)


def _on_ray(config: PickConfig) -> bool:
    return config.parallel == "ray" or (config.parallel == "auto" and bool(os.environ.get("RAY_ADDRESS")))


def _outcomes(
    config: PickConfig, for_workers: LoadedHead | None, picker: Picker, files: Sequence[File], compared: Sequence[File]
) -> Generator[tuple[File, Outcome]]:
    if for_workers is not None:
        from hydrapicker.picking.on_ray import pick_on_ray

        yield from pick_on_ray(config, for_workers, files, compared)
        return
    if config.gpu:
        picker.to_gpu()
    yield from picked_in_line(picker, files, config, compared)
