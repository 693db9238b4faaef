"""A store with two small datasets, written through the store's own draft."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xxhash

from hydrapicker.store.draft import Draft
from hydrapicker.store.index import IndexMeta, Row
from hydrapicker.store.location import Location
from hydrapicker.store.store import Dataset, Store


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, int], Dataset]:
    def write(name: str, count: int) -> Dataset:
        random = np.random.default_rng(len(name))
        draft = Draft(Location(str(tmp_path)), IndexMeta(name, 21, 120.0, "dark", "median-mad-clip6"), name)
        rows, content = [], b""
        for number in range(count):
            image = random.normal(size=(40 + number, 50)).astype("<f2")
            rows.append(
                Row(
                    id=f"m{number:03d}.mrc", split="train", shard=draft.next_shard, offset=len(content),
                    length=image.nbytes, dtype="float16", height=image.shape[0], width=50,
                    checksum=xxhash.xxh3_128_hexdigest(image.tobytes()), scale=0.5, original_height=80,
                    original_width=100, pixel_size_angstrom=2.0, background_mean=0.0, background_std=1.0,
                    particles=random.uniform(0, 40, size=(number % 3 * 4, 2)).astype(np.float32),
                )
            )  # fmt: skip
            content += image.tobytes()
        draft.add_shard(content, rows)
        draft.commit()
        return Store(str(tmp_path)).open(name)

    return write


@pytest.fixture
def datasets(write) -> dict[str, Dataset]:
    return {"one": write("one", 7), "three": write("three", 4)}
