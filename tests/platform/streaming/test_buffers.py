import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from hydrapicker.streaming.buffers import Buffers

HOLDERS = {
    "itself": lambda array: array,
    "a view of a view": lambda array: array[2:].view("<f2").reshape(1, -1)[:, 1:],
    "memory of a view": lambda array: memoryview(array.view("<f2")[1:]).cast("B")[2:],
    "a tensor": lambda array: torch.from_numpy(array[2:])[3:],
    "an array of its memory": lambda array: np.frombuffer(memoryview(array)[2:], np.uint8),
}


def address(array) -> int:
    return array.__array_interface__["data"][0]


def test_what_is_dropped_is_used_again():
    buffers = Buffers(1_000)
    first = buffers.take(100)
    where = address(first)
    del first
    assert address(buffers.take(100)) == where
    smaller = buffers.take(90)
    assert (address(smaller), len(smaller)) == (where, 90)


def test_what_is_held_in_any_way_is_not_used_again():
    for name, hold in HOLDERS.items():
        buffers = Buffers(1_000)
        array = buffers.take(100)
        where, held = address(array), hold(array)
        del array
        assert address(buffers.take(100)) != where, name
        del held
        assert where in {address(array) for array in [buffers.take(100), buffers.take(100)]}, name


def test_what_is_much_larger_or_smaller_is_not_used():
    buffers = Buffers(1_000)
    where = address(buffers.take(100))
    large, small = buffers.take(101), buffers.take(60)
    assert where not in (address(large), address(small))


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 5)), max_size=40))
def test_nobody_gets_what_somebody_holds_and_little_is_kept(steps):
    buffers, held = Buffers(1_000), []
    for number, (size, keep) in enumerate(steps):
        array = buffers.take(size)
        array[:] = number
        held = [*held, (array, number)][-keep:] if keep else []
        assert all((array == value).all() for array, value in held)
    in_use = sum(array.base.nbytes for array, _ in held)
    assert sum(memory.nbytes for memory in buffers._kept) <= max(1_000, in_use) + 600
