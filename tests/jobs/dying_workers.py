"""``hydrapicker``, but for training workers that kill themselves where a test wants it, each time once.

In the middle of an epoch, and with half of a checkpoint in the run's storage. DYING_WORKERS names a folder for marks
of what has happened.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from hydrapicker.cli import main
from hydrapicker.training import on_ray


def train_worker(config: dict[str, Any]) -> None:
    """Take the place of the worker's entry point: Ray sends what lies in a main script to its workers by value."""
    import ray.train
    from ray.train.v2._internal.execution import storage

    from hydrapicker.training.on_ray import RaySession
    from hydrapicker.training.step import Step
    from hydrapicker.training.worker import Worker

    def die_once(mark: str) -> None:
        try:
            (Path(os.environ["DYING_WORKERS"]) / mark).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    take, steps = Step.take, [0]

    def dying_take(self: Step, *arguments: Any, **named: Any) -> Any:
        steps[0] += 1
        if steps[0] == 4 and ray.train.get_context().get_world_rank() == 1:
            die_once("in the second of two steps of the second epoch")
        return take(self, *arguments, **named)

    copy = storage._pyarrow_fs_copy_files

    def dying_copy(source: str, destination: str, **filesystems: Any) -> None:
        if '"phase": 1, "epoch": 2' in (Path(source) / "progress.json").read_text():
            (Path(destination) / "network.safetensors").write_bytes(b"half of it")
            die_once("while writing the fourth checkpoint")
        copy(source, destination, **filesystems)

    Step.take = dying_take
    storage._pyarrow_fs_copy_files = dying_copy
    Worker(config["recipe"], RaySession(config["board"])).run()


if __name__ == "__main__":
    on_ray.train_worker = train_worker
    sys.exit(main(sys.argv[1:]))
