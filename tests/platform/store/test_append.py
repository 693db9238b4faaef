"""``--append``: a new version that uses the old shards again, and says what it left out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hydrapicker.errors import DatasetNotFoundError, InvalidInputError
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest
from hydrapicker.store.location import Location
from hydrapicker.store.store import Store


@pytest.fixture
def grow(lab, root):
    """Ingest the first ``count`` micrographs of a session, appending from the second time on."""

    def grow(count: int, **changes) -> object:
        micrographs, particles = lab(count=count)
        config = IngestConfig(
            "toy", (micrographs,), particles, 84.0, store=root, workers=2, shard_megabytes=0.005,
            append=Store(root).manifest("toy") is not None,
        )  # fmt: skip
        return ingest(replace(config, **changes))

    return grow


def test_appending_reuses_shards_and_is_read_as_one(grow, root, tmp_path):
    first, second, third = grow(4), grow(8), grow(9)
    assert [report.version for report in (first, second, third)] == ["v0001", "v0002", "v0003"]
    assert [sum(report.micrographs.values()) for report in (first, second, third)] == [4, 8, 9]
    assert set(second.skipped.values()) == {"it is already in the dataset"}
    assert sorted(Path(path).name for path in second.skipped) == [f"mic{n:02d}.mrc" for n in range(4)]
    assert len(third.skipped) == 8
    shards = [f"{n:05d}.shard" for n in range(4)]
    assert Location(root).names("toy/v0001") == (*shards, "index.parquet")
    assert Location(root).names("toy/v0002") == (*shards, "index.parquet")
    assert Location(root).names("toy/v0003") == ("00000.shard", "index.parquet")
    dataset = Store(root).open("toy")
    assert [row.id for row in dataset.rows] == [f"mic{n:02d}.mrc" for n in range(9)]
    whole = str(tmp_path / "whole")
    grow(9, store=whole, append=False)
    expected = Store(whole).open("toy")
    for number in range(9):
        np.testing.assert_array_equal(dataset.read(number).image, expected.read(number).image)
        np.testing.assert_array_equal(dataset.read(number).particles, expected.read(number).particles)


def test_new_micrographs_have_splits_of_their_own(grow, root):
    before = {row.id: row.split for row in (grow(6), Store(root).open("toy"))[1].rows}
    grow(12, val_size=2, test_size=3)
    after = {row.id: row.split for row in Store(root).open("toy").rows}
    assert {name: after[name] for name in before} == before
    new = [split for name, split in after.items() if name not in before]
    assert [new.count(split) for split in ("train", "val", "test")] == [1, 2, 3]


@pytest.mark.parametrize("new", [1, 2])
def test_too_few_for_splits_are_all_for_training(grow, new):
    first, second = grow(3), grow(3 + new)
    assert second.micrographs == {**first.micrographs, "train": first.micrographs["train"] + new}


def test_nothing_new_makes_no_version(grow, root):
    first, again = grow(4), grow(4)
    assert (again.unchanged, again.version, again.fingerprint) == (True, "v0001", first.fingerprint)
    assert again.micrographs == first.micrographs
    assert len(again.skipped) == 4
    assert {entry.path.split("/")[1] for entry in Location(root).files("toy")} == {"manifest.json", "v0001"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contrast": "light"}, "contrast is dark there and light here"),
        ({"box_px": 19}, "box_px is 21 there and 19 here"),
        ({"diameter_angstrom": 90.0, "box_px": 19}, "box_px is 21 there and 19 here, diameter_angstrom is 84.0 there"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(grow, root, change, message):
    grow(4)
    with pytest.raises(InvalidInputError, match=f"cannot append to toy v0001: .*{message}.* without --append"):
        grow(6, **change)
    assert {entry.path.split("/")[1] for entry in Location(root).files("toy")} == {"manifest.json", "v0001"}


def test_there_must_be_something_to_append_to(grow, root):
    with pytest.raises(DatasetNotFoundError, match="no dataset toy"):
        grow(4, append=True)
    assert Location(root).files() == ()
