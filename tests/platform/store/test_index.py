import hashlib
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from hydrapicker.errors import StoreError
from hydrapicker.store.index import fingerprint_of, footer_of, index_from_bytes, index_to_bytes, rows_of


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
    rows = [replace(row, id=str(number), particles=points[: number % 11] + number) for number in range(50_007)]
    content = index_to_bytes(rows, meta("toy"))
    assert pq.ParquetFile(io.BytesIO(content)).num_row_groups == 2
    found = rows_of(index_from_bytes(content, "here")[0])
    for number in (0, 10, 49_999, 50_000, 50_001, 50_006):
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
        "split", "shard", "offset", "length", "id", "dtype", "height", "width", "checksum", "scale", "original_height",
        "original_width", "pixel_size_angstrom", "background_mean", "background_std", "particles",
    ]  # fmt: skip
    points = [(point["x"], point["y"]) for point in frame["particles"][5]]
    np.testing.assert_array_equal(np.array(points, np.float32), rows[5].particles)


def test_arrow_reads_what_holds_for_all_micrographs(make_rows, meta):
    found = dict(pq.read_schema(io.BytesIO(index_to_bytes(make_rows(2)[0], meta("toy")))).metadata)
    assert len(found.pop(b"planning_sha256")) == 64
    assert found == {
        b"format_version": b"2", b"dataset": b"toy", b"box_px": b"21", b"diameter_angstrom": b"120.0",
        b"contrast": b"dark", b"normalisation": b"median-mad-clip6",
    }  # fmt: skip


def test_what_planning_takes_comes_first_and_particles_last(make_rows, meta):
    group = pq.read_metadata(io.BytesIO(index_to_bytes(make_rows(6)[0], meta("toy")))).row_group(0)
    places = {group.column(i).path_in_schema: group.column(i).data_page_offset for i in range(group.num_columns)}
    in_order = sorted(places, key=lambda name: places[name])
    assert in_order[:4] == ["split", "shard", "offset", "length"]
    assert in_order[-2:] == ["particles.list.element.x", "particles.list.element.y"]


def test_no_value_is_null_and_no_type_is_ours_alone(make_rows, meta):
    schema = pq.ParquetFile(io.BytesIO(index_to_bytes(make_rows(6)[0], meta("toy")))).schema
    for column in map(schema.column, range(len(schema.names))):
        assert column.max_definition_level == (1 if column.path.startswith("particles") else 0)  # an empty list
        assert column.physical_type in ("BYTE_ARRAY", "INT64", "DOUBLE", "FLOAT")


def test_a_page_that_is_read_with_another_byte_is_noticed_by_any_reader_that_checks(make_rows, meta):
    content = bytearray(index_to_bytes(make_rows(300)[0], meta("toy")))
    column = pq.read_metadata(io.BytesIO(content)).row_group(0).column(0)
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    with pytest.raises(OSError, match="CRC checksum verification failed"):
        pq.read_table(io.BytesIO(content), columns=["split"], page_checksum_verification=True)


def test_the_footer_is_the_end_of_the_file(make_rows, meta):
    content = index_to_bytes(make_rows(5)[0], meta("toy"))
    size, sha256 = footer_of(content)
    assert sha256 == hashlib.sha256(content[-size:]).hexdigest()
    assert size == pq.read_metadata(io.BytesIO(content)).serialized_size + 8
    assert pq.read_metadata(io.BytesIO(content[-size:])).num_rows == 5


@pytest.mark.parametrize("content", [b"", b"PAR1 and nothing else"])
def test_what_is_no_index_is_refused(content):
    with pytest.raises(StoreError, match="here: not a dataset's index"):
        index_from_bytes(content, "here")


def test_an_index_without_a_column_is_refused(make_rows, meta):
    table = pq.read_table(io.BytesIO(index_to_bytes(make_rows(2)[0], meta("toy"))))
    sink = io.BytesIO()
    pq.write_table(table.drop_columns("checksum"), sink)
    with pytest.raises(StoreError, match=r"here: not a dataset's index .*checksum"):
        index_from_bytes(sink.getvalue(), "here")


def test_columns_of_others_are_left_alone(make_rows, meta):
    rows, _ = make_rows(2)
    table = pq.read_table(io.BytesIO(index_to_bytes(rows, meta("toy"))))
    sink = io.BytesIO()
    pq.write_table(table.append_column("note", [["a", "b"]]), sink)
    found, _ = index_from_bytes(sink.getvalue(), "here")
    assert found.column_names == table.column_names
    assert rows_of(found) == tuple(rows)


def test_a_parquet_file_of_something_else_is_refused():
    sink = io.BytesIO()
    pd.DataFrame({"a": [1]}).to_parquet(sink)
    with pytest.raises(StoreError, match="here: not a dataset's index"):
        index_from_bytes(sink.getvalue(), "here")
