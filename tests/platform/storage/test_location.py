import multiprocessing
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import boto3
import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from hydrapicker.errors import StoreChangedError, StoreError
from hydrapicker.storage.location import UNFINISHED, Location, default_store, from_any_folder
from hydrapicker.storage.retry import RetryBudget


def test_default_store(monkeypatch):
    monkeypatch.delenv("HYDRAPICKER_STORE", raising=False)
    assert default_store() == "./hydrapicker-data/datasets"
    monkeypatch.setenv("HYDRAPICKER_STORE", "s3://bucket/prefix")
    assert default_store() == "s3://bucket/prefix"


def test_files_and_ranges(root):
    location = Location(root)
    assert not location.exists("a/b.bin")
    assert location.size("a/b.bin") is None
    assert location.names("a") == ()
    location.write("a/b.bin", bytes(range(100)))
    assert location.read("a/b.bin") == bytes(range(100))
    assert location.read_range("a/b.bin", 10, 5) == bytes(range(10, 15))
    assert location.read_range("a/b.bin", 98, 5) == bytes([98, 99])
    assert location.size("a/b.bin") == 100
    location.write("a/b.bin", b"new")
    location.write("a/c/d.bin", b"")
    assert location.read("a/b.bin") == b"new"
    assert location.names("a") == ("b.bin", "c")
    location.remove("a/c")
    location.remove("a/never-there")
    assert location.names("a") == ("b.bin",)


def test_ranges_at_the_end(root):
    location = Location(root)
    location.write("a", b"0123")
    location.write("empty", b"")
    assert location.read_range("a", 4, 2) == location.read_range("a", 9, 2) == location.read_range("a", 1, 0) == b""
    assert location.read_range("empty", 0, 2) == b""
    assert location.read("empty") == b""


def test_a_name_that_begins_like_another(root):
    location = Location(root)
    location.write("toy-2/a", b"2")
    location.write("toy.x", b"x")
    assert not location.exists("toy")
    assert location.names("toy") == location.files("toy") == ()
    location.write("toy/a", b"1")
    assert location.exists("toy")
    assert location.size("toy/a") == 1
    location.remove("toy")
    assert [entry.path for entry in location.files()] == ["toy-2/a", "toy.x"]


def test_all_files_below_a_folder(root):
    location = Location(root)
    assert location.files() == ()
    for path, size in (("b", 3), ("a/2", 2), ("a/1/x", 0)):
        location.write(path, bytes(size))
    assert [(entry.path, entry.bytes) for entry in location.files()] == [("a/1/x", 0), ("a/2", 2), ("b", 3)]
    assert [entry.path for entry in location.files("a")] == ["a/1/x", "a/2"]
    assert [entry.path for entry in location.files(below=False)] == ["b"]
    assert [entry.path for entry in location.files("a", below=False)] == ["a/2"]
    assert location.files("none", below=False) == ()
    one = location.file("a/2")
    assert (one.path, one.bytes, location.file("a/3")) == ("a/2", 2, None)
    now = datetime.now(UTC)
    assert all(abs(entry.modified - now) < timedelta(minutes=5) for entry in (one, *location.files()))


def test_more_files_than_one_answer_of_s3_lists(bucket):
    location = Location(f"s3://{bucket}/some")
    names = [f"{number:04d}" for number in range(1003)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: location.write(f"many/{name}", b""), names))
    assert location.names("many") == tuple(names)
    assert [entry.path for entry in location.files()] == [f"many/{name}" for name in names]
    location.remove("many")
    assert location.files() == ()


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Let threads interrupt each other as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
def test_of_many_who_write_at_once_one_succeeds(root):
    location = Location(root)
    together = Barrier(8)

    def write(content: bytes, tag: str | None) -> bytes | None:
        together.wait()
        try:
            Location(root).write_if_unchanged("a/pointer", content, tag)
        except StoreChangedError:
            return None
        return content

    tag = None
    for turn in range(2 if root.startswith("s3") else 40):  # SeaweedFS lets those who come together wait for seconds
        contents = [b"%d of %d" % (number, turn) for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            winners = [found for found in pool.map(write, contents, [tag] * 8) if found is not None]
        assert len(winners) == 1
        content, tag = location.read_tagged("a/pointer")
        assert content == winners[0]
    assert location.names("a") == ("pointer",)
    assert len(location.files()) == 1


def test_a_conditional_write_minds_what_is_there(root):
    location = Location(root)
    assert location.read_tagged("a") is None
    with pytest.raises(StoreChangedError):
        location.write_if_unchanged("a", b"two", "some-tag")
    assert not location.exists("a")
    location.write_if_unchanged("a", b"one", None)
    _, first = location.read_tagged("a")
    with pytest.raises(
        StoreChangedError, match=r"^cannot write .*/a: somebody else wrote it .*run the same command again$"
    ):
        location.write_if_unchanged("a", b"two", None)
    location.write_if_unchanged("a", b"two", first)
    with pytest.raises(StoreChangedError):
        location.write_if_unchanged("a", b"three", first)
    location.write_if_unchanged("a", b"two", first)  # as it is already: an answer may have been lost
    assert location.read("a") == b"two"


def test_where_nothing_can_be_refused_nothing_is_written_conditionally():
    class Elsewhere(MemoryFileSystem):
        protocol = "elsewhere"

    fsspec.register_implementation("elsewhere", Elsewhere, clobber=True)
    location = Location("elsewhere://place")
    with pytest.raises(StoreError, match=r"elsewhere://place/a: .* can be read from there but not made"):
        location.write_if_unchanged("a", b"x", None)
    assert not location.exists("a")


@pytest.mark.parametrize(
    "sizes", [[], [0], [5, 7], [20 * 2**20, 3], [2**20] * 16], ids=["none", "0", "few", "big", "parts"]
)
def test_a_file_written_in_pieces_appears_whole(root, sizes):
    location = Location(root)
    pieces = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    with location.writer("a/big.bin") as file:
        for piece in pieces:
            file.write(memoryview(piece))
        assert not location.exists("a/big.bin")
    assert location.read("a/big.bin") == b"".join(pieces)
    assert [entry.path for entry in location.files()] == ["a/big.bin"]
    assert location.unfinished_uploads() == ()


def test_a_file_written_in_pieces_vanishes_when_its_writer_fails(root):
    location = Location(root)
    location.write("a.bin", b"old")
    with pytest.raises(OSError, match=r"^of the writer$"), location.writer("a.bin") as file:  # noqa: PT012
        file.write(bytes(9 * 2**20))
        raise OSError("of the writer")
    assert location.read("a.bin") == b"old"
    assert [entry.path for entry in location.files()] == ["a.bin"]
    assert location.unfinished_uploads() == ()


@pytest.mark.parametrize("root", ["local", "s3"], indirect=True)
def test_what_a_killed_writer_leaves_is_found(root):
    script = (
        "import os, sys\n"
        "from hydrapicker.storage.location import Location\n"
        "with Location(sys.argv[1]).writer('toy/v0001/00000.shard') as file:\n"
        "    file.write(bytes(9 * 2**20))\n"
        "    os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script, root], check=True)
    location = Location(root)
    assert not location.exists("toy/v0001/00000.shard")
    if location.local_folder:
        (left,) = location.files()
        assert left.path.startswith("toy/v0001/.00000.shard.")
        assert left.path.endswith(UNFINISHED)
    else:
        (upload,) = location.unfinished_uploads("toy")
        assert upload.path == "toy/v0001/00000.shard"
        assert abs(upload.started - datetime.now(UTC)) < timedelta(minutes=5)
        location.abort_upload(upload)
        location.abort_upload(upload)
        assert location.unfinished_uploads() == ()


def test_uploads_beside_the_store_are_not_ours(bucket):
    client = boto3.client("s3")
    for key in ("prefix/toy/a", "prefix/toy/b", "prefix/toy-2/a", "prefix-2/toy/a"):
        client.create_multipart_upload(Bucket=bucket, Key=key)
    location = Location(f"s3://{bucket}/prefix")
    assert [upload.path for upload in location.unfinished_uploads()] == ["toy-2/a", "toy/a", "toy/b"]
    assert [upload.path for upload in location.unfinished_uploads("toy")] == ["toy/a", "toy/b"]
    assert len(Location(f"s3://{bucket}").unfinished_uploads()) == 4


def test_where_it_lies(tmp_path):
    assert Location(str(tmp_path)).local_folder == tmp_path
    assert Location(f"file://{tmp_path}").local_folder == tmp_path
    assert Location("memory://a").local_folder is None
    assert Location("memory://a").bucket_and_prefix is None
    assert Location("s3://b").bucket_and_prefix == ("b", "")
    assert Location("s3://b/c/d/").bucket_and_prefix == ("b", "c/d")
    assert Location("s3://b").local_folder is None
    for root in ("s3://", "s3://a b/c"):
        with pytest.raises(StoreError, match="cannot be a bucket"):
            Location(root)


def test_a_folder_is_the_same_by_any_name_and_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRAPICKER_STORE", "~/default")
    for root, folder in {"~/zz": "home/zz", "a/b": "a/b", "./a": "a", str(tmp_path / "c"): "c"}.items():
        assert Location(root).local_folder == tmp_path / folder
        assert from_any_folder(root) == str(tmp_path / folder)
    assert from_any_folder(None) == str(tmp_path / "home/default")
    assert from_any_folder("s3://bucket/~/a") == "s3://bucket/~/a"


def _read(location: Location) -> bytes:
    return location.read("a")


@pytest.mark.parametrize("root", ["local", "s3"], indirect=True)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_location_goes_to_other_processes(root, method):
    location = Location(root, RetryBudget(seconds=7))
    location.write("a", b"content")
    assert pickle.loads(pickle.dumps(location)).retry == location.retry  # noqa: S301 (our own)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(_read, (location,)) == b"content"
    assert location.read("a") == b"content"


def _read_elsewhere(location: Location, folder: Path) -> bytes:
    os.chdir(folder)
    return pickle.loads(pickle.dumps(location)).read("a")  # noqa: S301 (our own)


def test_a_relative_folder_goes_to_other_working_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    location = Location("store")
    location.write("a", b"content")
    (tmp_path / "elsewhere").mkdir()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_read_elsewhere, (location, tmp_path / "elsewhere")) == b"content"
    with pytest.raises(StoreError, match=r"^cannot read store/b: "):  # as it was typed
        location.read("b")


def test_missing_files_are_named_in_one_line(root):
    with pytest.raises(StoreError, match=r"cannot read .*/a/b\.bin: .*; check --store") as caught:
        Location(root).read("a/b.bin")
    assert "\n" not in str(caught.value)


def test_paths_do_not_leave_the_root(root):
    for path in ("../x", "a/../../x", "/etc/passwd"):
        with pytest.raises(StoreError, match="outside the store"):
            Location(root).read(path)


def test_an_unknown_kind_of_place():
    with pytest.raises(StoreError, match=r"nosuch://x: no place for files that can be used \(Protocol not known"):
        Location("nosuch://x")


@pytest.mark.parametrize("root", ["ftp://me:secret@127.0.0.1:9/x", "zip://a.mrc", "zip://a.mrc::memory://none.zip"])
def test_a_place_that_does_not_open_is_one_line(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=r"^cannot open .*; check the URL$") as caught:
        Location(root, given_by="the URL")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_archive_is_one_line(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no archive")
    with pytest.raises(StoreError, match=r"no place for files that can be used \(File is not a zip file\); give "):
        Location(f"zip://a.mrc::{tmp_path}/a.zip")


@pytest.mark.parametrize("keys", ["AKIA:secret", "AKIA:sec/ret+secret", "secret"])
def test_keys_in_the_url_of_a_bucket_are_refused_and_not_shown(keys):
    with pytest.raises(StoreError, match=r"^s3://bucket/x: give keys by AWS_ACCESS_KEY_ID") as caught:
        Location(f"s3://{keys}@bucket/x")
    assert "sec" not in str(caught.value)


def test_passwords_are_used_and_not_shown():
    class Guarded(MemoryFileSystem):
        protocol = "guarded"

    fsspec.register_implementation("guarded", Guarded, clobber=True)
    location = Location("guarded://me:secret@host/x")
    assert repr(location) == "Location('guarded://host/x')"
    assert (location.url(), location.url("a/b")) == ("guarded://host/x", "guarded://host/x/a/b")
    for operation in (
        lambda: location.read("a"),
        lambda: location.read("../a"),
        lambda: location.write_if_unchanged("a", b"", None),
    ):
        with pytest.raises(StoreError, match="host/x") as caught:
            operation()
        assert "secret" not in str(caught.value)
    assert pickle.loads(pickle.dumps(location)).root == location.root  # noqa: S301 (our own)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot write .*/a\.bin: .*choose another place") as caught:
        Location(str(tmp_path / "file")).write("a.bin", b"x")
    assert "\n" not in str(caught.value)


def test_a_read_only_place(tmp_path):
    """The kernel's own read-only files, since tests may run as root, whom permissions do not stop."""
    if not Path("/proc/self").exists():
        pytest.skip("no /proc on this system")
    with pytest.raises(StoreError, match=r"cannot write /proc/hydrapicker/a\.bin"):
        Location("/proc/hydrapicker").write("a.bin", b"x")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    """A real refusal by the system: no file may grow beyond 10,000 bytes in the process that writes."""
    location = Location(str(tmp_path))
    location.write("a.bin", b"old")
    script = (
        "import sys\n"
        "from hydrapicker.errors import StoreError\n"
        "from hydrapicker.storage.location import Location\n"
        "try:\n    Location(sys.argv[1]).write('a.bin', bytes(100_000))\n"
        "except StoreError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
    )
    assert done.stdout.startswith(f"cannot write {tmp_path}/a.bin: ")
    assert "run the same command again" in done.stdout
    assert done.stdout.count("\n") == 1
    assert location.names() == ("a.bin",)
    assert location.read("a.bin") == b"old"
