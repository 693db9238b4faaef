"""The command line. ``hydrapicker --help`` imports no command: each is loaded when it is called."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module, metadata

from hydrapicker.errors import HydraPickerError

COMMANDS = {
    "simulate": "Simulate a dataset of micrographs from an atomic structure.",
    "collection": "Simulate and ingest the collection that the general model is trained on.",
    "ingest": "Put micrographs and their particles into the dataset store.",
    "datasets": "List the datasets in the store; describe, verify or repair one; clean up.",
    "train": "Train trunk, generic head and a head per dataset, and register them.",
    "tune": "Search for the weight of the bias loss with which the generic head is best.",
    "contribute": "Train a head for one more dataset on the registered trunk.",
    "heads": "List the heads in the registry.",
    "pick": "Pick particles on micrographs with a head.",
    "inspect": "Look at picks in a browser, choose a threshold, and apply the choice.",
    "convert": "Convert picks from one program's files to another's.",
    "evaluate": "Compare picks with particles.",
    "study": "Repeat the paper's experiments with trained models, as tables and curves.",
    "demo": "Do all of it in minutes on simulated micrographs.",
}

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 for what a user can mend, 2 for misuse, 130 when interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        return _unless_unread(lambda: _show(_usage(), 0 if given else 2))
    if given[0] == "--version":
        return _unless_unread(lambda: _show(f"hydrapicker {metadata.version('hydrapicker')}", 0))
    return run(given[0], given[1:])


def run(command: str, arguments: Sequence[str] | None = None) -> int:
    """Run one command by name and turn what a user can mend into one line on standard error."""
    if command not in COMMANDS:
        print(f"hydrapicker: no command {command!r}: give one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        module = import_module(f"hydrapicker.cli.{command}")
        given = list(sys.argv[1:] if arguments is None else arguments)
        return _unless_unread(lambda: int(module.run(given)))
    except HydraPickerError as error:
        print(f"hydrapicker {command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"hydrapicker {command}: interrupted; run the same command to continue", file=sys.stderr)
        return _INTERRUPTED


def _show(text: str, code: int) -> int:
    print(text)
    return code


def _unless_unread(action: Callable[[], int]) -> int:
    """The action's exit code, or 1 without a word where whoever read standard output has left (``| head``)."""
    try:
        try:
            return action()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python itself would complain at its end
        return 1


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: hydrapicker COMMAND [OPTIONS]",
            "",
            "Particle picking for cryo-EM: one trunk for all datasets, one head per dataset, and a generic head.",
            "",
            *lines,
            "",
            "hydrapicker COMMAND --help tells a command's options.",
        ]
    )
