import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydrapicker.store.index import index_from_bytes, index_to_bytes
from hydrapicker.store.rows import PLAIN_COLUMNS, Rows


@pytest.fixture
def pair(make_rows, meta):
    """Rows as they were before they were written, and as they are read."""
    before, _ = make_rows(9)
    return tuple(before), Rows(index_from_bytes(index_to_bytes(before, meta("toy")), "here")[0])


def test_they_are_what_was_written(pair):
    before, rows = pair
    assert len(rows) == 9
    assert tuple(rows) == before
    for number in range(9):
        np.testing.assert_array_equal(rows[number].particles, before[number].particles)
        assert rows[number].particles.dtype == np.float32


def test_values_have_pythons_own_types(pair):
    for row in pair[1]:
        assert {name: type(getattr(row, name)) for name in PLAIN_COLUMNS} == PLAIN_COLUMNS


@given(data=st.data())
def test_they_are_indexed_as_a_tuple_is(data, pair_of_nine):
    before, rows = pair_of_nine
    index = data.draw(st.one_of(st.integers(-9, 8), st.slices(9)))
    assert rows[index] == before[index]
    if isinstance(index, int):
        np.testing.assert_array_equal(rows[index].particles, before[index].particles)


@pytest.fixture(scope="module")
def pair_of_nine():
    """As ``pair``, once for all examples; the rows need nothing but to differ."""
    from hydrapicker.store.index import IndexMeta, Row

    before = tuple(
        Row(str(n), "train", "00000.shard", n, 1, "float16", 1, 1, "00", 0.5, 2, 2, 1.0, 0.0, 1.0, np.ones((n, 2)))
        for n in range(9)
    )
    content = index_to_bytes(before, IndexMeta("toy", 21, 120.0, "dark", "none"))
    return before, Rows(index_from_bytes(content, "here")[0])


@pytest.mark.parametrize("outside", [9, -10, 1_000])
def test_what_is_outside_is_refused(pair, outside):
    with pytest.raises(IndexError):
        pair[1][outside]


def test_columns_are_the_rows_values(pair):
    before, rows = pair
    for name, kind in PLAIN_COLUMNS.items():
        column = rows.column(name)
        assert column.tolist() == [getattr(row, name) for row in before]
        assert column.dtype == {int: np.int64, float: np.float64, str: np.dtype(object)}[kind]
        with pytest.raises(ValueError, match="read-only"):
            column[0] = column[1]
    assert rows.particle_counts.tolist() == [len(row.particles) for row in before]


def test_particles_cannot_be_changed(pair):
    with pytest.raises(ValueError, match="read-only"):
        pair[1][2].particles[0, 0] = 1


def test_none_at_all(meta):
    rows = Rows(index_from_bytes(index_to_bytes([], meta("toy")), "here")[0])
    assert (len(rows), tuple(rows), rows[:3]) == (0, (), ())
    assert rows.column("length").tolist() == rows.column("id").tolist() == rows.particle_counts.tolist() == []


def test_none_has_a_particle(make_rows, meta):
    row = make_rows(1)[0][0]
    rows = Rows(index_from_bytes(index_to_bytes([row, copy.copy(row)], meta("toy")), "here")[0])
    assert rows.particle_counts.tolist() == [0, 0]
    assert rows[1].particles.shape == (0, 2)
