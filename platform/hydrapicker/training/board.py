"""Where workers post their progress and the driver reads it, wherever in the cluster either runs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.exceptions import RayError

from hydrapicker.errors import HydraPickerError

_POLL_SECONDS = 0.5


@ray.remote(num_cpus=0)
class Board:
    """Epoch records in the order they were posted."""

    def __init__(self) -> None:
        self._records: list[dict[str, Any]] = []

    def post(self, record: dict[str, Any]) -> None:
        """Put up a finished epoch."""
        self._records.append(record)

    def since(self, seen: int) -> list[dict[str, Any]]:
        """The records after the first `seen`."""
        return self._records[seen:]


@contextmanager
def watched_board(on_record: Callable[[dict[str, Any]], None]) -> Iterator[Any]:
    """A new board whose records are handed to `on_record`, in a thread, until the block ends."""
    board = Board.remote()  # type: ignore[attr-defined]  # added by ray.remote
    done = threading.Event()
    seen = 0

    def look() -> None:
        nonlocal seen
        for record in ray.get(board.since.remote(seen)):
            on_record(record)
            seen += 1

    def watch() -> None:
        while not done.wait(_POLL_SECONDS):
            # MLflow may be away for a moment: the record is handed over at the next look.
            with suppress(HydraPickerError, OSError, RayError):
                look()

    thread = threading.Thread(target=watch, name="training-board", daemon=True)
    thread.start()
    try:
        yield board
    finally:
        done.set()
        thread.join()
        with suppress(RayError):  # a cluster that is gone has said so already
            look()
            ray.kill(board)
