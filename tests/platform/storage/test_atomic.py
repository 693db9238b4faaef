"""Nothing half-written: not after an error, not on a full disk, not on a read-only one."""

import subprocess
import sys
from pathlib import Path

import pytest

from hydrapicker.errors import HydraPickerError, InvalidInputError
from hydrapicker.files import OutputError, atomic_write


def test_the_file_appears_whole_and_replaces_the_older_one(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    for text in ("one", "two"):
        with atomic_write(target) as temporary:
            assert temporary.parent == target.parent
            assert temporary.suffix == ".txt"
            temporary.write_text(text)
            assert not target.exists() or target.read_text() == "one"
        assert target.read_text() == text
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, InvalidInputError])
def test_an_interrupted_write_leaves_the_older_file_and_no_temporary(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def interrupted() -> None:
        with atomic_write(target) as temporary:
            temporary.write_text("half")
            raise error("stop")

    with pytest.raises(error):
        interrupted()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_place_that_cannot_be_written_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match=r"file/a\.txt: cannot be written \(") as caught,
        atomic_write(tmp_path / "file" / "a.txt") as temporary,
    ):
        temporary.write_text("x")
    assert isinstance(caught.value, HydraPickerError)
    assert isinstance(caught.value, OSError)
    assert "\n" not in str(caught.value)


def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path) -> None:
    program = """
import resource, signal, sys
import numpy as np
from hydrapicker.errors import HydraPickerError
from hydrapicker.files import write_mrc
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    write_mrc(sys.argv[1], np.random.default_rng(0).random((200, 200), dtype=np.float32), 1.0)
except HydraPickerError as error:
    print(error)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.mrc")], capture_output=True, text=True, check=True
    )
    assert f"{tmp_path / 'a.mrc'}: cannot be written (File too large)" in ran.stdout
    assert ran.stderr == ""
    assert list(tmp_path.iterdir()) == []
