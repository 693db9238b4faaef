"""Small datasets: written through the store's own draft, or as files for ingest."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import xxhash

from hydrapicker.storage.location import Location
from hydrapicker.store.draft import Draft
from hydrapicker.store.index import IndexMeta, Row
from hydrapicker.store.layout import shard_name


@pytest.fixture
def make_rows() -> Callable[..., tuple[list[Row], list[np.ndarray]]]:
    """Rows with their float16 images; every third micrograph has no particle."""

    def make(count: int, seed: int = 0, name: str = "m") -> tuple[list[Row], list[np.ndarray]]:
        random = np.random.default_rng(seed)
        rows, images = [], []
        for number in range(count):
            height, width = random.integers(20, 40, size=2).tolist()
            image = random.normal(size=(height, width)).astype("<f2")
            particles = random.uniform(0, 20, size=(number % 3, 2)).astype(np.float32)
            checksum = xxhash.xxh3_128_hexdigest(image.tobytes())
            split = ("test", "val")[number] if number < 2 else "train"
            rows.append(
                Row(
                    id=f"{name}{number:03d}.mrc", split=split, shard="", offset=0, length=image.nbytes, dtype="float16",
                    height=height, width=width, checksum=checksum, scale=0.25, original_height=4 * height + 1,
                    original_width=4 * width - 1, pixel_size_angstrom=1.5, background_mean=0.125, background_std=0.5,
                    particles=particles,
                )
            )  # fmt: skip
            images.append(image)
        return rows, images

    return make


@pytest.fixture
def write_shards() -> Callable[..., None]:
    """Fill a draft with some shards of micrographs each."""

    def write(draft: Draft, rows: list[Row], images: list[np.ndarray], per_shard: int = 2) -> None:
        for start in range(0, len(rows), per_shard):
            placed, content = [], b""
            number = next(number for number in count() if number not in draft.finished)
            for row, image in zip(rows[start : start + per_shard], images[start : start + per_shard], strict=True):
                placed.append(replace(row, shard=shard_name(number), offset=len(content)))
                content += image.tobytes()
            draft.location.write(draft.path_of(number), content)
            draft.finish_shard(number, placed)

    return write


@pytest.fixture
def meta() -> Callable[[str], IndexMeta]:
    return lambda name: IndexMeta(name, 21, 120.0, "dark", "median-mad-clip6")


@pytest.fixture
def write_dataset(make_rows, write_shards, meta) -> Callable[..., tuple[list[Row], list[np.ndarray]]]:
    """Write a version of a dataset; returns what went in."""

    def write(root: str, name: str = "toy", count: int = 7, seed: int = 0) -> tuple[list[Row], list[np.ndarray]]:
        rows, images = make_rows(count, seed)
        draft = Draft(Location(root), meta(name), f"identity-{seed}-{count}")
        write_shards(draft, rows, images)
        draft.commit()
        return rows, images

    return write


@pytest.fixture
def lab(tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Make a folder as a lab would have it: noise micrographs and one STAR file; returns pattern and STAR path."""

    def make(
        count: int = 6, particles: int = 5, shape: tuple[int, int] = (90, 120), empty: int = 0, folder: str = "lab"
    ) -> tuple[str, str]:
        place = tmp_path / folder
        (place / "mics").mkdir(parents=True, exist_ok=True)
        lines = ["data_", "", "loop_", "_rlnMicrographName #1", "_rlnCoordinateX #2", "_rlnCoordinateY #3"]
        for number in range(count):
            random = np.random.default_rng(number)
            path = place / "mics" / f"mic{number:02d}.mrc"
            with mrcfile.new(path, random.normal(size=shape).astype(np.float32), overwrite=True) as file:
                file.voxel_size = 2.0
            if number >= empty:
                for x, y in random.uniform([0, 0], [shape[1] - 1, shape[0] - 1], size=(particles, 2)):
                    lines.append(f"mics/{path.name} {x:.3f} {y:.3f}")
        star = place / "particles.star"
        star.write_text("\n".join(lines) + "\n")
        return str(place / "mics" / "*.mrc"), str(star)

    return make
