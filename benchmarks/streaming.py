"""Micrographs per second into batches: this reader, memmap, plain ranged GETs, and other libraries' readers.

One run, one set of micrographs (float16, synthetic), the same random order for all that allow one; from the local disk
and from an S3 server on loopback (SeaweedFS). Every round measures every reader in a process of its own; the readers
take turns, so that a machine that slows down slows them all, and medians are printed.

*cold* is the first epoch of a fresh process; the files have been dropped from the operating system's memory as far as
it allows. This reader then checks every checksum; nobody else does. *warm* is the best of the next epochs. *MB* is
what memory grew by at its peak; for memmap it counts the file's pages.

``--peers`` adds the other libraries, in an environment of their own that is made in ``--environment``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import numpy as np

WARM_EPOCHS = 3
PER_SHARD = 50
NAME = "bench"
Epoch = Callable[[list[Any]], Iterator[int]]
"""Reads the minibatches of a plan and yields how many micrographs each batch had."""


# --- the readers; each runs in a process of its own ---


def this_reader(root: str, options: argparse.Namespace) -> Epoch:
    """The reader of hydrapicker, with all checks."""
    from hydrapicker.store.store import Store
    from hydrapicker.streaming.config import StreamingConfig
    from hydrapicker.streaming.reader import MinibatchReader

    datasets = {NAME: Store(root).open(NAME)}
    config = StreamingConfig(connections=options.connections, cache=options.cache)

    def epoch(plan: list[Any]) -> Iterator[int]:
        with closing(MinibatchReader(datasets, plan, config)) as reader:
            yield from map(len, reader)

    return epoch


def memmap(root: str, options: argparse.Namespace) -> Epoch:
    """What NumPy gives: micrographs of mapped shards copied into a batch, in the plan's order."""
    from hydrapicker.store.store import Store

    dataset = Store(root).open(NAME)
    rows, mapped = list(dataset.rows), {}
    for number in range(len(rows)):
        path = dataset.path_of(number)[0]
        if path not in mapped:
            mapped[path] = np.memmap(Path(root) / path, "<f2", "r").reshape(-1, options.side, options.side)
    where = [(mapped[dataset.path_of(n)[0]], row.offset // row.length) for n, row in enumerate(rows)]

    def epoch(plan: list[Any]) -> Iterator[int]:
        for minibatch in plan:
            yield len(np.stack([where[row][0][where[row][1]] for row in minibatch.rows]))

    return epoch


def memmap_sequential(root: str, options: argparse.Namespace) -> Epoch:
    """The most a mapped file gives: neighbours copied into a batch from first to last."""
    shards = [np.memmap(path, "<f2", "r") for path in sorted(Path(root).glob(f"{NAME}/v0001/*.shard"))]
    images = [shard.reshape(-1, options.side, options.side) for shard in shards]

    def epoch(plan: list[Any]) -> Iterator[int]:
        for shard in images:
            for start in range(0, len(shard), options.batch):
                yield len(np.array(shard[start : start + options.batch]))

    return epoch


def plain_gets(root: str, options: argparse.Namespace) -> Epoch:
    """What the server gives: presigned ranged GETs by urllib3 on as many threads, one per micrograph, no checks."""
    from concurrent.futures import ThreadPoolExecutor

    import boto3
    import urllib3
    from botocore.config import Config

    from hydrapicker.store.store import Store

    dataset = Store(root).open(NAME)
    ranges = [dataset.path_of(number) for number in range(len(dataset))]
    client = boto3.client("s3", config=Config(signature_version="s3v4"))
    bucket, prefix = root.removeprefix("s3://").split("/", 1)
    keys = {path: {"Bucket": bucket, "Key": f"{prefix}/{path}"} for path, _, _ in ranges}
    urls = {path: client.generate_presigned_url("get_object", key) for path, key in keys.items()}
    connections = urllib3.PoolManager(maxsize=options.connections)

    def get(row: int) -> int:
        path, offset, length = ranges[row]
        wanted = {"Range": f"bytes={offset}-{offset + length - 1}"}
        content = connections.request("GET", urls[path], headers=wanted).data
        assert len(content) == length
        return 1

    def epoch(plan: list[Any]) -> Iterator[int]:
        with ThreadPoolExecutor(options.connections) as pool:
            yield from pool.map(get, [row for minibatch in plan for row in minibatch.rows])

    return epoch


def mrcfile_per_file(root: str, options: argparse.Namespace) -> Epoch:
    """One MRC file per micrograph, as most programs keep them."""
    import mrcfile

    files = sorted((Path(root).parent / "mrc").iterdir())

    def epoch(plan: list[Any]) -> Iterator[int]:
        for minibatch in plan:
            images = []
            for row in minibatch.rows:
                with mrcfile.open(files[row]) as file:
                    images.append(file.data)
            yield len(np.stack(images))

    return epoch


READERS: dict[str, Callable[[str, argparse.Namespace], Epoch]] = {
    "memmap": memmap,
    "memmap-sequential": memmap_sequential,
    "this": this_reader,
    "mrcfile": mrcfile_per_file,
    "plain-gets": plain_gets,
}


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Micrographs per second cold and warm, and megabytes, of one reader in this process."""
    from hydrapicker.store.store import Store
    from hydrapicker.streaming.plan import Source, plan_epoch

    dataset = Store(options.root).open(NAME)
    plans = [list(plan_epoch([Source.of(dataset)], 0, epoch, options.batch)) for epoch in range(1 + WARM_EPOCHS)]
    drop_from_memory(Path(options.root))
    epoch = READERS[options.work](options.root, options)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    speeds = []
    for plan in plans:
        start = time.perf_counter()
        count = sum(epoch(plan))
        speeds.append(count / (time.perf_counter() - start))
        assert count == len(dataset)
    return {"cold": speeds[0], "warm": max(speeds[1:]), "megabytes": resident("VmHWM") - before}


def resident(name: str) -> float:
    """Megabytes of memory of this process, at present (VmRSS) or at most (VmHWM)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def drop_from_memory(folder: Path) -> None:
    """Ask the operating system to forget what it holds of the files."""
    for path in folder.parent.rglob("*") if folder.is_dir() else ():
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# --- the micrographs ---


def write_micrographs(root: str, count: int, side: int) -> None:
    """Write a dataset of noise, all for training."""
    import xxhash

    from hydrapicker.store.index import IndexMeta, Row, fingerprint_of, index_to_bytes
    from hydrapicker.store.layout import INDEX, MANIFEST, NORMALISATION, Manifest, VersionEntry, shard_name, shard_path
    from hydrapicker.store.location import Location

    location, rows = Location(root), list[Row]()
    for start in range(0, count, PER_SHARD):
        shard, content = shard_name(start // PER_SHARD), bytearray()
        for number in range(start, min(start + PER_SHARD, count)):
            pixels = image(number, side).tobytes()
            rows.append(
                Row(
                    id=f"{number:05d}.mrc", split="train", shard=shard, offset=len(content), length=len(pixels),
                    dtype="float16", height=side, width=side, checksum=xxhash.xxh3_128_hexdigest(pixels), scale=0.2,
                    original_height=5 * side, original_width=5 * side, pixel_size_angstrom=1.0, background_mean=0.0,
                    background_std=1.0, particles=np.empty((0, 2), np.float32),
                )
            )  # fmt: skip
            content += pixels
        location.write(shard_path(NAME, "v0001", shard), bytes(content))
    index = index_to_bytes(rows, IndexMeta(NAME, 21, 120.0, "dark", NORMALISATION))
    location.write(f"{NAME}/v0001/{INDEX}", index)
    micrographs, particles = {"train": count, "val": 0, "test": 0}, {"train": 0, "val": 0, "test": 0}
    entry = VersionEntry(fingerprint_of(index), "2026-01-01T00:00:00+00:00", micrographs, particles)
    location.write(f"{NAME}/{MANIFEST}", Manifest(NAME, "v0001", {"v0001": entry}).to_bytes())


def image(number: int, side: int) -> "np.ndarray[Any, Any]":
    """Noise, another for every number."""
    return np.random.default_rng(number).normal(size=(side, side)).astype("<f2")


def write_mrc_files(folder: Path, count: int, side: int) -> None:
    """Write the same micrographs as a file each."""
    import mrcfile

    folder.mkdir()
    for number in range(count):
        with mrcfile.new(folder / f"{number:05d}.mrc") as file:
            file.set_data(image(number, side))


# --- the table ---


def run(command: list[str]) -> dict[str, float]:
    """Run a reader in a process of its own."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def table(title: str, rows: dict[str, list[str]], rounds: int, reference: str) -> None:
    """Measure the readers in turns and print medians, with ratios to the reference."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, command in rows.items():
            results[name].append(run(command))
    medians = {
        name: {key: statistics.median(result[key] for result in found) for key in found[0]}
        for name, found in results.items()
    }
    base = medians[reference]
    print(f"\n{title}; ratios to: {reference}")
    print(f"{'':40}{'cold /s':>9}{'ratio':>7}{'warm /s':>9}{'ratio':>7}{'MB':>7}")
    for name, got in medians.items():
        cold, warm = got["cold"] / base["cold"], got["warm"] / base["warm"]
        print(f"{name:40}{got['cold']:9.0f}{cold:7.2f}{got['warm']:9.0f}{warm:7.2f}{got['megabytes']:7.0f}", flush=True)


def main(options: argparse.Namespace) -> None:
    """Write the micrographs, start the server and print both tables."""
    shared = ["--micrographs", options.micrographs, "--side", options.side, "--batch", options.batch]
    shared += ["--connections", options.connections]

    def command(work: str, root: str, *more: str) -> list[str]:
        return [sys.executable, __file__, "--work", work, "--root", root, *map(str, shared), *more]

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        local = str(folder / "local" / "store")
        write_micrographs(local, options.micrographs, options.side)
        write_mrc_files(folder / "local" / "mrc", options.micrographs, options.side)
        print(f"{options.micrographs} micrographs of {options.side} x {options.side}, {options.batch} in a batch,")
        print(f"{os.cpu_count()} cores, median of {options.rounds}")
        rows = {
            "memmap copied into a batch": command("memmap", local),
            "memmap in sequence": command("memmap-sequential", local),
            "this reader": command("this", local),
            "mrcfile, a file each": command("mrcfile", local),
        }
        table("from the local disk", rows, options.rounds, "memmap copied into a batch")

        from s3_server import s3_server

        (folder / "s3").mkdir()
        server = stack.enter_context(s3_server(folder / "s3"))
        os.environ.update(server.environment)
        import boto3

        boto3.client("s3").create_bucket(Bucket=NAME)
        remote = f"s3://{NAME}/store"
        write_micrographs(remote, options.micrographs, options.side)
        rows = {
            "plain concurrent ranged GETs": command("plain-gets", remote),
            "this reader": command("this", remote),
            "this reader, with a disk cache": command("this", remote, "--cache", str(folder / "cache")),
        }
        table("from S3 on loopback", rows, options.rounds, "plain concurrent ranged GETs")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--micrographs", type=int, default=400)
    parser.add_argument("--side", type=int, default=800, help="pixels")
    parser.add_argument("--batch", type=int, default=4, help="micrographs in a minibatch")
    parser.add_argument("--connections", type=int, default=8, help="threads that read from S3")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--root", help=argparse.SUPPRESS)
    parser.add_argument("--cache", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    given = parsed()
    if given.work:
        print(json.dumps(measure(given)))
    else:
        main(given)
