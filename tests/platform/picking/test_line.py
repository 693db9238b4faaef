"""While the network is at one micrograph, the next is read: in order, bounded, and with each file's errors its own."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

from hydrapicker.picking import line
from hydrapicker.picking.config import PickConfig
from hydrapicker.picking.line import picked_in_line
from hydrapicker.picking.one import pick_file
from hydrapicker.picking.picker import Picker

LONG_SECONDS = 60


@pytest.fixture
def files(here: Path, image: np.ndarray) -> list[Path]:
    """Six micrographs, of which the third is damaged and the fourth is gone."""
    for number in range(6):
        with mrcfile.new(f"m{number}.mrc", np.roll(image, 17 * number, axis=1)) as file:
            file.voxel_size = 1.9
    Path("m2.mrc").write_bytes(Path("m2.mrc").read_bytes()[:5000])
    Path("m3.mrc").unlink()
    return [Path(f"m{number}.mrc") for number in range(6)]


def config_for(files: Sequence[Path]) -> PickConfig:
    return PickConfig(tuple(map(str, files)), Path("out"), head="any")


def test_each_file_in_order_with_what_it_gives_alone(any_head: Picker, files: list[Path]) -> None:
    config = config_for(files)
    found = list(picked_in_line(any_head, files, config))
    assert [file for file, _ in found] == files
    for file, outcome in found:
        alone = pick_file(any_head, file, str(file), config)
        assert outcome.failure == alone.failure
        assert (outcome.kept is None) == (file.name in ("m2.mrc", "m3.mrc"))
        if outcome.kept is not None:
            np.testing.assert_array_equal(outcome.kept.xy, alone.kept.xy)  # type: ignore[union-attr]
            assert outcome.kept.origin == alone.kept.origin  # type: ignore[union-attr]
    failures = [outcome.failure or "" for _, outcome in found]
    assert ["truncated" in failures[2], "No such file" in failures[3]] == [True, True]


def test_no_file_is_nothing_to_do(any_head: Picker) -> None:
    assert list(picked_in_line(any_head, [], config_for(["none.mrc"]))) == []  # type: ignore[list-item]


def test_the_next_is_read_while_the_network_is_busy_and_while_the_last_is_written(
    any_head: Picker, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = {file.name: threading.Event() for file in files}
    picked = {file.name: threading.Event() for file in files}
    original, original_pick = line.read_file, line.pick_read

    def noting(picker: Picker, file: Path, name: str, config: PickConfig) -> Any:
        read[file.name].set()
        return original(picker, file, name, config)

    def waiting(picker: Picker, given: Any, config: PickConfig, compare: bool) -> Any:
        if given.origin.name == "m0.mrc":
            assert read["m1.mrc"].wait(LONG_SECONDS), "m1 was not read while the network was at m0"
        picked[given.origin.name].set()
        return original_pick(picker, given, config, compare)

    monkeypatch.setattr(line, "read_file", noting)
    monkeypatch.setattr(line, "pick_read", waiting)
    outcomes = picked_in_line(any_head, files, config_for(files))
    next(outcomes)
    # m0 is being written now: the network is at m1 and m2 is read, but no more.
    assert picked["m1.mrc"].wait(LONG_SECONDS)
    assert read["m2.mrc"].wait(LONG_SECONDS)
    assert not any(read[name].is_set() for name in ("m3.mrc", "m4.mrc", "m5.mrc"))
    outcomes.close()
    assert not any(read[name].is_set() for name in ("m3.mrc", "m4.mrc", "m5.mrc"))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hydrapicker-")]


def test_what_is_a_fault_of_ours_is_not_hidden(
    any_head: Picker, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(line, "pick_read", broken)
    with pytest.raises(ZeroDivisionError):
        list(picked_in_line(any_head, files, config_for(files)))


def test_without_room_the_file_is_left_out(
    any_head: Picker, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Picker, "pick_prepared", full)
    ((_, outcome),) = picked_in_line(any_head, files[:1], config_for(files))
    assert outcome.failure == "m0.mrc: not enough memory for it; give a smaller --memory-bound-gib"
