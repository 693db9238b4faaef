"""Picking while the microscope runs: files are picked as they are completed, until Ctrl-C.

A file is taken to be complete when its size and its time have stayed the same from one look at the folder to the
next, and when it then reads whole. One that does not is looked at again when it changes. A file that is written on
after all is picked again. Picks of a file that is deleted stay.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hydrapicker.errors import InvalidInputError
from hydrapicker.files.micrographs import MICROGRAPH_SUFFIXES
from hydrapicker.picking.config import PickConfig, PickReport
from hydrapicker.picking.kept import Origin
from hydrapicker.picking.one import pick_file
from hydrapicker.picking.picker import Picker
from hydrapicker.picking.session import Session, say_if_shipped
from hydrapicker_registry.asking import load_beside

__all__ = ["watch"]

_LOOK_EVERY_SECONDS = 2.0


def watch(
    config: PickConfig,
    progress: Callable[[int, int, str], None] = lambda done, total, label: None,
    say: Callable[[str], None] = lambda line: None,
    notice: Callable[[str], None] = lambda line: None,
    look_every_seconds: float = _LOOK_EVERY_SECONDS,
) -> PickReport:
    """Pick what is and what appears in folders, until KeyboardInterrupt or SIGTERM; then write the combined files.

    Raises:
        InvalidInputError: What is to be watched is no folder.
        HydraPickerError: As :func:`hydrapicker.picking.pick.pick`.
    """
    folders = [_folder(each) for each in config.files]
    if not folders:
        raise InvalidInputError("no folder to watch given: give one")
    loaded = load_beside(config.head, config.version)
    say_if_shipped(loaded.version, say)
    picker = Picker.of(loaded).to_gpu() if config.gpu else Picker.of(loaded)
    with Session.opened(config, picker, loaded.version, notice) as session:
        try:
            with _terminated_as_interrupted():
                _watch(folders, session, picker, config, progress, look_every_seconds)
        except KeyboardInterrupt:
            return session.finish()
    raise AssertionError("watching ends by an interruption alone")


def _watch(
    folders: Sequence[Path],
    session: Session,
    picker: Picker,
    config: PickConfig,
    progress: Callable[[int, int, str], None],
    look_every_seconds: float,
) -> None:
    seen: dict[str, Origin] = {}
    settled: set[Origin] = set()
    while True:
        found = {origin.name: origin for origin in _files(folders)}
        complete = [each for name, each in found.items() if seen.get(name) == each and each not in settled]
        for origin in complete:
            settled.add(origin)
            file = Path(origin.name)
            try:
                if session.is_done(origin):
                    session.skipped += 1
                    continue
            except InvalidInputError as error:  # another folder's micrograph has that name, which stays
                session.failed[file] = str(error)
                continue
            label = session.take(file, pick_file(picker, file, origin.name, config, session.wants_comparison))
            progress(len(settled), len(found), label)
        settled.intersection_update(found.values())
        session.failed = {file: reason for file, reason in session.failed.items() if str(file) in found}
        seen = found
        time.sleep(look_every_seconds)


def _files(folders: Sequence[Path]) -> Iterator[Origin]:
    """The micrographs directly inside, as they are now."""
    for folder in folders:
        for path in _inside(folder):
            if path.name.lower().endswith(MICROGRAPH_SUFFIXES) and not path.name.startswith("."):
                with suppress(OSError):  # gone since it was listed
                    if path.is_file():
                        yield Origin.of(path)


def _inside(folder: Path) -> list[Path]:
    """Nothing where the folder is gone for now, as a share is at times."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _folder(given: str) -> Path:
    path = Path(given).expanduser()
    if not path.is_dir():
        raise InvalidInputError(f"{given}: --watch wants folders, and this is none: make it, or give another")
    return path


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, by which systems end what runs for ever, do what Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
