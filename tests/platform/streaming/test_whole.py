"""Micrographs read ahead one by one are those that a dataset reads."""

import numpy as np
import pytest

from hydrapicker.errors import StoreError
from hydrapicker.streaming.whole import stream_micrographs


def test_they_come_in_order_and_as_the_dataset_reads_them(datasets):
    wanted = [("one", 3), ("three", 0), ("one", 0), ("one", 3)]
    found = list(stream_micrographs(datasets, wanted))
    assert len(found) == len(wanted)
    for (name, row), micrograph in zip(wanted, found, strict=True):
        expected = datasets[name].read(row)
        assert micrograph.id == expected.id
        np.testing.assert_array_equal(micrograph.image, expected.image)
        np.testing.assert_array_equal(micrograph.particles, expected.particles)
    assert list(stream_micrographs(datasets, [])) == []


def test_a_damaged_one_is_told_at_its_turn(datasets, tmp_path):
    path, offset, _ = datasets["one"].path_of(2)
    with (tmp_path / path).open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff\xff")
    micrographs = stream_micrographs(datasets, [("one", 0), ("one", 2), ("three", 0)])
    assert next(micrographs).id == "m000.mrc"
    with pytest.raises(StoreError, match=r"dataset one v0001, shard .*, micrograph m002.mrc is damaged"):
        next(micrographs)
