"""What commands print: a progress bar in a terminal, plain lines in a job's log, tables."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_LINE_EVERY_SECONDS = 10
_GAP = "  "


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """A function of (done, total, label) that draws a bar on standard error, or prints a line now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_progress(title)
        return
    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, label: bar.update(task, completed=done, total=total, description=label)


def _plain_progress(title: str) -> Callable[[int, int, str], None]:
    last = start = time.monotonic()
    done_before: int | None = None

    def show(done: int, total: int, label: str) -> None:
        nonlocal last, done_before
        done_before = done if done_before is None else done_before
        now = time.monotonic()
        if done == total or now - last > _LINE_EVERY_SECONDS:
            last = now
            left = _time_left(done - done_before, total - done, now - start)
            print(f"{title} {done}/{total} {label}{left}".rstrip(), file=sys.stderr, flush=True)

    return show


def _time_left(done: int, to_do: int, seconds: float) -> str:
    """How long the rest takes if it takes as long as what was done; nothing where nothing can be told."""
    if done <= 0 or to_do <= 0:
        return ""
    return f", {timedelta(seconds=round(seconds / done * to_do))} left"


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    """Print a table; numbers are right-aligned, None is a dash; in a terminal that is too narrow, cells are folded."""
    cells = [[_cell(value) for value in row] for row in rows]
    right = [bool(rows) and all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(columns))]
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    console = Console()
    # A pipe has no width of its own: a row is never broken there.
    if console.is_terminal and sum(widths) + len(_GAP) * (len(widths) - 1) > console.width:
        _print_folded(console, columns, cells, right, title)
        return

    def line(row: Sequence[str]) -> str:
        padding = (" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        aligned = (pad + c if to_right else c + pad for c, pad, to_right in zip(row, padding, right, strict=True))
        return _GAP.join(aligned).rstrip()

    # Not laid out by rich, which takes longer over a thousand rows than MLflow takes to find them.
    if title is not None:
        console.print(Text(title, style="italic"), soft_wrap=True)
    console.print(Text(line(columns), style="bold"), soft_wrap=True)
    for row in cells:
        print(line(row))
    sys.stdout.flush()


def _print_folded(
    console: Console, columns: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool], title: str | None
) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column, to_right in zip(columns, right, strict=True):
        table.add_column(Text(column), justify="right" if to_right else "left", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
