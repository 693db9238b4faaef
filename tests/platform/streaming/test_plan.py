import subprocess
import sys
from collections import Counter, defaultdict
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrapicker.streaming.plan import Minibatch, Source, plan_epoch, plan_step, steps_in


def source(name: str, size: int, shards: int = 3, first: int = 0, fingerprint: str | None = None) -> Source:
    rows = np.arange(first, first + size, dtype=np.int64)
    return Source(name, fingerprint or f"fingerprint of {name}", rows, (rows % shards).astype(np.int32))


@st.composite
def sources(draw):
    sizes = draw(st.lists(st.integers(0, 30), min_size=0, max_size=6))
    return [
        source(f"d{number}", size, draw(st.integers(1, 4)), number, f"{draw(st.integers(0, 2**64)):x}")
        for number, size in enumerate(sizes)
    ]


seeds, epochs, batch_sizes = st.integers(0, 2**63), st.integers(0, 10_000), st.integers(1, 9)
samplings = st.one_of(st.sampled_from(["proportional", "balanced"]), st.floats(1, 20))
windows = st.integers(1, 40)


@given(sources(), seeds, epochs, batch_sizes, windows)
def test_every_row_exactly_once(given_sources, seed, epoch, batch_size, window):
    plan = plan_epoch(given_sources, seed, epoch, batch_size, shuffle_window=window)
    seen = Counter((minibatch.dataset, row) for minibatch in plan for row in minibatch.rows)
    assert seen == Counter((source.name, row) for source in given_sources for row in source.rows.tolist())
    assert all(minibatch.sweep == epoch for minibatch in plan)
    for one in given_sources:
        sizes = sorted((len(m.rows) for m in plan if m.dataset == one.name), reverse=True)
        whole, rest = divmod(len(one.rows), batch_size)
        assert sizes == [batch_size] * whole + [rest] * (rest > 0)


@given(sources(), seeds, st.integers(0, 5), batch_sizes, samplings, windows)
@settings(max_examples=60)
def test_every_sweep_goes_through_its_dataset_once(given_sources, seed, first_epoch, batch_size, sampling, window):
    """Over some epochs: sweeps follow one another, and each that begins and ends here has every row once."""
    sweeps: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    length = len(plan_epoch(given_sources, 0, 0, batch_size))
    for epoch in range(first_epoch, first_epoch + 4):
        plan = plan_epoch(given_sources, seed, epoch, batch_size, sampling, window)
        assert len(plan) == length
        assert {m.dataset for m in plan} == {one.name for one in given_sources if len(one.rows)}
        for minibatch in plan:
            sweeps[minibatch.dataset][minibatch.sweep] += minibatch.rows
    for one in given_sources:
        seen = sweeps[one.name]
        assert list(seen) == sorted(seen) == list(range(min(seen, default=0), max(seen, default=-1) + 1))
        for sweep, rows in seen.items():
            assert len(set(rows)) == len(rows)
            if min(seen) < sweep < max(seen) or (sweep == first_epoch == 0 and len(seen) > 1):
                assert sorted(rows) == one.rows.tolist()


@given(st.integers(1, 30), seeds, batch_sizes, windows, st.integers(1, 20))
def test_epochs_of_any_length_follow_one_another(size, seed, batch_size, window, minibatches):
    """Cut into epochs of so many minibatches or into whole sweeps, one dataset comes in the same order."""
    given = [source("a", size)]
    short = [
        m for epoch in range(6) for m in plan_epoch(given, seed, epoch, batch_size, "proportional", window, minibatches)
    ]
    assert len(short) == 6 * minibatches
    sweeps = -(-len(short) // -(-size // batch_size))
    whole = [m for epoch in range(sweeps) for m in plan_epoch(given, seed, epoch, batch_size, "proportional", window)]
    key = [(m.dataset, m.rows, m.sweep) for m in whole[: len(short)]]
    assert [(m.dataset, m.rows, m.sweep) for m in short] == key


@given(sources(), seeds, epochs, batch_sizes, samplings, windows, st.randoms())
def test_the_order_of_listing_does_not_matter(given_sources, seed, epoch, batch_size, sampling, window, random):
    listed = []
    for one in random.sample(given_sources, len(given_sources)):
        order = np.array(random.sample(range(len(one.rows)), len(one.rows)), np.int64)
        listed.append(Source(one.name, one.fingerprint, one.rows[order], one.shards[order]))
    arguments = (seed, epoch, batch_size, sampling, window)
    assert tuple(plan_epoch(listed, *arguments)) == tuple(plan_epoch(given_sources, *arguments))


@given(sources(), batch_sizes, samplings, st.integers(1, 7), st.integers(1, 8))
def test_the_ranks_together_take_every_step_whole(given_sources, batch_size, sampling, per_step, world):
    plan = plan_epoch(given_sources, 1, 2, batch_size, sampling)
    order = []
    for step in range(steps_in(plan, per_step)):
        shares = [plan_step(plan, step, per_step, rank, world) for rank in range(world)]
        alone = plan_step(plan, step, per_step)
        assert [shares[position % world][position // world] for position in range(len(alone))] == list(alone)
        assert sum(map(len, shares)) == len(alone)
        assert len(alone) == per_step or step == steps_in(plan, per_step) - 1
        order += alone
    assert order == list(plan)


@given(sources(), batch_sizes, samplings, windows, st.integers(1, 7), st.data())
@settings(max_examples=60)
def test_resuming_with_another_world_goes_on_where_it_stopped(
    given_sources, batch_size, sampling, window, per_step, data
):
    def steps(first, last, world):
        plan = plan_epoch(given_sources, 5, 6, batch_size, sampling, window)
        for step in range(first, last):
            shares = [plan_step(plan, step, per_step, rank, world) for rank in range(world)]
            yield {minibatch for share in shares for minibatch in share}

    total = steps_in(plan_epoch(given_sources, 5, 6, batch_size), per_step)
    stop = data.draw(st.integers(0, total))
    worlds = data.draw(st.tuples(st.integers(1, 8), st.integers(1, 8)))
    interrupted = [*steps(0, stop, worlds[0]), *steps(stop, total, worlds[1])]
    assert interrupted == list(steps(0, total, 1))


@given(sources(), batch_sizes, samplings, windows, st.data())
def test_a_plan_is_a_sequence(given_sources, batch_size, sampling, window, data):
    """Asked for in any order, from the end or in slices, it says what it says from front to back."""
    plan = plan_epoch(given_sources, 3, 1, batch_size, sampling, window)
    whole = list(plan_epoch(given_sources, 3, 1, batch_size, sampling, window))
    assert len(plan) == len(whole)
    for index in data.draw(st.permutations(range(-len(whole), len(whole)))):
        assert plan[index] == whole[index]
    slices = st.slices(len(whole)) if whole else st.just(slice(None))
    for one in data.draw(st.lists(slices, max_size=4)):
        assert plan[one] == tuple(whole[one])
    with pytest.raises(IndexError):
        plan[len(whole)]


@pytest.mark.parametrize(
    ("sampling", "small", "large"), [("proportional", 1, 1_000), ("balanced", 500, 501), (2.0, 31, 970)]
)
def test_a_dataset_of_4_beside_one_of_4000(sampling, small, large):
    pair = [source("small", 4, first=7), source("large", 4_000, shards=11)]
    for epoch in range(3):
        plan = plan_epoch(pair, 0, epoch, 4, sampling)
        counts = Counter(minibatch.dataset for minibatch in plan)
        assert counts == {"small": small, "large": large}
        assert all(sorted(m.rows) == [7, 8, 9, 10] for m in plan if m.dataset == "small")
        sweeps = [minibatch.sweep for minibatch in plan if minibatch.dataset == "small"]
        assert sweeps == list(range(epoch * small, (epoch + 1) * small))


def test_the_large_one_goes_on_in_the_next_epoch():
    pair = [source("small", 4), source("large", 4_000)]
    large = [m for epoch in (0, 1) for m in plan_epoch(pair, 0, epoch, 4, "balanced") if m.dataset == "large"]
    assert [m.sweep for m in large] == [0] * 1_000 + [1] * 2
    assert sorted(row for m in large[:1_000] for row in m.rows) == list(range(4_000))


def test_a_small_dataset_is_seen_in_many_orders():
    plan = plan_epoch([source("small", 4), source("large", 4_000)], 0, 0, 4, "balanced")
    assert len({minibatch.rows for minibatch in plan if minibatch.dataset == "small"}) == 24


def test_datasets_take_turns_all_through_the_epoch():
    plan = plan_epoch([source("a", 500), source("b", 500)], 0, 0, 1)
    for quarter in range(4):
        share = Counter(minibatch.dataset for minibatch in plan[quarter * 250 : (quarter + 1) * 250])
        assert 85 < share["a"] < 165  # 125, give or take five standard deviations


def test_rows_of_a_shard_come_together_but_for_the_window():
    """Of 20 shards of 50, any 50 rows in a row come from few shards, in another order every epoch."""
    rows = np.arange(1_000, dtype=np.int64)
    big = Source("big", "f", rows, (rows // 50).astype(np.int32))
    starts = []
    for epoch in range(4):
        order = [row // 50 for m in plan_epoch([big], 0, epoch, 10, shuffle_window=40) for row in m.rows]
        assert max(len(set(order[start : start + 50])) for start in range(950)) <= 4
        starts.append(order[0])
    assert len(set(starts)) > 1


def test_seed_epoch_fingerprint_and_window_each_change_the_order():
    def plan(fingerprint="f", seed=0, epoch=0, window=4096):
        only = plan_epoch([source("a", 50, fingerprint=fingerprint)], seed, epoch, 4, shuffle_window=window)
        return tuple(minibatch.rows for minibatch in only)

    assert len({plan(), plan("g"), plan(seed=1), plan(epoch=1), plan(window=10)}) == 5
    assert plan() == plan()


def test_shuffling_is_uniform():
    """Each of 5 rows comes first in a fifth of 2,000 epochs (within five standard deviations)."""
    first = Counter(plan_epoch([source("a", 5)], 0, epoch, 1)[0].rows[0] for epoch in range(2_000))
    assert all(abs(first[row] - 400) < 5 * (2_000 * 0.2 * 0.8) ** 0.5 for row in range(5))


PROGRAM = """
import hashlib, sys
import numpy as np
from hydrapicker.streaming.plan import Source, plan_epoch
def source(name, size, shard):
    return Source(name, "of " + name, np.arange(size), (np.arange(size) // shard).astype(np.int32))
sources = [source("a", 3_000, 70), source("b", 500, 100), source("c", 4, 4)]
for sampling in ("proportional", "balanced", 2.5):
    plan = plan_epoch(sources, 7, 3, 8, sampling, 512)
    text = repr([(m.dataset, m.rows, m.sweep) for m in plan])
    print(len(plan), hashlib.sha256(text.encode()).hexdigest())
print("torch" in sys.modules, "pyarrow" in sys.modules)
"""


def test_the_order_is_fixed_for_ever_and_needs_no_torch():
    """In another process with another hash seed; a change of it would break resuming a run after an update."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == PINNED


PINNED = [
    "439 4e29b9ee4089f76d0ab36aed457d22c44b77218afcf30b72d9000603028993b3",
    "439 a28556efebd3540bfa9e934f0094bf8ae040e29ab1539096eb2d47dea02c4e24",
    "439 bcf6163e4808013002ca52fe9a788291ee264c2c397088f53c25973c73f2406f",
    "False False",
]


def test_a_plan_of_a_million_micrographs_holds_little():
    """No minibatch is there before it is asked for: planning takes a few bytes for each, and reads no row."""
    thousand = [source(f"d{n}", 1_000, 5) for n in range(1_000)]
    plan = plan_epoch(thousand, 0, 0, 4)
    assert len(plan) == 250_000
    arrays = [value for value in vars(plan).values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in arrays) <= 16 * len(plan)
    assert sum(sweep.cache_info().currsize for sweep in plan._sweeps) == 0
    assert len(list(islice(plan, 10))) == 10
    assert sum(sweep.cache_info().currsize for sweep in plan._sweeps) <= 10


def test_no_sources():
    for sampling in ("proportional", "balanced", 2.0):
        assert tuple(plan_epoch([], 0, 0, 4, sampling)) == ()
        assert tuple(plan_epoch([source("a", 0)], 0, 0, 4, sampling)) == ()
    assert steps_in((), 4) == 0


def test_misuse_is_refused():
    plan = (Minibatch("a", (0,), 0),)
    for arguments in [(1, 1, 0, 1), (-1, 1, 0, 1), (0, 1, 1, 1), (0, 1, -1, 1)]:
        with pytest.raises(AssertionError):
            plan_step(plan, *arguments)
    with pytest.raises(AssertionError, match="unique"):
        plan_epoch([source("a", 1), source("a", 1, fingerprint="g")], 0, 0, 1)
    with pytest.raises(AssertionError, match="batch_size"):
        plan_epoch([source("a", 1)], 0, 0, 0)
    with pytest.raises(AssertionError, match="epoch"):
        plan_epoch([source("a", 1)], 0, -1, 1)
    with pytest.raises(AssertionError):
        Source("a", "f", np.arange(3), np.zeros(2, np.int32))
