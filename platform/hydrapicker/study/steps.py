"""A sequence of commands, each run once: what is finished is marked, and what was interrupted goes on."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import FrameType

from hydrapicker.errors import HydraPickerError
from hydrapicker.storage.atomic import atomic_write
from hydrapicker_registry.names import validate_dataset_name

__all__ = ["Step", "StudyError", "run_steps"]

Say = Callable[[str], None]

_LAST_LINES = 12
_SECONDS_TO_END = 60.0


class StudyError(HydraPickerError, RuntimeError):
    """A step of a study that failed."""


@dataclass(frozen=True)
class Step:
    """One command of a study.

    Attributes:
        name: Of its log and its mark; one that a dataset may have.
        program: How the program is started on this machine; another way of starting it changes no result.
        arguments: Of the program.
        environment: Variables set for it, over this process's own.
        depends: What else its result depends on, by name: when it changes, the step is done anew.
    """

    name: str
    program: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    depends: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        validate_dataset_name(self.name)

    @property
    def identity(self) -> str:
        """sha256 of all that the step's result depends on."""
        content = (self.arguments, sorted(self.environment.items()), sorted(self.depends.items()))
        return sha256(repr(content).encode()).hexdigest()


def run_steps(steps: Sequence[Step], folder: Path, say: Say) -> None:
    """Run those that are not done yet, one after the other, each with a log of its own.

    Args:
        steps: With names of their own.
        folder: Gets `logs` and `done`, the marks of what is finished.
        say: Told a line of each step.

    Raises:
        StudyError: When a step fails; with the last lines of its log. What was finished before stays so.
        OutputError: When a mark cannot be written.
    """
    for number, step in enumerate(steps, start=1):
        which, mark = f"[{number}/{len(steps)}] {step.name}", folder / "done" / f"{step.name}.json"
        if _is_done(step, mark):
            say(f"{which}: done before")
            continue
        seconds = _run(step, folder / "logs" / f"{step.name}.log", which, say)
        with atomic_write(mark) as temporary:
            record = {"identity": step.identity, "arguments": step.arguments, "seconds": round(seconds, 1)}
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        say(f"{which}: done in {seconds:.0f} s")


def _is_done(step: Step, mark: Path) -> bool:
    try:
        return bool(json.loads(mark.read_text(encoding="utf-8"))["identity"] == step.identity)
    except (OSError, ValueError, KeyError, TypeError):
        return False  # a mark that cannot be read marks nothing: the step's own command continues what is there


def _run(step: Step, log: Path, which: str, say: Say) -> float:
    """Run a step's command to its end; returns the seconds it took."""
    log.parent.mkdir(parents=True, exist_ok=True)
    say(f"{which}: begun, log in {log}")
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as printed:
        try:
            # A session of its own: ctrl-C then reaches it once, from here, and not from the terminal as well.
            process = subprocess.Popen(
                [*step.program, *step.arguments],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                env={**os.environ, **step.environment},
                start_new_session=True,
            )
        except OSError as error:
            raise StudyError(f"{step.name}: {step.program[0]} cannot be started ({error.strerror})") from error
        with _interrupted_too(process):
            code = process.wait()
    if code != 0:
        raise StudyError(f"{step.name} failed with exit code {code}; its log {log} ends:\n{_end_of(log)}")
    return time.monotonic() - started


@contextmanager
def _interrupted_too(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Whatever ends this process within the block, ctrl-C or a plain kill, ends the other before it."""
    here = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _interrupt) if here else None
    try:
        yield
    except BaseException:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    finally:
        if here:
            signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end_of(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-_LAST_LINES:]) or "  (nothing)"
