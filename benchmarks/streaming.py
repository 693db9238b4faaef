"""Micrographs per second into batches: this reader, memmap, plain ranged GETs, and other libraries' readers.

One run, one set of micrographs (float16, synthetic), the same random order for all that allow one; from the local disk
and from an S3 server on loopback (SeaweedFS). Every round measures every reader in a process of its own; the readers
take turns, so that a machine that slows down slows them all, and medians are printed.

*cold* is the first epoch of a fresh process; local files have been dropped from the operating system's memory as far
as it allows, and nothing is kept of what came from S3. This reader then checks every checksum, nobody else does. *warm*
is the best of the next epochs. *MB* is what memory grew by at its peak; for memmap it counts the file's own pages.

``--peers`` adds LitData, MosaicML Streaming, WebDataset and Ray Data; those that are missing are installed in the
folder ``--environment``, which nothing else sees, and use the torch that is there.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path[1:1] = [str(HERE / "peers"), str(HERE.parent / "tests")]

import xxhash  # noqa: E402
from micrographs import Epoch, drop_from_memory, image, measure  # noqa: E402

from hydrapicker.storage.location import Location  # noqa: E402
from hydrapicker.store.index import IndexMeta, Row, fingerprint_of, footer_of, index_to_bytes  # noqa: E402
from hydrapicker.store.layout import (  # noqa: E402
    INDEX,
    MANIFEST,
    NORMALISATION,
    Manifest,
    VersionEntry,
    shard_name,
    shard_path,
)  # fmt: skip
from hydrapicker.store.store import Dataset, Store  # noqa: E402
from hydrapicker.streaming.config import StreamingConfig  # noqa: E402
from hydrapicker.streaming.plan import Minibatch, Source, plan_epoch  # noqa: E402
from hydrapicker.streaming.reader import MinibatchReader  # noqa: E402

PER_SHARD = 50
NAME = "bench"
ALWAYS = {"parquet": "Parquet column of blobs", "mrcfile": "mrcfile, a file each"}
PEERS = {"litdata": "LitData", "mosaicml": "MosaicML Streaming", "webdataset": "WebDataset", "ray-data": "Ray Data"}
INSTALLED = (
    "litdata==0.2.76 lightning-utilities obstore webdataset==1.0.2 braceexpand "
    "mosaicml-streaming==0.13.0 Brotli zstd python-snappy cramjam catalogue"
)
"""Without what they depend on: torch is there, and torchvision for CUDA is gigabytes that no array needs."""


# --- the readers; each runs in a process of its own ---


def this_reader(root: str, options: argparse.Namespace) -> Epoch:
    """The reader of hydrapicker, with all checks."""
    datasets = {NAME: Store(root).open(NAME)}
    config = StreamingConfig(connections=options.connections, cache=options.cache)

    def epoch(number: int) -> Iterator[Sequence[Any]]:
        with closing(MinibatchReader(datasets, plan_of(datasets[NAME], number, options), config)) as reader:
            yield from reader

    return epoch


def memmap(root: str, options: argparse.Namespace) -> Epoch:
    """What NumPy gives: micrographs of mapped shards copied into a batch, in the plan's order."""
    dataset = Store(root).open(NAME)
    rows, mapped = list(dataset.rows), {}
    for number in range(len(rows)):
        path = dataset.path_of(number)[0]
        if path not in mapped:
            mapped[path] = np.memmap(Path(root) / path, "<f2", "r").reshape(-1, options.side, options.side)
    where = [(mapped[dataset.path_of(n)[0]], row.offset // row.length) for n, row in enumerate(rows)]

    def epoch(number: int) -> Iterator[Sequence[Any]]:
        for minibatch in plan_of(dataset, number, options):
            yield np.stack([where[row][0][where[row][1]] for row in minibatch.rows])

    return epoch


def memmap_sequential(root: str, options: argparse.Namespace) -> Epoch:
    """The most a mapped file gives: neighbours copied into a batch from first to last."""
    shards = [np.memmap(path, "<f2", "r") for path in sorted(Path(root).glob(f"{NAME}/v0001/*.shard"))]
    images = [shard.reshape(-1, options.side, options.side) for shard in shards]

    def epoch(number: int) -> Iterator[Sequence[Any]]:
        for shard in images:
            for start in range(0, len(shard), options.batch):
                yield np.array(shard[start : start + options.batch])

    return epoch


def plain_gets(root: str, options: argparse.Namespace) -> Epoch:
    """What the server gives: presigned ranged GETs by urllib3 on as many threads, one per micrograph, no checks."""
    from concurrent.futures import ThreadPoolExecutor

    import boto3
    import urllib3
    from botocore.config import Config

    dataset = Store(root).open(NAME)
    ranges = [dataset.path_of(number) for number in range(len(dataset))]
    client = boto3.client("s3", config=Config(signature_version="s3v4"))
    bucket, prefix = root.removeprefix("s3://").split("/", 1)
    keys = {path: {"Bucket": bucket, "Key": f"{prefix}/{path}"} for path, _, _ in ranges}
    urls = {path: client.generate_presigned_url("get_object", key) for path, key in keys.items()}
    connections = urllib3.PoolManager(maxsize=options.connections)

    def get(row: int) -> None:
        path, offset, length = ranges[row]
        wanted = {"Range": f"bytes={offset}-{offset + length - 1}"}
        assert len(connections.request("GET", urls[path], headers=wanted).data) == length

    def epoch(number: int) -> Iterator[Sequence[Any]]:
        with ThreadPoolExecutor(options.connections) as pool:
            rows = [row for minibatch in plan_of(dataset, number, options) for row in minibatch.rows]
            yield list(pool.map(get, rows))

    return epoch


READERS: dict[str, Callable[[str, argparse.Namespace], Epoch]] = {
    "memmap": memmap,
    "memmap-sequential": memmap_sequential,
    "this": this_reader,
    "plain-gets": plain_gets,
}


def plan_of(dataset: Dataset, number: int, options: argparse.Namespace) -> list[Minibatch]:
    """The order of an epoch."""
    return list(plan_epoch([Source.of(dataset)], 0, number, options.batch))


# --- the micrographs ---


def write_micrographs(root: str, count: int, side: int) -> None:
    """Write a dataset of noise, all for training."""
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
    counted = [{"train": number, "val": 0, "test": 0} for number in (count, 0)]
    created = "2026-01-01T00:00:00+00:00"
    entry = VersionEntry(fingerprint_of(index), created, *counted, len(index), *footer_of(index))
    location.write(f"{NAME}/{MANIFEST}", Manifest(NAME, "v0001", {"v0001": entry}).to_bytes())


# --- the table ---


def run(command: list[str]) -> dict[str, float]:
    """Run a reader in a process of its own."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1])) if done.stdout.strip().endswith("}") else {}


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
    print(f"{options.micrographs} micrographs of {options.side} x {options.side}, {options.batch} in a batch,", end=" ")
    print(f"{os.cpu_count()} cores, median of {options.rounds}")
    shown = ALWAYS | (PEERS if options.peers else {})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = Path(options.environment or folder / "environment")
        if options.peers:
            install(environment)
        os.environ["PYTHONPATH"] = str(environment)
        local = folder / "local"
        write_micrographs(str(local / "store"), options.micrographs, options.side)
        for name in shown:
            if name != "ray-data":  # which reads the Parquet file
                run(peer("write", name, local, options))
        rows = {
            "memmap copied into a batch": ours("memmap", str(local / "store"), options),
            "memmap in sequence": ours("memmap-sequential", str(local / "store"), options),
            "this reader": ours("this", str(local / "store"), options),
        }
        rows |= {title: peer("read", name, local, options) for name, title in shown.items()}
        table("from the local disk", rows, options.rounds, "memmap copied into a batch")
        store = stack.enter_context(s3_with(folder, local, options))
        rows = {
            "plain concurrent ranged GETs": ours("plain-gets", store, options),
            "this reader": ours("this", store, options),
            "this reader, with a disk cache": ours("this", store, options, "--cache", str(folder / "cache")),
        }
        rows |= {t: peer("read", n, local, options, f"s3://{NAME}/{n}") for n, t in shown.items() if n != "mrcfile"}
        table("from S3 on loopback", rows, options.rounds, "plain concurrent ranged GETs")


def ours(work: str, root: str, options: argparse.Namespace, *more: str) -> list[str]:
    """The command that measures a reader of this file."""
    numbers = {"micrographs": options.micrographs, "side": options.side, "batch": options.batch}
    numbers["connections"] = options.connections
    given = [f"--{name}={value}" for name, value in numbers.items()]
    return [sys.executable, __file__, "--work", work, "--root", root, *given, *more]


def peer(task: str, name: str, folder: Path, options: argparse.Namespace, *url: str) -> list[str]:
    """The command that writes for, or measures, another library's reader."""
    place = folder / ("parquet" if name == "ray-data" else name)
    numbers = [str(number) for number in (options.micrographs, options.side, options.batch)]
    url = tuple(part.replace("ray-data", "parquet") for part in url)
    return [sys.executable, str(HERE / "peers" / "readers.py"), task, name, str(place), *numbers, *url]


def install(environment: Path) -> None:
    """Install the other libraries in a folder, unless they are there."""
    if not environment.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(environment)]
        subprocess.run([*pip, *INSTALLED.split()], check=True)


@contextmanager
def s3_with(folder: Path, local: Path, options: argparse.Namespace) -> Iterator[str]:
    """Run an S3 server that holds the micrographs in every form; gives the URL of our store."""
    import boto3
    from s3_server import s3_server

    (folder / "s3").mkdir()
    with s3_server(folder / "s3") as server:
        os.environ.update(server.environment, S3_ENDPOINT_URL=server.endpoint)
        bucket = boto3.resource("s3").create_bucket(Bucket=NAME)
        write_micrographs(f"s3://{NAME}/store", options.micrographs, options.side)
        for path in local.rglob("*"):
            if path.is_file() and path.relative_to(local).parts[0] not in ("store", "mrcfile"):
                bucket.upload_file(str(path), path.relative_to(local).as_posix())
        yield f"s3://{NAME}/store"


def parsed() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--micrographs", type=int, default=400)
    parser.add_argument("--side", type=int, default=800, help="pixels")
    parser.add_argument("--batch", type=int, default=4, help="micrographs in a minibatch")
    parser.add_argument("--connections", type=int, default=8, help="threads that read from S3")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="measure other libraries too")
    parser.add_argument("--environment", help="folder for other libraries, kept for the next time")
    parser.add_argument("--work", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--root", help=argparse.SUPPRESS)
    parser.add_argument("--cache", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    given = parsed()
    if given.work:
        reader = READERS[given.work](given.root, given)
        drop_from_memory(Path(given.root))
        if given.cache:
            shutil.rmtree(given.cache, ignore_errors=True)
        print(json.dumps(measure(reader, given.micrographs)))
    else:
        main(given)
