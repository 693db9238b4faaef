"""Threads that do jobs in the order in which they were given, and whoever waits for a job may do some of them too."""

import threading
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

__all__ = ["Crew"]

Job = TypeVar("Job")


class Crew(Generic[Job]):
    """A few threads that start with the first job.

    Parameters
    ----------
    name : str
        Of the threads.
    size : int
        How many there are.
    work : callable
        Does a job; raises nothing.
    """

    def __init__(self, name: str, size: int, work: Callable[[Job], None]) -> None:
        self._name, self._size, self._work = name, size, work
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._giving, self._closed = threading.Lock(), False

    def give(self, jobs: Iterable[Job]) -> None:
        """Have jobs done, in this order after those before; not once it is closed, when nobody would."""
        with self._giving:
            for job in jobs if not self._closed else ():
                self._jobs.put(job)
                self._start()

    def help_until(self, done: Callable[[], bool]) -> None:
        """Do jobs that nobody has begun, in this thread, until there are none or what is waited for is done."""
        try:
            while not done():
                job = self._jobs.get_nowait()
                if job is None:  # it was closed, and this is how a thread is told
                    self._jobs.put(None)
                    return
                self._work(job)
        except Empty:
            return

    def close(self) -> None:
        """Tell the threads to end after the jobs that they were given."""
        with self._giving:
            if not self._closed:
                self._closed = True
                for _ in self._threads:
                    self._jobs.put(None)

    def join(self) -> None:
        """Wait until the threads have ended."""
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        if not self._threads:
            for number in range(self._size):
                thread = threading.Thread(target=self._go, name=f"{self._name}-{number}", daemon=True)
                thread.start()
                self._threads.append(thread)

    def _go(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._work(job)
