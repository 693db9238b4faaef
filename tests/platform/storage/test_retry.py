"""Retrying by a clock that only moves when somebody sleeps."""

import pytest

from hydrapicker.storage.retry import RetryBudget, retried


class _Time:
    """A clock, and operations that take time and fail."""

    def __init__(self, failures, takes: float = 0.0, drawn: float = 1.0) -> None:
        self.now, self.pauses, self.begun = 1000.0, [], []
        self._failures, self._takes, self._drawn = iter(failures), takes, drawn

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def operation(self) -> str:
        self.begun.append(self.now - 1000.0)
        self.now += self._takes
        for failure in self._failures:
            raise failure
        return "done"

    def run(self, budget: RetryBudget) -> str:
        return retried(
            self.operation, budget, clock=lambda: self.now, sleep=self.sleep, random=lambda: self._drawn
        )  # fmt: skip


def _endless():
    while True:
        yield ConnectionResetError("reset")


def test_success_is_not_tried_again():
    time = _Time([])
    assert time.run(RetryBudget()) == "done"
    assert (time.begun, time.pauses) == ([0.0], [])


def test_pauses_double_up_to_their_bound():
    time = _Time([TimeoutError()] * 9)
    assert time.run(RetryBudget(seconds=60, first_pause=0.1, longest_pause=5)) == "done"
    assert time.pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5])


def test_pauses_are_drawn_between_nothing_and_the_bound():
    time = _Time([TimeoutError()] * 4, drawn=0.25)
    time.run(RetryBudget())
    assert time.pauses == pytest.approx([0.025, 0.05, 0.1, 0.2])


def test_no_attempt_begins_after_the_budget():
    time = _Time(_endless(), takes=2.0)
    with pytest.raises(ConnectionResetError) as caught:
        time.run(RetryBudget(seconds=22, first_pause=1, longest_pause=4))
    assert time.begun == [0.0, 3.0, 7.0, 13.0, 19.0]
    assert caught.value.__notes__ == ["tried 5 times in 21 s"]


@pytest.mark.parametrize("error", [FileNotFoundError(2, "no"), PermissionError(13, "no"), ValueError("ours")])
def test_what_does_not_pass_is_told_at_once(error):
    time = _Time([error])
    with pytest.raises(type(error)) as caught:
        time.run(RetryBudget())
    assert caught.value is error
    assert (time.begun, getattr(error, "__notes__", [])) == ([0.0], [])


def test_no_budget_is_one_attempt():
    time = _Time(_endless())
    with pytest.raises(ConnectionResetError):
        time.run(RetryBudget(seconds=0))
    assert time.begun == [0.0]


def test_what_is_worth_another_attempt_may_be_chosen():
    time = _Time([KeyError("not yet"), KeyError("not yet")])
    found = retried(
        time.operation, RetryBudget(), retries_on=lambda error: isinstance(error, KeyError), sleep=time.sleep
    )
    assert (found, len(time.begun)) == ("done", 3)


def test_an_interrupt_is_no_failure():
    time = _Time([KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        time.run(RetryBudget())
    assert time.begun == [0.0]
