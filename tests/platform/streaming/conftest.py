"""Small datasets in a store of any kind."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xxhash

from hydrapicker.storage.location import Location
from hydrapicker.store.index import IndexMeta, Row, fingerprint_of, index_to_bytes
from hydrapicker.store.layout import INDEX, MANIFEST, NORMALISATION, Manifest, VersionEntry, shard_name, shard_path
from hydrapicker.store.store import Dataset, Store
from hydrapicker.streaming import diskcache, segments

_PER_SHARD = 10


def _put(root: str, name: str, images: list[np.ndarray]) -> Dataset:
    """Write a dataset of these images, all for training; every third has no particle."""
    random, location, rows = np.random.default_rng(len(name)), Location(root), list[Row]()
    for start in range(0, len(images), _PER_SHARD):
        shard, content = shard_name(start // _PER_SHARD), b""
        for number, image in enumerate(images[start : start + _PER_SHARD], start):
            height, width = image.shape
            rows.append(
                Row(
                    id=f"m{number:03d}.mrc", split="train", shard=shard, offset=len(content),
                    length=image.nbytes, dtype="float16", height=height, width=width,
                    checksum=xxhash.xxh3_128_hexdigest(image.tobytes()), scale=0.5, original_height=2 * height,
                    original_width=2 * width, pixel_size_angstrom=2.0, background_mean=0.0, background_std=1.0,
                    particles=random.uniform(0, 40, size=(number % 3 * 4, 2)).astype(np.float32),
                )
            )  # fmt: skip
            content += image.tobytes()
        location.write(shard_path(name, "v0001", shard), content)
    index = index_to_bytes(rows, IndexMeta(name, 21, 120.0, "dark", NORMALISATION))
    location.write(f"{name}/v0001/{INDEX}", index)
    counts = {"train": len(rows), "val": 0, "test": 0}
    entry = VersionEntry(fingerprint_of(index), "2026-01-01T00:00:00+00:00", counts, counts)
    location.write(f"{name}/{MANIFEST}", Manifest(name, "v0001", {"v0001": entry}).to_bytes())
    dataset = Store(root).open(name)
    assert len(dataset.rows) == len(images)  # which fetches the index, so that only micrographs are left to be read
    return dataset


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, int], Dataset]:
    """Write a dataset of very small micrographs into the test's folder."""

    def write(name: str, count: int) -> Dataset:
        random = np.random.default_rng(len(name))
        return _put(str(tmp_path), name, [random.normal(size=(40 + n, 50)).astype("<f2") for n in range(count)])

    return write


@pytest.fixture
def datasets(write) -> dict[str, Dataset]:
    return {"one": write("one", 7), "three": write("three", 4)}


@pytest.fixture
def write_images() -> Callable[..., tuple[Dataset, list[np.ndarray]]]:
    """Write a dataset into any store; each micrograph has more bytes than are read for nothing between two ranges."""

    def write(root: str, count: int, name: str = "toy") -> tuple[Dataset, list[np.ndarray]]:
        random = np.random.default_rng(len(name))
        shapes = random.integers(185, 210, size=(count, 2)).tolist()
        images = [random.normal(size=shape).astype("<f2") for shape in shapes]
        return _put(root, name, images), images

    return write


@pytest.fixture(params=["local", "memory", "s3"])
def root(request, tmp_path) -> str:
    return {
        "local": lambda: str(tmp_path / "store"),
        "memory": lambda: f"memory://{tmp_path.name}",
        "s3": lambda: f"s3://{request.getfixturevalue('bucket')}/store",
    }[request.param]()


@pytest.fixture
def on_s3(bucket) -> str:
    return f"s3://{bucket}/store"


@pytest.fixture
def looks_always(monkeypatch):
    monkeypatch.setattr(diskcache, "_LOOK_SECONDS", 0.0)


@pytest.fixture
def as_another_process(monkeypatch):
    """What this process has checked is forgotten."""
    return lambda: monkeypatch.setattr(segments, "_checked", {})
