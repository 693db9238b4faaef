"""What cannot be trained is refused in one line with the remedy, before Ray starts and before anything is written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hydrapicker import cluster
from hydrapicker.cli import main

NOBODY = "http://127.0.0.1:9"
"""The port at which connections are thrown away, where anybody listens at all."""


@pytest.fixture
def refusal(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """The line with which ``hydrapicker train a`` is refused, given some options."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_ENDPOINT_URL", NOBODY)

    def connect() -> None:
        raise AssertionError("Ray was about to start")

    monkeypatch.setattr(cluster, "connect", connect)

    def train(*options: str) -> str:
        given = ["--datasets", "a", "--store", store, "--loop.batch-size", "2", "--streaming.retry-seconds", "0"]
        assert main(["train", *given, *options]) == 1
        shown = capsys.readouterr()
        assert shown.out == ""
        assert not (tmp_path / "hydrapicker-data/runs").exists()
        (line,) = shown.err.splitlines()
        return line

    return train


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--datasets nonsense", "nonsense"),
        ("--loop.batch-size 3", "batch_size 3 is larger than dataset a, which has 2 train micrographs: give"),
        ("--augmentation.crop-px 100", "crop_px is 100: give a multiple of 16, for example 96"),
        ("--loop.workers 640 --loop.minibatches-per-step 640", "640 workers of 1 CPUs need 640 CPUs and this machine"),
        ("--loop.workers 640:700 --loop.minibatches-per-step 700", "640 workers of 1 CPUs need 640 CPUs"),
        ("--loop.workers some", "neither a count nor MIN:MAX: give 2, or 1:4"),
        ("--runs gs://bucket/runs", "give a folder or s3://bucket/prefix"),
        ("--runs s3://bucket/runs", "check the network and AWS_ENDPOINT_URL"),
        ("--store s3://bucket/datasets", "check the network and AWS_ENDPOINT_URL"),
        ("--run-name a/b", "'a/b'"),
    ],
)
def test_one_line_with_the_remedy(refusal: Callable[..., str], options: str, told: str) -> None:
    assert told in refusal(*options.split())


def test_an_mlflow_that_does_not_answer(refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    assert NOBODY in refusal()
    assert "MLFLOW_TRACKING_URI" in refusal()


def test_a_run_that_is_another(refusal: Callable[..., str], tmp_path: Path) -> None:
    record = tmp_path / "elsewhere/taken/run.json"
    record.parent.mkdir(parents=True)
    for content, told in (('{"identity": "other"}', "give another --run-name, or the same"), ("{", "cannot be read")):
        record.write_text(content)
        assert told in refusal("--runs", "elsewhere", "--run-name", "taken")
        assert record.read_text() == content


def test_what_can_be_trained_gets_as_far_as_ray(refusal: Callable[..., str]) -> None:
    with pytest.raises(AssertionError, match="Ray was about to start"):
        refusal()
