"""Watching a folder: files written slowly, renamed, deleted, written again, and a watcher that is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from hydrapicker.cli import main
from hydrapicker.errors import InvalidInputError
from hydrapicker.files import read_particles
from hydrapicker.picking import watch as watching
from hydrapicker.picking.kept import KeptMicrograph, KeptPicks
from hydrapicker.picking.pick import PickConfig, pick

PIXEL = 1.9
PROGRAM = """
import sys
from pathlib import Path
from hydrapicker.picking.config import PickConfig
from hydrapicker.picking.watch import watch
config = PickConfig(('mics',), Path('out'), head='any', watch=True)
try:
    report = watch(config, lambda done, total, label: print(label, flush=True), look_every_seconds=0.3)
except BaseException as error:
    print(error, flush=True)
    sys.exit(1)
print('failed', *report.failed, flush=True)
"""


@contextmanager
def watcher() -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def until(true: Callable[[], bool]) -> None:
    """Wait; a watcher that never gets there fails the test."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, "the watcher did not get there"
        time.sleep(0.05)


def mrc(image: np.ndarray, folder: Path) -> bytes:
    path = folder / "made.mrc"
    with mrcfile.new(path, image) as file:
        file.voxel_size = PIXEL
    data = path.read_bytes()
    path.unlink()
    return data


def kept(name: str) -> Path:
    return Path("out/picked") / f"{name}.safetensors"


def picked_in(lines: list[str]) -> list[str]:
    return sorted(line.partition(":")[0] for line in lines if line.endswith("picks"))


def test_every_file_is_picked_once_when_it_is_complete(here: Path, image: np.ndarray) -> None:
    data = [mrc(np.roll(image, 11 * number, axis=1), here) for number in range(6)]
    mics = here / "mics"
    mics.mkdir()
    (mics / "there.mrc").write_bytes(data[0])
    with watcher() as first:
        until(kept("there").exists)
        a_second_one_is_refused()
        assert first.poll() is None
        slowly(mics / "slow.mrc", data[1])
        (mics / "moved.mrc.part").write_bytes(data[2])
        (mics / "moved.mrc.part").rename(mics / "moved.mrc")
        (mics / "again.mrc").write_bytes(data[3])
        until(lambda: all(kept(name).exists() for name in ("slow", "moved", "again")))
        before = kept("again").read_bytes()
        (mics / "again.mrc").unlink()
        (mics / "there.mrc").unlink()
        time.sleep(0.7)
        (mics / "again.mrc").write_bytes(data[4])
        until(lambda: kept("again").read_bytes() != before)
        time.sleep(0.7)  # whatever would be picked twice is
        first.kill()
        lines = first.communicate()[0].splitlines()
    assert picked_in(lines) == ["again.mrc", "again.mrc", "moved.mrc", "slow.mrc", "there.mrc"]
    assert not Path("out/picks.star").exists()  # it was killed

    (mics / "late.mrc").write_bytes(data[5])
    (mics / "bad.mrc").write_bytes(data[5][:-9])
    with watcher() as second:
        assert second.stdout is not None
        told = [next(second.stdout) for _ in ("late", "bad")]
        second.send_signal(signal.SIGINT)
        lines = [line.rstrip() for line in (*told, *second.stdout)]
    assert picked_in(lines) == ["late.mrc"]
    assert lines[-1] == "failed mics/bad.mrc"
    same_as_picked_at_once(dict(zip(("there", "slow", "moved", "again", "late"), (0, 1, 2, 4, 5), strict=True)), data)


def a_second_one_is_refused() -> None:
    with watcher() as second:
        said = second.communicate(timeout=60)[0]
    assert (second.returncode, said.count("\n")) == (1, 1)
    assert said.startswith("out: another hydrapicker pick is at work in this folder")


def slowly(path: Path, data: bytes) -> None:
    """A part at a time, with pauses longer than from one look to the next: it seems complete and is not."""
    quarter = len(data) // 4 + 1
    with path.open("wb") as file:
        for start in range(0, len(data), quarter):
            assert not kept(path.stem).exists()
            file.write(data[start : start + quarter])
            file.flush()
            if start + quarter < len(data):
                time.sleep(0.8)


def same_as_picked_at_once(numbers: dict[str, int], data: list[bytes]) -> None:
    found = read_particles("out/all_picks.star")
    assert set(found) == {f"mics/{name}.mrc" for name in numbers}
    Path("all").mkdir()
    for name, number in numbers.items():
        Path("all", f"{name}.mrc").write_bytes(data[number])
    pick(PickConfig(("all",), Path("whole"), head="any"))
    for name, each in read_particles("whole/all_picks.star").items():
        np.testing.assert_array_equal(found[name.replace("all/", "mics/")].xy, each.xy)


def test_the_command_ends_with_all_files_when_it_is_told_to_end(
    here: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mics").mkdir()
    (here / "mics" / "a.mrc").write_bytes(mrc(image, here))
    keep = KeptPicks.keep

    def keep_and_stop(self: KeptPicks, micrograph: KeptMicrograph) -> None:
        keep(self, micrograph)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(KeptPicks, "keep", keep_and_stop)
    code = main(["pick", "--watch", "mics", "--head", "any", "--out", "out"])
    assert code == 0
    assert "picks on 1 micrographs by any version 1: out/picks.star" in capsys.readouterr().out
    assert len(read_particles("out/picks.star")["mics/a.mrc"].xy) > 0
    assert (here / "out" / "micrographs" / "a_autopick.star").is_file()


def test_a_file_is_picked_when_it_has_stopped_changing(
    here: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file, whole at any time, is written again between looks: it is picked at the first that saw no change."""
    file, looks, there = here / "mics" / "a.mrc", 0, []
    file.parent.mkdir()
    file.write_bytes(mrc(image, here))

    def sleep(seconds: float) -> None:
        nonlocal looks
        looks += 1
        there.append(kept("a").exists())
        if looks < 4:
            os.utime(file, (looks, looks))
        if looks == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching.time, "sleep", sleep)
    report = pick(PickConfig(("mics",), Path("out"), head="any", watch=True))
    assert there == [False] * 4 + [True] * 2
    assert list(report.counts) == ["mics/a.mrc"]


def test_only_folders_are_watched(here: Path) -> None:
    (here / "a.mrc").write_bytes(b"x")
    for given in ("a.mrc", "nowhere"):
        with pytest.raises(InvalidInputError, match=f"{given}: --watch wants folders"):
            pick(PickConfig((given,), Path("out"), watch=True))
    with pytest.raises(InvalidInputError, match="watch picks on this machine"):
        PickConfig(("mics",), Path("out"), watch=True, parallel="ray")
