"""What holds for a store anywhere: one suite over every kind of root (see the fixture ``root``)."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from hydrapicker.errors import DatasetNotFoundError, InvalidInputError, StoreError
from hydrapicker.storage.location import Location
from hydrapicker.store.describe import describe, summaries
from hydrapicker.store.draft import Draft
from hydrapicker.store.store import Store


def test_what_was_written_is_read(root, write_dataset):
    rows, images = write_dataset(root)
    dataset = Store(root).open("toy")
    assert (dataset.name, dataset.version, dataset.box_px, dataset.contrast) == ("toy", "v0001", 21, "dark")
    assert dataset.diameter_angstrom == 120.0
    assert len(dataset) == len(rows)
    for number, (row, image) in enumerate(zip(rows, images, strict=True)):
        read = dataset.read(number)
        assert read.id == row.id
        assert read.image.dtype == np.float32
        np.testing.assert_array_equal(read.image, image.astype(np.float32))
        np.testing.assert_array_equal(read.particles, row.particles)
        assert read.particles.dtype == np.float32
        assert read.particles.shape == (number % 3, 2)
        assert (read.scale_x, read.scale_y) == (row.width / row.original_width, row.height / row.original_height)
        assert (read.background_mean, read.background_std, read.pixel_size_angstrom) == (0.125, 0.5, 1.5)
        assert (read.original_height, read.original_width) == (row.original_height, row.original_width)


def test_what_is_read_may_be_changed(root, write_dataset):
    write_dataset(root)
    dataset = Store(root).open("toy")
    dataset.read(2).image[:] = 0
    dataset.read(2).particles[:] = 0
    assert dataset.read(2).image.any()
    assert dataset.read(2).particles.any()


def test_splits_are_row_numbers(root, write_dataset):
    write_dataset(root)
    dataset = Store(root).open("toy")
    assert [dataset.split(name).tolist() for name in ("test", "val", "train")] == [[0], [1], [2, 3, 4, 5, 6]]


def test_the_empty_store(root):
    assert Store(root).names() == ()
    assert summaries(Store(root)) == ([], [])
    with pytest.raises(DatasetNotFoundError, match="the store is empty"):
        Store(root).open("toy")


def test_an_unknown_dataset_is_told_with_the_nearest_names(root, write_dataset):
    for name in ("PDB-6b7n", "PDB-4hhb", "EMPIAR-10017"):
        write_dataset(root, name)
    store = Store(root)
    assert store.names() == ("EMPIAR-10017", "PDB-4hhb", "PDB-6b7n")
    with pytest.raises(DatasetNotFoundError, match=r"no dataset pdb-6b7 in .*did you mean PDB-6b7n"):
        store.open("pdb-6b7")
    with pytest.raises(DatasetNotFoundError, match=r"has no version v0002; there are v0001"):
        store.open("PDB-4hhb", "v0002")
    with pytest.raises(InvalidInputError, match="not allowed"):
        store.open("../PDB-4hhb")


def test_versions_stay_as_they_are(root, write_dataset):
    write_dataset(root, seed=0)
    first = Store(root).open("toy")
    write_dataset(root, seed=1)
    second = Store(root).open("toy")
    assert (first.version, second.version) == ("v0001", "v0002")
    assert first.fingerprint != second.fingerprint
    again = Store(root).open("toy", "v0001")
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again.read(0).image, first.read(0).image)


@pytest.mark.parametrize("position", [0, 700, -1])
def test_a_flipped_byte_is_never_read(root, write_dataset, position):
    write_dataset(root)
    location = Location(root)
    content = bytearray(location.read("toy/v0001/00002.shard"))
    content[position] ^= 0x10
    location.write("toy/v0001/00002.shard", bytes(content))
    dataset = Store(root).open("toy")
    failures = []
    for number, row in enumerate(dataset.rows):
        try:
            dataset.read(number)
        except StoreError as error:
            failures.append((row.shard, str(error)))
    ((shard, message),) = failures
    assert shard == "00002.shard"
    assert "dataset toy v0001, shard 00002.shard, micrograph m00" in message
    assert "run hydrapicker datasets repair toy --from FOLDER" in message
    assert "\n" not in message


def test_a_short_or_missing_shard_is_told(root, write_dataset):
    write_dataset(root)
    location = Location(root)
    location.write("toy/v0001/00000.shard", location.read("toy/v0001/00000.shard")[:-3])
    location.remove("toy/v0001/00001.shard")
    dataset = Store(root).open("toy")
    dataset.read(0)
    with pytest.raises(StoreError, match=r"micrograph m001.mrc is damaged \(\d+ of \d+ bytes"):
        dataset.read(1)
    told = r"micrograph m002.mrc is damaged \(the shard is missing\): run hydrapicker datasets repair toy --from FOLDER"
    with pytest.raises(StoreError, match=told):
        dataset.read(2)


@pytest.mark.parametrize("flips", [2, 3])
def test_a_bit_that_flips_on_the_way_is_no_damage(root, write_dataset, monkeypatch, flips):
    _, images = write_dataset(root)
    dataset = Store(root).open("toy")
    read_range, left = Location.read_range, iter(range(flips))
    assert dataset.rows

    def on_the_way(self: Location, path: str, offset: int, length: int) -> bytes:
        content = read_range(self, path, offset, length)
        return content if next(left, None) is None else bytes([content[0] ^ 1, *content[1:]])

    monkeypatch.setattr(Location, "read_range", on_the_way)
    if flips == 2:
        np.testing.assert_array_equal(dataset.read(3).image, images[3].astype(np.float32))
    else:
        with pytest.raises(StoreError, match=r"micrograph m003.mrc is damaged \(the checksum does not match\)"):
            dataset.read(3)


def test_a_damaged_index_is_refused(root, write_dataset):
    write_dataset(root)
    location = Location(root)
    content = bytearray(location.read("toy/v0001/index.parquet"))
    content[len(content) // 2] ^= 0x01
    location.write("toy/v0001/index.parquet", bytes(content))
    with pytest.raises(StoreError, match="sha256"):
        Store(root).open("toy")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format_version": 1, "name": "toy"}'])
def test_a_damaged_manifest_is_refused(root, write_dataset, content):
    write_dataset(root)
    Location(root).write("toy/manifest.json", content)
    with pytest.raises(StoreError, match="not a dataset's manifest"):
        Store(root).open("toy")


def test_what_a_manifest_says_must_hold_together(root, write_dataset):
    write_dataset(root)
    location = Location(root)
    good = json.loads(location.read("toy/manifest.json"))
    entry = good["versions"]["v0001"]
    for bad in (
        {"current": "v0002"},
        {"versions": {}},
        {"current": "../v1", "versions": {"../v1": entry}},
        {"versions": {"v0001": entry, "v2": entry}},
        {"versions": {"v0001": {**entry, "micrographs": 3}}},
        {"versions": {"v0001": {**entry, "fingerprint": None}}},
        {"versions": {"v0001": {**entry, "index_bytes": "many"}}},
    ):
        location.write("toy/manifest.json", json.dumps({**good, **bad}).encode())
        with pytest.raises(StoreError, match=r"toy/manifest.json: not a dataset's manifest \(.*; restore it") as caught:
            Store(root).open("toy")
        assert "\n" not in str(caught.value)


def test_a_copied_folder_is_not_another_dataset(write_dataset, tmp_path):
    write_dataset(str(tmp_path))
    shutil.copytree(tmp_path / "toy", tmp_path / "copy")
    told = r"copy/manifest.json: this is dataset toy, in a folder of another name; rename the folder to toy, or"
    with pytest.raises(StoreError, match=told):
        Store(str(tmp_path)).open("copy")
    assert Store(str(tmp_path)).open("toy").name == "toy"


def test_one_bad_manifest_hides_no_other_dataset(root, write_dataset):
    for name in ("a", "b", "c"):
        write_dataset(root, name)
    location = Location(root)
    location.write("b/manifest.json", b"{}")
    location.write("no dataset/manifest.json", b"{}")
    location.write("notes.txt", b"in between")
    found, (bad,) = summaries(Store(root))
    assert [entry["name"] for entry in found] == ["a", "c"]
    assert "b/manifest.json: not a dataset's manifest" in str(bad)
    assert Store(root).names() == ("a", "b", "c")


def test_a_store_that_does_not_answer_is_told_once(write_dataset, tmp_path, monkeypatch):
    write_dataset(str(tmp_path))

    def fail(self: Location, path: str) -> None:
        raise StoreError("no answer") from ConnectionResetError()

    monkeypatch.setattr(Location, "read_tagged", fail)
    with pytest.raises(StoreError, match="no answer"):
        summaries(Store(str(tmp_path)))


def test_an_unknown_format_version_is_refused(root, write_dataset):
    write_dataset(root)
    location = Location(root)
    manifest = json.loads(location.read("toy/manifest.json"))
    location.write("toy/manifest.json", json.dumps({**manifest, "format_version": 3}).encode())
    with pytest.raises(StoreError, match=r"manifest.json: format version 3, but this HydraPicker reads 1 and 2"):
        Store(root).open("toy")


def test_an_index_cannot_lead_out_of_the_store(root, make_rows, meta):
    rows, images = make_rows(3)
    draft = Draft(Location(root), meta("toy"), "one")
    draft.location.write(draft.path_of(0), images[0].tobytes())
    draft.finish_shard(0, [replace(rows[0], shard="../../../etc/passwd")])
    draft.commit()
    with pytest.raises(StoreError, match="outside the store"):
        Store(root).open("toy").read(0)


def test_describe_counts_what_was_written(root, write_dataset):
    rows, _ = write_dataset(root)
    write_dataset(root, "other", count=3)
    found = describe(Store(root).open("toy"))
    assert found["micrographs"] == {"train": 5, "val": 1, "test": 1}
    assert found["particles"] == {"train": sum(n % 3 for n in range(2, 7)), "val": 1, "test": 0}
    assert found["pixel_size_angstrom"] == [1.5, 1.5]
    assert found["width"] == [min(r.original_width for r in rows), max(r.original_width for r in rows)]
    assert found["shards"] == 4
    json.dumps(found)
    (first, second), unusable = summaries(Store(root))
    assert unusable == []
    assert (first["name"], second["name"]) == ("other", "toy")
    assert second["micrographs"] == found["micrographs"]
    assert second["particles"] == found["particles"]
    assert second["fingerprint"] == found["fingerprint"]
    json.dumps(first)
