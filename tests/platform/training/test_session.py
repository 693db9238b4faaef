"""Training in one process: what is reported is committed, and what is committed is gone on from."""

from pathlib import Path
from typing import Any

import pytest
import torch

from hydrapicker.training.recipe import Recipe
from hydrapicker.training.run import Trained, read_trained
from hydrapicker.training.session import LocalSession
from hydrapicker.training.worker import Worker


class StoppedError(Exception):
    pass


def trained(recipe: Recipe, folder: Path, stop_after: int = 0, keep: int = 2) -> list[tuple[str, int]]:
    """Train, to the end or until so many epochs were announced; returns the epochs announced."""
    seen: list[tuple[str, int]] = []

    def on_record(record: dict[str, Any]) -> None:
        seen.append((record["phase"], record["epoch"]))
        if len(seen) == stop_after:
            raise StoppedError

    session = LocalSession(folder, on_record, keep=keep)
    if stop_after:
        with pytest.raises(StoppedError):
            Worker(recipe, session).run()
    else:
        Worker(recipe, session).run()
    return seen


def end(folder: Path) -> Trained:
    return read_trained(LocalSession(folder).checkpoints[-1])


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_stopped_anywhere_it_ends_bit_for_bit_where_the_undisturbed_one_ends(
    recipe: Recipe, tmp_path: Path, stop_after: int
) -> None:
    whole = trained(recipe, tmp_path / "whole")
    assert whole == [("stage 1", 1), ("stage 1", 2), ("stage 2", 1), ("stage 2", 2)]
    before = trained(recipe, tmp_path / "parted", stop_after=stop_after)
    assert before + trained(recipe, tmp_path / "parted") == whole
    expected, got = end(tmp_path / "whole"), end(tmp_path / "parted")
    assert got.weights.keys() == expected.weights.keys()
    assert all(torch.equal(got.weights[name], value) for name, value in expected.weights.items())
    assert trained(recipe, tmp_path / "whole") == [], "what is finished is not trained again"


def test_a_checkpoint_that_was_not_finished_counts_for_nothing(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "network.safetensors").write_bytes(b"half of")
        raise StoppedError

    announced: list[dict[str, Any]] = []
    session = LocalSession(tmp_path, announced.append)
    session.report({"epoch": 1}, lambda folder: (folder / "whole").touch())
    with pytest.raises(StoppedError):
        session.report({"epoch": 2}, fails)
    assert announced == [{"epoch": 1}]
    with LocalSession(tmp_path).resumed() as folder:
        assert folder is not None
        assert [file.name for file in folder.iterdir()] == ["whole"]
    assert len(list(tmp_path.iterdir())) == 1, "what the failed one left is cleaned up"


def test_the_last_few_stay(tmp_path: Path) -> None:
    with LocalSession(tmp_path).resumed() as folder:
        assert folder is None
    for number in range(4):
        session = LocalSession(tmp_path, keep=3)
        session.report({}, lambda folder, number=number: (folder / str(number)).touch())  # type: ignore[misc]
    assert [next(folder.iterdir()).name for folder in session.checkpoints] == ["1", "2", "3"]
