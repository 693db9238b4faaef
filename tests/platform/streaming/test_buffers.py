import gc
import threading
import weakref

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from hydrapicker.streaming.buffers import ALIGNMENT, Buffers, aligned

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
    buffers = Buffers(100_000)
    first = buffers.take(10_000)
    where = address(first)
    del first
    assert address(buffers.take(10_000)) == where
    smaller = buffers.take(9_000)
    assert (address(smaller), len(smaller)) == (where, 9_000)


def test_what_is_held_in_any_way_is_not_used_again():
    for name, hold in HOLDERS.items():
        buffers = Buffers(100_000)
        array = buffers.take(10_000)
        where, held = address(array), hold(array)
        del array
        assert address(buffers.take(10_000)) != where, name
        del held
        assert where in {address(array) for array in [buffers.take(10_000), buffers.take(10_000)]}, name


def test_what_is_much_larger_or_smaller_is_not_used():
    buffers = Buffers(100_000)
    where = address(buffers.take(10_000))
    large, small = buffers.take(10_001), buffers.take(5_000)
    assert where not in (address(large), address(small))


@given(st.lists(st.tuples(st.integers(1, 40_000), st.integers(0, 5)), max_size=40))
def test_nobody_gets_what_somebody_holds_and_little_is_kept(steps):
    buffers, held = Buffers(100_000), []
    for number, (size, keep) in enumerate(steps):
        array = buffers.take(size)
        array[:] = number
        assert len(array) == size
        assert address(array) % ALIGNMENT == 0
        held = [*held, (array, number)][-keep:] if keep else []
        del array
        assert all((array == value).all() for array, value in held)
    in_use = sum(array.base.nbytes for array, _ in held)
    kept = in_use + sum(map(len, buffers._free))
    assert kept <= max(100_000, in_use) + 70_000
    assert buffers._kept_bytes == kept


def test_held_memory_outlives_what_handed_it_out():
    buffers = Buffers(100_000)
    array = buffers.take(10_000)
    array[:] = 7
    gone = weakref.ref(buffers)
    gc.disable()
    del buffers
    gc.enable()
    assert gone() is None
    assert (array == 7).all()


def test_sizes_are_rounded_up():
    assert [aligned(size) for size in (0, 1, 4096, 4097)] == [0, 4096, 4096, 8192]


def test_threads_never_get_the_same():
    buffers, wrong = Buffers(200_000), []

    def use(value: int) -> None:
        for _ in range(500):
            array = buffers.take(10_000)
            array[:] = value
            if not (array == value).all():
                wrong.append(value)

    threads = [threading.Thread(target=use, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
