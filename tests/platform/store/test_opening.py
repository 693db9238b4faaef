"""Opening datasets: little is read, all of it is checked, and many are opened at once."""

import io
import json
import multiprocessing
import os
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hydrapicker.errors import DatasetNotFoundError, StoreError
from hydrapicker.storage.location import Location
from hydrapicker.store.index import Row, fingerprint_of, footer_of, index_to_bytes
from hydrapicker.store.layout import INDEX, Manifest, VersionEntry
from hydrapicker.store.outline import WHOLE_BELOW_BYTES
from hydrapicker.store.store import Dataset, Store

PATH = f"toy/v0001/{INDEX}"


class Watched(Location):
    """A location that notes what is read from it."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.reads: list[tuple[int, int]] = []

    def read(self, path: str) -> bytes:
        content = super().read(path)
        self.reads.append((0, len(content)))
        return content

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return super().read_range(path, offset, length)

    @property
    def bytes_read(self) -> int:
        return sum(length for _, length in self.reads)


class Flipping(Location):
    """A location of which some answers come with a flipped bit, as by a bad network."""

    def __init__(self, root: str, flips: int) -> None:
        super().__init__(root)
        self.flips_left = flips

    def read(self, path: str) -> bytes:
        return self._flipped(super().read(path))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        return self._flipped(super().read_range(path, offset, length))

    def _flipped(self, content: bytes) -> bytes:
        self.flips_left -= 1
        return content if self.flips_left < 0 else bytes([*content[:-7], content[-7] ^ 4, *content[-6:]])


def entry_of(index: bytes) -> VersionEntry:
    return VersionEntry(fingerprint_of(index), "", {}, {}, len(index), *footer_of(index))


@pytest.fixture(scope="module")
def many() -> list[Row]:
    """More rows than a row group holds, in 60 shards, with the splits mixed."""
    random = np.random.default_rng(0)
    splits = random.choice(["train", "val", "test"], 60_000, p=[0.8, 0.1, 0.1]).tolist()
    point = np.ones((1, 2), np.float32)
    return [
        Row(
            f"m{n}", splits[n], f"{n // 1000:05d}.shard", 8 * (n % 1000), 8, "float16", 2, 2, f"{n:032x}", 0.5, 4, 4,
            1.0, 0.0, 1.0, point * n,
        )
        for n in range(60_000)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def stored(many, tmp_path_factory) -> tuple[str, Manifest, bytes]:
    """A store with a dataset ``toy`` whose index is too large to be read whole."""
    from hydrapicker.store.index import IndexMeta

    root = tmp_path_factory.mktemp("large")
    index = index_to_bytes(many, IndexMeta("toy", 21, 120.0, "dark", "median-mad-clip6"))
    assert len(index) > 2 * WHOLE_BELOW_BYTES
    location = Location(str(root))
    location.write(PATH, index)
    manifest = Manifest("toy", "v0001", {"v0001": entry_of(index)})
    location.write("toy/manifest.json", manifest.to_bytes())
    return str(root), manifest, index


@pytest.fixture
def damaged_copy(stored, tmp_path):
    """Write the large dataset with one byte of its index changed."""
    _, manifest, index = stored
    location = Location(str(tmp_path))
    location.write("toy/manifest.json", manifest.to_bytes())

    def write(position: int) -> Store:
        changed = bytearray(index)
        changed[position] ^= 0x10
        location.write(PATH, bytes(changed))
        return Store(str(tmp_path))

    return write


def test_a_plan_reads_little_of_a_large_index(stored, many):
    root, manifest, index = stored
    location = Watched(root)
    dataset = Dataset(location, manifest, "v0001")
    assert location.bytes_read < len(index) / 30
    assert len(location.reads) == 1 + 2  # the footer, and two row groups
    for split in ("train", "val", "test"):
        assert dataset.split(split).tolist() == [n for n, row in enumerate(many) if row.split == split]
    assert dataset.shard_numbers.tolist() == [n // 1000 for n in range(60_000)]
    assert (len(dataset), dataset.box_px, dataset.fingerprint) == (60_000, 21, fingerprint_of(index))


def test_rows_are_read_once_and_only_when_asked_for(stored, many):
    root, manifest, index = stored
    location = Watched(root)
    dataset = Dataset(location, manifest, "v0001")
    before = len(location.reads)
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda number: dataset.rows[number], range(0, 60_000, 5_000)))
    assert rows == many[::5_000]
    assert location.reads[before:] == [(0, len(index))]


def test_a_small_index_is_one_request(write_dataset, tmp_path):
    write_dataset(str(tmp_path), count=9)
    manifest = Store(str(tmp_path)).manifest("toy")
    location = Watched(str(tmp_path))
    dataset = Dataset(location, manifest, "v0001")
    assert len(location.reads) == 1
    assert dataset.split("train").tolist() == list(range(2, 9))
    assert dataset.shard_numbers.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]


def planning_pages(index: bytes) -> range:
    group = pq.read_metadata(io.BytesIO(index)).row_group(1)
    columns = [group.column(number) for number in range(2)]
    assert [column.path_in_schema for column in columns] == ["split", "shard"]
    first = columns[0].dictionary_page_offset
    return range(first, first + sum(column.total_compressed_size for column in columns))


def test_a_changed_byte_in_what_planning_reads_is_never_believed(stored, damaged_copy):
    """Few bytes of a page's header change nothing that is read (statistics); all others must be told."""
    good = Store(stored[0]).open("toy")
    places = planning_pages(stored[2])
    tried = [*places[:60], *places[60::29]]
    refused = []
    for position in tried:
        store = damaged_copy(position)
        try:
            dataset = store.open("toy")
        except StoreError as error:
            refused.append(str(error))
            continue
        for split in ("train", "val", "test"):
            np.testing.assert_array_equal(dataset.split(split), good.split(split))
        np.testing.assert_array_equal(dataset.shard_numbers, good.shard_numbers)
    assert len(refused) > 0.8 * len(tried)
    for message in refused:
        assert "index.parquet: damaged, " in message
        assert message.endswith("; ingest the same input again to repair it")
        assert "\n" not in message


@pytest.mark.parametrize("from_the_end", [1, 5, 100, 900])
def test_a_damaged_footer_is_told(stored, damaged_copy, from_the_end):
    with pytest.raises(StoreError, match=r"index.parquet: damaged, the sha256 of its footer is not the manifest's"):
        damaged_copy(len(stored[2]) - from_the_end).open("toy")


def test_damage_elsewhere_is_told_when_rows_are_needed(stored, damaged_copy):
    dataset = damaged_copy(len(stored[2]) // 2).open("toy")
    with pytest.raises(StoreError, match=r"index.parquet: damaged, its sha256 is not the manifest's"):
        dataset.read(0)


def test_a_short_index_is_told(stored, tmp_path):
    _, manifest, index = stored
    location = Location(str(tmp_path))
    for length in (0, 10, planning_pages(index).start, len(index) - 1):
        location.write(PATH, index[:length])
        with pytest.raises(StoreError, match=r"index.parquet: damaged"):
            Dataset(location, manifest, "v0001")


def test_a_bit_that_flips_on_the_way_is_read_again(stored):
    root, manifest, _ = stored
    dataset = Dataset(Flipping(root, 2), manifest, "v0001")
    assert len(dataset) == 60_000
    dataset.location.flips_left = 2
    assert dataset.rows[59_999].id == "m59999"
    with pytest.raises(StoreError, match="damaged"):
        Dataset(Flipping(root, 3), manifest, "v0001")


def test_an_index_of_format_version_1_is_still_read(make_rows, meta, tmp_path):
    """As it was written then: another order of columns, no checksums of pages, and no sizes in the manifest."""
    rows, _ = make_rows(6)
    rows = [replace(row, shard=f"{number // 4:05d}.shard") for number, row in enumerate(rows)]
    table = pq.read_table(io.BytesIO(index_to_bytes(rows, meta("toy"))))
    old = table.select(["id", *(name for name in table.column_names if name != "id")])
    sink = io.BytesIO()
    pq.write_table(old.replace_schema_metadata({**table.schema.metadata, b"format_version": b"1"}), sink)
    entry = {"fingerprint": fingerprint_of(sink.getvalue()), "created": "then", "micrographs": {}, "particles": {}}
    manifest = {"format_version": 1, "name": "toy", "current": "v0001", "versions": {"v0001": entry}}
    location = Location(str(tmp_path))
    location.write(PATH, sink.getvalue())
    location.write("toy/manifest.json", json.dumps(manifest).encode())
    dataset = Store(str(tmp_path)).open("toy")
    assert tuple(dataset.rows) == tuple(rows)
    assert dataset.meta == meta("toy")
    assert [dataset.split(name).tolist() for name in ("test", "val", "train")] == [[0], [1], [2, 3, 4, 5]]
    assert dataset.shard_numbers.tolist() == [0, 0, 0, 0, 1, 1]
    assert dataset.path_of(5) == ("toy/v0001/00001.shard", rows[5].offset, rows[5].length)


def test_a_shard_of_an_earlier_version_is_found(make_rows, meta, tmp_path):
    rows = [replace(row, shard=f"v0001/{number:05d}.shard") for number, row in enumerate(make_rows(3)[0])]
    index = index_to_bytes([*rows, replace(rows[0], id="new", shard="00000.shard")], meta("toy"))
    location = Location(str(tmp_path))
    location.write(f"toy/v0002/{INDEX}", index)
    dataset = Dataset(location, Manifest("toy", "v0002", {"v0002": entry_of(index)}), "v0002")
    assert [dataset.path_of(row)[0] for row in range(4)] == [
        "toy/v0001/00000.shard", "toy/v0001/00001.shard", "toy/v0001/00002.shard", "toy/v0002/00000.shard",
    ]  # fmt: skip
    assert dataset.shard_numbers.tolist() == [0, 1, 2, 3]


def test_a_version_without_micrographs(meta, tmp_path):
    index = index_to_bytes([], meta("toy"))
    location = Location(str(tmp_path))
    location.write(PATH, index)
    dataset = Dataset(location, Manifest("toy", "v0001", {"v0001": entry_of(index)}), "v0001")
    assert (len(dataset), len(dataset.rows), dataset.split("train").tolist()) == (0, 0, [])


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        (None, "not a dataset's index"),
        ({"format_version": "2"}, "not a dataset's index"),
        ({"format_version": "99"}, "format version 99, but this HydraPicker reads 1 and 2"),
    ],
)
def test_what_is_no_index_is_refused_though_the_manifest_names_it(tmp_path, notes, message):
    sink = io.BytesIO()
    table = pa.Table.from_pandas(pd.DataFrame({"split": ["train"], "shard": ["a"]}), preserve_index=False)
    pq.write_table(table.replace_schema_metadata(notes), sink)
    location = Location(str(tmp_path))
    location.write(PATH, sink.getvalue())
    manifest = Manifest("toy", "v0001", {"v0001": entry_of(sink.getvalue())})
    with pytest.raises(StoreError, match=f"index.parquet: {message}"):
        Dataset(location, manifest, "v0001")


def test_what_planning_needs_cannot_be_changed_by_mistake(write_dataset, tmp_path):
    write_dataset(str(tmp_path))
    dataset = Store(str(tmp_path)).open("toy")
    for array in (dataset.split("train"), dataset.shard_numbers):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_many_are_opened_at_once(root, write_dataset):
    for number in range(5):
        write_dataset(root, f"d{number}", count=number + 2, seed=number)
    write_dataset(root, "d3", count=9, seed=8)
    wanted = {"d4": None, "d3": "v0001", "d0": None, "d1": "v0001"}
    opened = Store(root).open_all(wanted)
    assert [(name, dataset.name, dataset.version) for name, dataset in opened.items()] == [
        ("d4", "d4", "v0001"), ("d3", "d3", "v0001"), ("d0", "d0", "v0001"), ("d1", "d1", "v0001"),
    ]  # fmt: skip
    assert [len(dataset) for dataset in opened.values()] == [6, 5, 2, 3]
    assert Store(root).open_all({"d3": None})["d3"].version == "v0002"
    assert Store(root).open_all({}) == {}


def test_many_are_opened_whole(root, write_dataset, monkeypatch):
    before = {f"d{number}": write_dataset(root, f"d{number}", count=number + 2, seed=number)[0] for number in range(4)}
    opened = Store(root).open_all(dict.fromkeys(before), whole=True)
    with monkeypatch.context() as nothing_left:
        nothing_left.setattr(Location, "read", None)
        for name, dataset in opened.items():
            assert [row.id for row in dataset.rows] == [row.id for row in before[name]]
    Location(root).write("d2/v0001/index.parquet", b"damaged")
    with pytest.raises(StoreError, match=r"d2/v0001/index.parquet: damaged"):
        Store(root).open_all(dict.fromkeys(before), whole=True)


@pytest.mark.parametrize("list_them", [Store.names, Store.manifests], ids=["names", "manifests"])
def test_many_are_listed_by_one_request_each_and_many_at_a_time(write_dataset, tmp_path, monkeypatch, list_them):
    for number in range(8):
        write_dataset(str(tmp_path), f"d{number}", count=2)
    together, asked = Barrier(8, timeout=30), []
    for name in ("exists", "read_tagged"):
        original = getattr(Location, name)

        def waiting(self: Location, path: str, original=original) -> object:
            asked.append(path)
            together.wait()  # passes when all eight are asked about at once
            return original(self, path)

        monkeypatch.setattr(Location, name, waiting)
    assert list(list_them(Store(str(tmp_path)))) == [f"d{number}" for number in range(8)]
    assert sorted(asked) == [f"d{number}/manifest.json" for number in range(8)]


def _read_elsewhere(dataset: Dataset, folder: Path) -> tuple[str, str, int, bytes]:
    os.chdir(folder)
    return dataset.name, dataset.version, len(dataset), dataset.read_checked(3)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_dataset_goes_to_other_processes(write_dataset, tmp_path, monkeypatch, method):
    monkeypatch.chdir(tmp_path)
    _, images = write_dataset("store")
    write_dataset("store", count=9, seed=2)
    dataset = Store("store").open("toy", "v0001")
    assert dataset.rows
    (tmp_path / "elsewhere").mkdir()
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        found = pool.submit(_read_elsewhere, dataset, tmp_path / "elsewhere").result()
    assert found == ("toy", "v0001", 7, images[3].tobytes())


def test_a_pickled_dataset_is_never_another_one(write_dataset, tmp_path):
    write_dataset(str(tmp_path))
    pickled = pickle.dumps(Store(str(tmp_path)).open("toy"))
    shutil.rmtree(tmp_path / "toy")
    write_dataset(str(tmp_path), seed=1)
    with pytest.raises(StoreError, match="sha256 is not the manifest's"):
        pickle.loads(pickled)  # noqa: S301 (our own)


def test_of_many_the_first_that_is_not_there_is_told(root, write_dataset):
    write_dataset(root, "here")
    with pytest.raises(DatasetNotFoundError, match=r"no dataset hers in .*; did you mean here\?"):
        Store(root).open_all({"here": None, "hers": None, "nowhere": None})
    with pytest.raises(DatasetNotFoundError, match="dataset here has no version v0007; there are v0001"):
        Store(root).open_all({"here": "v0007"})


def test_no_index_is_told(write_dataset, root):
    write_dataset(root)
    Location(root).remove(PATH)
    with pytest.raises(StoreError, match=r"toy/v0001/index.parquet"):
        Store(root).open("toy")


def test_the_folder_of_a_store_may_be_given_with_a_path(write_dataset, tmp_path: Path):
    write_dataset(str(tmp_path))
    assert Store(f"file://{tmp_path}").open("toy").path_of(2)[0] == "toy/v0001/00001.shard"
