"""Inputs at URLs: the same dataset as from the same files in a folder, and one clear line for what cannot be read."""

import bz2
import gzip
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import boto3
import numpy as np
import pytest
import tifffile

from hydrapicker.errors import InvalidInputError, MicrographError, ParticlesError, StoreAccessError
from hydrapicker.files.inputs import find_inputs, read_input_header
from hydrapicker.files.remote import find_remote
from hydrapicker.storage.location import Location
from hydrapicker.store.config import IngestConfig
from hydrapicker.store.ingest import ingest
from hydrapicker.store.store import Store


@pytest.fixture
def upload(bucket: str) -> Callable[[str, bytes], None]:
    client = boto3.client("s3")
    return lambda key, content: client.put_object(Bucket=bucket, Key=key, Body=content) and None


@pytest.fixture
def uploaded(lab, upload, bucket, tmp_path) -> IngestConfig:
    """The lab's files in a bucket, one of them gzipped, one bzip2, beside some that are no micrographs."""
    micrographs, particles = lab()
    for path in sorted(Path(micrographs).parent.iterdir()):
        content, name = path.read_bytes(), path.name
        if name == "mic01.mrc":
            content, name = gzip.compress(content), f"{name}.gz"
        if name == "mic02.mrc":
            content, name = bz2.compress(content), f"{name}.bz2"
        upload(f"session/mics/{name}", content)
    upload("session/mics/.hidden.mrc", b"")
    upload("session/mics/log.txt", b"")
    upload("session/mics/older/mic00.mrc", b"")
    upload("session/particles.star", Path(particles).read_bytes())
    return IngestConfig(
        "toy", (f"s3://{bucket}/session/mics",), f"s3://{bucket}/session/particles.star", 84.0,
        store=str(tmp_path / "store"), workers=2, shard_megabytes=0.005,
    )  # fmt: skip


def pixels_of(root: str) -> list[np.ndarray]:
    dataset = Store(root).open("toy")
    return [dataset.read(number).image for number in range(len(dataset))]


def test_a_bucket_gives_what_a_folder_gives(uploaded, lab, tmp_path, bucket):
    micrographs, particles = lab()
    local = replace(uploaded, micrographs=(micrographs,), particles=particles, store=str(tmp_path / "local"))
    ingest(local)
    before = set(Path(tempfile.gettempdir()).glob("hydrapicker-*"))
    report = ingest(replace(uploaded, store=f"s3://{bucket}/store"))
    assert set(Path(tempfile.gettempdir()).glob("hydrapicker-*")) <= before, "copies are removed"
    assert report.micrographs == {"train": 4, "val": 1, "test": 1}
    dataset, expected = Store(f"s3://{bucket}/store").open("toy"), Store(local.store).open("toy")
    names = [row.id.removesuffix(".gz").removesuffix(".bz2") for row in dataset.rows]
    assert names == [row.id for row in expected.rows]
    for number in range(6):
        np.testing.assert_array_equal(dataset.read(number).image, expected.read(number).image)
        np.testing.assert_array_equal(dataset.read(number).particles, expected.read(number).particles)
    assert ingest(replace(uploaded, store=f"s3://{bucket}/store")).unchanged


def test_a_folder_a_glob_and_files_name_the_same(uploaded, bucket):
    url = f"s3://{bucket}/session/mics"
    whole = [str(file) for file in find_inputs((url,))]
    assert [name.rpartition("/")[2] for name in whole] == [
        "mic00.mrc", "mic01.mrc.gz", "mic02.mrc.bz2", "mic03.mrc", "mic04.mrc", "mic05.mrc"
    ]  # fmt: skip
    assert [str(file) for file in find_inputs((f"{url}/",))] == whole
    assert [str(file) for file in find_inputs((f"{url}/mic0[0-9]*", f"{url}/mic03.mrc"))] == whole
    assert [str(file) for file in find_inputs(tuple(whole))] == whole
    deep = find_remote(f"s3://{bucket}/**/*.mrc", (".mrc",))
    assert [file.url for file in deep] == [f"{url}/mic0{n}.mrc" for n in (0, 3, 4, 5)] + [f"{url}/older/mic00.mrc"]
    assert [file.url for file in find_remote(f"s3://{bucket}/*/mics/mic?0.mrc", (".mrc",))] == whole[:1]


def test_no_folder_is_listed_for_files_nor_twice_nor_deeper_than_asked(uploaded, bucket, monkeypatch):
    url, asked = f"s3://{bucket}/session/mics", []
    for name in ("file", "files"):
        original = getattr(Location, name)

        def counted(self, *args, _original=original, **named):
            found = _original(self, *args, **named)
            asked.append((self.root, *args, *named.values(), *([len(found)] if isinstance(found, tuple) else [])))
            return found

        monkeypatch.setattr(Location, name, counted)
    (one,) = find_inputs((f"{url}/mic03.mrc",))
    assert asked == [(url, "mic03.mrc")]
    asked.clear()
    assert one in find_inputs((url, f"{url}/mic0[0-3].mrc*", f"{url}/mic0[3-5].mrc"))
    assert asked == [(url, False, 8)], "one level, once"
    (listed,) = (file for file in find_inputs((url,)) if file == one)
    assert (listed.bytes, listed.modified) == (one.bytes, one.modified)


def test_of_a_large_mrc_only_the_beginning_is_read(upload, bucket, s3, lab, monkeypatch):
    path = Path(lab(count=1, shape=(2000, 2000))[0].replace("*", "mic00"))
    upload("large.mrc", path.read_bytes())
    fetched = []
    read_range = Location.read_range

    def counted(self: Location, path: str, offset: int, length: int) -> bytes:
        fetched.append(length)
        return read_range(self, path, offset, length)

    monkeypatch.setattr(Location, "read_range", counted)
    (file,) = find_inputs((f"s3://{bucket}/large.mrc",))
    header = read_input_header(file)
    assert (header.height, header.width, header.pixel_size_angstrom, header.path) == (2000, 2000, 2.0, file)
    assert sum(fetched) <= 4096


def test_tiff_and_particles_in_a_folder(lab, upload, bucket, tmp_path):
    random = np.random.default_rng(0)
    for number in range(3):
        path = tmp_path / f"t{number}.tif"
        tifffile.imwrite(path, random.normal(size=(90, 120)).astype(np.float32))
        upload(f"tiffs/{path.name}", path.read_bytes())
        upload(f"boxes/t{number}.box", b"20 30 10 10\n50 40 10 10\n")
    report = ingest(
        IngestConfig(
            "toy",
            (f"s3://{bucket}/tiffs/*.tif",),
            f"s3://{bucket}/boxes",
            84.0,
            pixel_size_angstrom=2.0,
            store=str(tmp_path / "store"),
        )
    )
    assert sum(report.particles.values()) == 6
    read = Store(str(tmp_path / "store")).open("toy").read(0)
    np.testing.assert_allclose(np.sort(read.particles[:, 1] / read.scale_y), [44, 54], atol=0.01)  # RELION's rows


def test_what_cannot_be_read_is_one_line_with_the_url(uploaded, upload, bucket):
    def refused(kind: type[Exception], *, upload_mic05: bytes | None = None, **changes) -> str:
        if upload_mic05 is not None:
            upload("session/mics/mic05.mrc", upload_mic05)
        with pytest.raises(kind) as caught:
            ingest(replace(uploaded, **changes))
        assert "\n" not in str(caught.value)
        assert tempfile.gettempdir() not in str(caught.value)
        assert Location(uploaded.store).files() == ()
        return str(caught.value)

    url = f"s3://{bucket}/session"
    assert f"{url}/none: no micrographs there" in refused(InvalidInputError, micrographs=(f"{url}/none",))
    assert f"{url}/none.mrc: no micrographs there" in refused(InvalidInputError, micrographs=(f"{url}/none.mrc",))
    assert f"{url}/none.star: no particle files there" in refused(ParticlesError, particles=f"{url}/none.star")
    missing = refused(StoreAccessError, micrographs=("s3://no-such-bucket-here/*.mrc",))
    assert "there is no bucket no-such-bucket-here" in missing
    assert "check the URL and AWS_ENDPOINT_URL" in missing
    upload("session/bad.star", b"data_\nloop_\n_rlnMicrographName #1\n")
    assert refused(ParticlesError, particles=f"{url}/bad.star").startswith(f"{url}/bad.star: ")
    content = boto3.client("s3").get_object(Bucket=bucket, Key="session/mics/mic05.mrc")["Body"].read()
    bad = refused(MicrographError, upload_mic05=content[:-1000])
    assert f"({url}/mics/mic05.mrc: truncated" in bad
    bad = refused(MicrographError, upload_mic05=b"")
    assert f"({url}/mics/mic05.mrc: empty file)" in bad
    upload("session/mics/mic05.mrc", content[:1024] + bytes(len(content) - 1024))
    with pytest.raises(MicrographError, match=f"1 of 6 .*{url}/mics/mic05.mrc: every pixel is 0"):
        ingest(uploaded)
    assert ingest(replace(uploaded, skip_unusable=True)).skipped == {f"{url}/mics/mic05.mrc": "every pixel is 0"}
