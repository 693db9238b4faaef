import hashlib
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from hydrapicker.errors import StoreError
from hydrapicker.store.index import fingerprint_of, index_from_bytes, index_to_bytes, rows_of


def test_rows_come_back(make_rows, meta):
    rows, _ = make_rows(7)
    table, found = index_from_bytes(index_to_bytes(rows, meta("toy")), "here")
    assert found == meta("toy")
    assert rows_of(table) == tuple(rows)
    for before, after in zip(rows, rows_of(table), strict=True):
        np.testing.assert_array_equal(before.particles, after.particles)


def test_an_index_without_particles_or_rows(make_rows, meta):
    rows, _ = make_rows(1)
    (row,) = rows_of(index_from_bytes(index_to_bytes(rows, meta("toy")), "here")[0])
    assert row.particles.shape == (0, 2)
    assert rows_of(index_from_bytes(index_to_bytes([], meta("toy")), "here")[0]) == ()


def test_particles_stay_with_their_micrograph_across_row_groups(make_rows, meta):
    (row,), _ = make_rows(1)
    points = np.arange(20, dtype=np.float32).reshape(10, 2)
    rows = [replace(row, id=str(number), particles=points[: number % 11] + number) for number in range(10_007)]
    content = index_to_bytes(rows, meta("toy"))
    assert pq.ParquetFile(io.BytesIO(content)).num_row_groups == 2
    found = rows_of(index_from_bytes(content, "here")[0])
    for number in (0, 10, 9_999, 10_000, 10_001, 10_006):
        np.testing.assert_array_equal(found[number].particles, points[: number % 11] + number)


def test_same_rows_same_bytes(make_rows, meta):
    rows, _ = make_rows(5)
    content = index_to_bytes(rows, meta("toy"))
    assert content == index_to_bytes(rows, meta("toy"))
    assert fingerprint_of(content) == hashlib.sha256(content).hexdigest()
    assert content != index_to_bytes(rows, meta("other"))


def test_pandas_reads_it_as_it_stands(make_rows, meta):
    rows, _ = make_rows(6)
    frame = pd.read_parquet(io.BytesIO(index_to_bytes(rows, meta("toy"))))
    assert list(frame["id"]) == [row.id for row in rows]
    assert list(frame.columns) == [
        "id", "split", "shard", "offset", "length", "dtype", "height", "width", "checksum", "scale", "original_height",
        "original_width", "pixel_size_angstrom", "background_mean", "background_std", "particles",
    ]  # fmt: skip
    points = [(point["x"], point["y"]) for point in frame["particles"][5]]
    np.testing.assert_array_equal(np.array(points, np.float32), rows[5].particles)


@pytest.mark.parametrize("content", [b"", b"PAR1 and nothing else"])
def test_what_is_no_index_is_refused(content):
    with pytest.raises(StoreError, match="here: not a dataset's index"):
        index_from_bytes(content, "here")


def test_a_parquet_file_of_something_else_is_refused():
    sink = io.BytesIO()
    pd.DataFrame({"a": [1]}).to_parquet(sink)
    with pytest.raises(StoreError, match="here: not a dataset's index"):
        index_from_bytes(sink.getvalue(), "here")
