import subprocess
import sys
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrapicker.streaming.plan import Minibatch, Source, plan_epoch, plan_step, steps_in


@st.composite
def sources(draw):
    sizes = draw(st.lists(st.integers(0, 30), min_size=0, max_size=6))
    return [
        Source(f"d{number}", f"{draw(st.integers(0, 2**64)):x}", tuple(range(number, size + number)))
        for number, size in enumerate(sizes)
    ]


seeds, epochs, batch_sizes = st.integers(0, 2**63), st.integers(0, 10_000), st.integers(1, 9)


@given(sources(), seeds, epochs, batch_sizes)
def test_every_row_exactly_once(given_sources, seed, epoch, batch_size):
    plan = plan_epoch(given_sources, seed, epoch, batch_size)
    seen = Counter((minibatch.dataset, row) for minibatch in plan for row in minibatch.rows)
    assert seen == Counter((source.name, row) for source in given_sources for row in source.rows)
    for source in given_sources:
        sizes = sorted((len(m.rows) for m in plan if m.dataset == source.name), reverse=True)
        whole, rest = divmod(len(source.rows), batch_size)
        assert sizes == [batch_size] * whole + [rest] * (rest > 0)


@given(sources(), seeds, epochs, batch_sizes, st.randoms())
def test_the_order_of_listing_does_not_matter(given_sources, seed, epoch, batch_size, random):
    listed = []
    for source in random.sample(given_sources, len(given_sources)):
        rows = list(source.rows)
        random.shuffle(rows)
        listed.append(Source(source.name, source.fingerprint, tuple(rows)))
    assert plan_epoch(listed, seed, epoch, batch_size) == plan_epoch(given_sources, seed, epoch, batch_size)


@given(sources(), batch_sizes, st.integers(1, 7), st.integers(1, 8))
def test_the_ranks_together_take_every_step_whole(given_sources, batch_size, per_step, world):
    plan = plan_epoch(given_sources, 1, 2, batch_size)
    order = []
    for step in range(steps_in(plan, per_step)):
        shares = [plan_step(plan, step, per_step, rank, world) for rank in range(world)]
        alone = plan_step(plan, step, per_step)
        assert [shares[position % world][position // world] for position in range(len(alone))] == list(alone)
        assert sum(map(len, shares)) == len(alone)
        assert len(alone) == per_step or step == steps_in(plan, per_step) - 1
        order += alone
    assert tuple(order) == plan


@given(sources(), batch_sizes, st.integers(1, 7), st.data())
@settings(max_examples=50)
def test_resuming_with_another_world_goes_on_where_it_stopped(given_sources, batch_size, per_step, data):
    def steps(first, last, world):
        plan = plan_epoch(given_sources, 5, 6, batch_size)
        for step in range(first, last):
            shares = [plan_step(plan, step, per_step, rank, world) for rank in range(world)]
            yield {minibatch for share in shares for minibatch in share}

    total = steps_in(plan_epoch(given_sources, 5, 6, batch_size), per_step)
    stop = data.draw(st.integers(0, total))
    worlds = data.draw(st.tuples(st.integers(1, 8), st.integers(1, 8)))
    interrupted = [*steps(0, stop, worlds[0]), *steps(stop, total, worlds[1])]
    assert interrupted == list(steps(0, total, 1))


def test_seed_epoch_and_fingerprint_each_change_the_order():
    def plan(fingerprint="f", seed=0, epoch=0):
        return plan_epoch([Source("a", fingerprint, tuple(range(50)))], seed, epoch, 4)

    plans = [plan(), plan("g"), plan(seed=1), plan(epoch=1)]
    assert len(set(plans)) == 4
    assert plan() == plan()


def test_shuffling_is_uniform():
    """Each of 5 rows comes first in a fifth of 2,000 epochs (within five standard deviations)."""
    source = Source("a", "f", tuple(range(5)))
    first = Counter(plan_epoch([source], 0, epoch, 1)[0].rows[0] for epoch in range(2_000))
    assert all(abs(first[row] - 400) < 5 * (2_000 * 0.2 * 0.8) ** 0.5 for row in range(5))


PROGRAM = """
import sys
from hydrapicker.streaming.plan import Source, plan_epoch
print([m.rows for m in plan_epoch([Source("a", "f", tuple(range(6))), Source("b", "g", (0, 1, 2))], 7, 3, 2)])
print("torch" in sys.modules)
"""


def test_the_order_is_fixed_for_ever_and_needs_no_torch():
    """In another process with another hash seed; a change of it would break resuming a run after an update."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    order, torch_loaded = done.stdout.splitlines()
    assert order == PINNED
    assert torch_loaded == "False"


PINNED = "[(3, 4), (5, 1), (0, 2), (0, 2), (1,)]"


def test_no_sources():
    assert plan_epoch([], 0, 0, 4) == ()
    assert plan_epoch([Source("a", "f", ())], 0, 0, 4) == ()
    assert steps_in((), 4) == 0


def test_misuse_is_refused():
    plan = (Minibatch("a", (0,)),)
    for arguments in [(1, 1, 0, 1), (-1, 1, 0, 1), (0, 1, 1, 1), (0, 1, -1, 1)]:
        with pytest.raises(AssertionError):
            plan_step(plan, *arguments)
    with pytest.raises(AssertionError, match="unique"):
        plan_epoch([Source("a", "f", (0,)), Source("a", "g", (0,))], 0, 0, 1)


def test_planning_a_hundred_thousand_micrographs_is_quick():
    sources = [Source(f"d{n}", str(n), tuple(range(1_000))) for n in range(100)]
    before = time.perf_counter()
    plan_epoch(sources, 0, 0, 4)
    assert time.perf_counter() - before < 2
