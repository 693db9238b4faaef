"""Other libraries' readers on the same micrographs: ``readers.py write|read NAME FOLDER COUNT SIDE BATCH [URL]``.

Run by ``benchmarks/streaming.py --peers`` with the Python of an environment that has them. Every library gets what
its manual recommends for arrays: 64 MB shards, shuffling on, batches of arrays, no worker processes (the cores are few,
and this reader has none either). A URL is where the written folder lies on S3; without it the folder is read.
"""

import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from micrographs import Epoch, drop_from_memory, image, measure

SHARD_BYTES = 64 * 2**20
Writer = Callable[[Path, int, int], None]
Reader = Callable[[Path, str, int, int], Epoch]


def as_array(batch: Any) -> Any:
    """Make sure that a batch is an array of pixels in memory."""
    pixels = np.asarray(batch)
    assert pixels.dtype == np.float16
    assert pixels.ndim == 3
    return pixels


# --- LitData ---


def _litdata_sample(task: tuple[int, int]) -> dict[str, Any]:
    return {"image": image(*task)}


def write_litdata(folder: Path, count: int, side: int) -> None:
    from litdata import optimize

    tasks = [(number, side) for number in range(count)]
    optimize(_litdata_sample, tasks, str(folder), chunk_bytes=SHARD_BYTES, num_workers=1)


def read_litdata(folder: Path, url: str, count: int, batch: int) -> Epoch:
    from litdata import StreamingDataLoader, StreamingDataset

    options: dict[str, Any] = {}
    if url:
        from litdata.streaming import downloader

        downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = "true"  # the server on loopback speaks no TLS
        options = {"storage_options": {"endpoint_url": os.environ["AWS_ENDPOINT_URL"]}, "cache_dir": str(folder)}
    data = StreamingDataset(url or str(folder), shuffle=True, drop_last=False, **options)
    loader = StreamingDataLoader(data, batch_size=batch, num_workers=0, collate_fn=lambda samples: samples)

    def epoch(number: int) -> Iterator[Any]:
        for samples in loader:
            yield as_array(np.stack([sample["image"] for sample in samples]))

    return epoch


# --- MosaicML Streaming ---


class _StandIn(MetaPathFinder, Loader):
    """Stands in for torchvision and transformers, large, and needed only by MosaicML's classes for photos and texts."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        wanted = name.split(".")[0] in ("torchvision", "transformers")
        return ModuleSpec(name, self, is_package=True) if wanted else None

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__getattr__"] = lambda name: type(name, (), {})


def write_mosaicml(folder: Path, count: int, side: int) -> None:
    sys.meta_path.append(_StandIn())
    from streaming import MDSWriter

    with MDSWriter(out=str(folder), columns={"image": f"ndarray:float16:{side},{side}"}, size_limit=SHARD_BYTES) as out:
        for number in range(count):
            out.write({"image": image(number, side)})


def read_mosaicml(folder: Path, url: str, count: int, batch: int) -> Epoch:
    sys.meta_path.append(_StandIn())
    from streaming import StreamingDataset

    remote = {"remote": url} if url else {}
    data = StreamingDataset(local=str(folder), shuffle=True, batch_size=batch, num_canonical_nodes=1, **remote)

    def epoch(number: int) -> Iterator[Any]:
        samples = []
        for sample in data:
            samples.append(sample["image"])
            if len(samples) == batch:
                yield as_array(np.stack(samples))
                samples = []
        if samples:
            yield as_array(np.stack(samples))

    return epoch


# --- WebDataset ---


def write_webdataset(folder: Path, count: int, side: int) -> None:
    import webdataset

    with webdataset.ShardWriter(f"file:{folder}/%05d.tar", maxsize=SHARD_BYTES, verbose=0) as out:
        for number in range(count):
            content = io.BytesIO()
            np.save(content, image(number, side))
            out.write({"__key__": f"{number:05d}", "npy": content.getvalue()})


def read_webdataset(folder: Path, url: str, count: int, batch: int) -> Epoch:
    import webdataset

    names = [path.name for path in sorted(folder.glob("*.tar"))]
    if url:
        import boto3

        client = boto3.client("s3")
        bucket, prefix = url.removeprefix("s3://").split("/", 1)
        where = [{"Bucket": bucket, "Key": f"{prefix}/{name}"} for name in names]
        urls = [f"pipe:curl -s '{client.generate_presigned_url('get_object', key)}'" for key in where]
    else:
        urls = [f"file:{folder}/{name}" for name in names]
    data = webdataset.WebDataset(urls, shardshuffle=len(urls)).shuffle(200).decode().to_tuple("npy")

    def epoch(number: int) -> Iterator[Any]:
        for (images,) in data.batched(batch, collation_fn=lambda samples: [[sample[0] for sample in samples]]):
            yield as_array(np.stack(images))

    return epoch


# --- a Parquet column of blobs ---


def write_parquet(folder: Path, count: int, side: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([pa.field("image", pa.binary())])
    with pq.ParquetWriter(folder / "micrographs.parquet", schema, compression="none", use_dictionary=False) as out:
        for number in range(count):  # a row group each, so that any can be read alone
            out.write_table(pa.table({"image": [image(number, side).tobytes()]}, schema))


def read_parquet(folder: Path, url: str, count: int, batch: int) -> Epoch:
    import pyarrow.parquet as pq

    if url:
        import s3fs

        source: Any = s3fs.S3FileSystem().open(f"{url}/micrographs.parquet", cache_type="none")
    else:
        source = folder / "micrographs.parquet"
    file = pq.ParquetFile(source)

    def epoch(number: int) -> Iterator[Any]:
        order = np.random.default_rng(number).permutation(count).tolist()
        for start in range(0, count, batch):
            blobs = [file.read_row_group(row).column("image")[0].as_buffer() for row in order[start : start + batch]]
            side = int((blobs[0].size // 2) ** 0.5)
            yield as_array(np.stack([np.frombuffer(blob, "<f2").reshape(side, side) for blob in blobs]))

    return epoch


# --- Ray Data, on the same Parquet file ---


def read_ray_data(folder: Path, url: str, count: int, batch: int) -> Epoch:
    import pyarrow.fs
    import ray

    ray.init(num_cpus=os.cpu_count(), include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    source, filesystem = str(folder / "micrographs.parquet"), None
    if url:
        source = f"{url.removeprefix('s3://')}/micrographs.parquet"
        endpoint = os.environ["AWS_ENDPOINT_URL"]
        filesystem = pyarrow.fs.S3FileSystem(endpoint_override=endpoint, region=os.environ["AWS_DEFAULT_REGION"])
    data = ray.data.read_parquet(source, filesystem=filesystem)

    def epoch(number: int) -> Iterator[Any]:
        batches = data.iter_batches(batch_size=batch, local_shuffle_buffer_size=50, local_shuffle_seed=number)
        for got in batches:
            side = int((len(got["image"][0]) // 2) ** 0.5)
            yield as_array(np.stack([np.frombuffer(blob, "<f2").reshape(side, side) for blob in got["image"]]))

    return epoch


# --- one MRC file per micrograph ---


def write_mrcfile(folder: Path, count: int, side: int) -> None:
    import mrcfile

    for number in range(count):
        with mrcfile.new(folder / f"{number:05d}.mrc") as file:
            file.set_data(image(number, side))


def read_mrcfile(folder: Path, url: str, count: int, batch: int) -> Epoch:
    import mrcfile

    def read(number: int) -> Any:
        with mrcfile.open(folder / f"{number:05d}.mrc") as file:
            return file.data

    def epoch(number: int) -> Iterator[Any]:
        order = np.random.default_rng(number).permutation(count).tolist()
        for start in range(0, count, batch):
            yield as_array(np.stack([read(row) for row in order[start : start + batch]]))

    return epoch


WRITERS: dict[str, Writer] = {
    "litdata": write_litdata,
    "mosaicml": write_mosaicml,
    "webdataset": write_webdataset,
    "parquet": write_parquet,
    "mrcfile": write_mrcfile,
}
READERS: dict[str, Reader] = {
    "litdata": read_litdata,
    "mosaicml": read_mosaicml,
    "webdataset": read_webdataset,
    "parquet": read_parquet,
    "ray-data": read_ray_data,
    "mrcfile": read_mrcfile,
}

if __name__ == "__main__":
    task, name, place, *numbers = sys.argv[1:]
    folder, url = Path(place), numbers[3] if len(numbers) > 3 else ""
    count, side, batch = map(int, numbers[:3])
    if task == "write":
        folder.mkdir(parents=True)
        WRITERS[name](folder, count, side)
    else:
        if url and name in ("litdata", "mosaicml"):  # these keep what they fetch; cold is with nothing kept
            folder = folder.with_name(f"{name}-kept")
            shutil.rmtree(folder, ignore_errors=True)
        drop_from_memory(folder)
        print(json.dumps(measure(READERS[name](folder, url, count, batch), count)))
        sys.stdout.flush()
        os._exit(0)  # some leave threads and processes behind that take seconds to end
