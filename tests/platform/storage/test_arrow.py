"""Places for files as Arrow filesystems: what Arrow writes is what a location reads, whole or not at all."""

import pickle
from pathlib import Path

import pytest
from pyarrow.fs import FileSelector, LocalFileSystem

from hydrapicker.errors import StoreError
from hydrapicker.storage.arrow import AtomicLocalFileSystem, arrow_filesystem
from hydrapicker.storage.location import Location
from hydrapicker.storage.retry import RetryBudget


@pytest.fixture(params=["local", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "local":
        return Location(str(tmp_path / "runs"))
    return Location(f"s3://{request.getfixturevalue('bucket')}/some/runs")


def test_arrow_and_location_see_the_same_files(location: Location) -> None:
    filesystem, path = arrow_filesystem(location)
    filesystem.create_dir(f"{path}/a")
    with filesystem.open_output_stream(f"{path}/a/b.json") as stream:
        stream.write(b"{}")
    assert location.read("a/b.json") == b"{}"
    location.write("a/c", b"c")
    assert {Path(file.path).name for file in filesystem.get_file_info(FileSelector(f"{path}/a"))} == {"b.json", "c"}


def test_a_pickled_filesystem_is_the_same_one(location: Location) -> None:
    filesystem, _ = arrow_filesystem(location)
    again = pickle.loads(pickle.dumps(filesystem))  # noqa: S301 (as Ray sends it to its workers)
    assert again == filesystem
    assert type(again) is type(filesystem)
    assert b"only-on-loopback" not in pickle.dumps(filesystem), "the secret key stays where it is"


def break_off(filesystem: LocalFileSystem, path: Path) -> None:
    with filesystem.open_output_stream(str(path)) as stream:
        stream.write(b"half of")
        raise KeyboardInterrupt


def test_a_file_that_is_not_finished_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.json"
    path.write_bytes(b"whole")
    with pytest.raises(KeyboardInterrupt):
        break_off(AtomicLocalFileSystem(), path)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("snapshot.json", b"whole")]
    with pytest.raises(KeyboardInterrupt):
        break_off(LocalFileSystem(), path)
    assert path.read_bytes() == b"half of", "Arrow's own does that, which is why there is another"


def test_other_places_are_refused() -> None:
    with pytest.raises(StoreError, match="give a folder or s3://"):
        arrow_filesystem(Location("memory://runs"))


def test_amazons_own_servers_are_not_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    filesystem, path = arrow_filesystem(Location("s3://bucket/a/b", RetryBudget(0)))
    assert path == "bucket/a/b"
    assert filesystem.region == "eu-central-1"
