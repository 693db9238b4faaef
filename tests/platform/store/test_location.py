import resource
import subprocess
import sys
from pathlib import Path

import pytest

from hydrapicker.errors import StoreError
from hydrapicker.store.location import Location, default_store


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


def test_missing_files_are_named_in_one_line(root):
    with pytest.raises(StoreError, match=r"cannot read .*/a/b\.bin: .*; check --store") as caught:
        Location(root).read("a/b.bin")
    assert "\n" not in str(caught.value)


def test_paths_do_not_leave_the_root(root):
    for path in ("../x", "a/../../x", "/etc/passwd"):
        with pytest.raises(StoreError, match="outside the store"):
            Location(root).read(path)


def test_an_unknown_kind_of_place():
    with pytest.raises(StoreError, match="nosuch://x: not a place for a dataset store"):
        Location("nosuch://x")


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
        "from hydrapicker.store.location import Location\n"
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
