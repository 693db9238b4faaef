"""Trying again what may pass by itself: with growing random pauses, within a stated budget."""

import random as _random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hydrapicker.storage.faults import TRIED, Fault, fault_of

__all__ = ["RetryBudget", "is_transient", "retried"]

T = TypeVar("T")


@dataclass(frozen=True)
class RetryBudget:
    """How long an operation on the store may be tried again.

    Attributes:
        seconds: No new attempt begins later than this after the first one began; 0 for a single attempt.
        first_pause: Longest pause before the second attempt, in seconds; it doubles with every attempt.
        longest_pause: Bound of the pauses, in seconds.
    """

    seconds: float = 60.0
    first_pause: float = 0.1
    longest_pause: float = 5.0


def is_transient(error: BaseException) -> bool:
    """Tell whether a failure may pass by itself."""
    return fault_of(error) is Fault.TRANSIENT


def retried(
    operation: Callable[[], T],
    budget: RetryBudget,
    *,
    retries_on: Callable[[BaseException], bool] = is_transient,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = _random.random,
) -> T:
    """Do an operation, again and again while it fails in a way that may pass.

    The pause before attempt ``n + 1`` is drawn evenly between 0 and ``first_pause * 2**(n - 1)``, so that many
    clients that failed together do not come back together.

    Parameters
    ----------
    operation : callable
        What to do; it must be safe to do twice.
    budget : RetryBudget
        How long.
    retries_on : callable, optional
        Which failures are worth another attempt.
    clock, sleep, random : callable, optional
        Seconds that have passed, a pause in seconds, and a number in [0, 1).

    Returns
    -------
    T
        What the operation returned.

    Raises
    ------
    Exception
        The operation's own last error; where it was tried more than once, with a note that says how often and how
        long, which :func:`~hydrapicker.storage.faults.as_store_error` puts in its line.
    """
    began, attempts = clock(), 0
    while True:
        attempts += 1
        try:
            return operation()
        except Exception as error:
            bound = min(budget.longest_pause, budget.first_pause * 2 ** min(attempts - 1, 30))
            pause = random() * bound
            passed = clock() - began
            if not retries_on(error) or passed + pause > budget.seconds:
                if attempts > 1:
                    error.add_note(f"{TRIED}{attempts} times in {passed:.0f} s")
                raise
        sleep(pause)
