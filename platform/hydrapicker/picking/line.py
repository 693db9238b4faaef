"""Picking files one after the other: while the network is at one, the next is read and the one before is written."""

from collections import deque
from collections.abc import Collection, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from hydrapicker.files.remote import RemoteFile
from hydrapicker.picking.config import PickConfig
from hydrapicker.picking.one import Outcome, ReadFile, pick_read, read_file
from hydrapicker.picking.picker import Picker

__all__ = ["picked_in_line"]

_UNDER_WAY = 3
"""One that is read, one at the network and one that whoever asked is busy with."""

File = Path | RemoteFile


def picked_in_line(
    picker: Picker, files: Sequence[File], config: PickConfig, compared: Collection[File] = ()
) -> Generator[tuple[File, Outcome]]:
    """Pick files, of which some are compared with their inverse.

    Yields:
        Each file once, in order, with what came of it. When nobody asks for more, what is under way is finished and
        forgotten.
    """
    waiting: deque[tuple[File, Future[Outcome]]] = deque()
    # A thread for either step: no two micrographs are read, and no two are at the network, at a time.
    readers, network = (ThreadPoolExecutor(1, f"hydrapicker-{name}") for name in ("reader", "network"))

    def finish(reading: Future[ReadFile | Outcome], compare: bool) -> Outcome:
        read = reading.result()
        return read if isinstance(read, Outcome) else pick_read(picker, read, config, compare)

    try:
        for file in files:
            reading = readers.submit(read_file, picker, file, str(file), config)
            waiting.append((file, network.submit(finish, reading, file in compared)))
            if len(waiting) == _UNDER_WAY:
                yield _done(waiting)
        while waiting:
            yield _done(waiting)
    finally:
        for pool in (readers, network):
            pool.shutdown(cancel_futures=True)


def _done(waiting: deque[tuple[File, Future[Outcome]]]) -> tuple[File, Outcome]:
    file, outcome = waiting.popleft()
    return file, outcome.result()
