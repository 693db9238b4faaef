import threading

from hydrapicker.streaming.crew import Crew


def test_every_job_is_done_once_in_order():
    done: list[int] = []
    crew = Crew("crew", 1, done.append)
    crew.give(range(100))
    crew.give([])
    crew.give(range(100, 200))
    crew.close()
    crew.join()
    assert done == list(range(200))


def test_no_thread_before_the_first_job():
    crew = Crew("idle-crew", 3, print)
    crew.give([])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("idle-crew")]
    crew.close()
    crew.join()


def test_who_waits_does_what_nobody_has_begun():
    begun, go_on, done = threading.Event(), threading.Event(), list[tuple[int, str]]()

    def work(job: int) -> None:
        if job == 0:
            begun.set()
            go_on.wait()
        done.append((job, threading.current_thread().name))

    crew = Crew("crew", 1, work)
    crew.give(range(4))
    begun.wait()
    crew.help_until(lambda: len(done) == 2)
    assert [job for job, _ in done] == [1, 2]
    assert {name for _, name in done} == {threading.current_thread().name}
    crew.help_until(lambda: False)
    assert [job for job, _ in done] == [1, 2, 3]
    go_on.set()
    crew.close()
    crew.join()
    assert done[-1] == (0, "crew-0")


def test_after_closing_nothing_is_taken_on_and_nobody_hangs():
    done: list[int] = []
    crew = Crew("crew", 2, done.append)
    crew.give([1])
    crew.close()
    crew.close()
    crew.give([2])
    crew.help_until(lambda: False)
    crew.join()
    assert done == [1]
