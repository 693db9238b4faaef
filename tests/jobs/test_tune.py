"""The search for lambda_bias with real datasets, Ray Tune and MLflow: killed in its middle, continued, repeated."""

import csv
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hydrapicker.cli import main
from hydrapicker.cli.parse import parse_preset
from hydrapicker.store.store import Store
from hydrapicker.training.checkpoint import load_weights_of
from hydrapicker.training.config import PRESETS, TrainConfig
from hydrapicker.training.session import LocalSession
from hydrapicker.training.train import training_recipe
from hydrapicker.training.worker import Worker
from hydrapicker.tuning.objective import judge_trial
from hydrapicker_core.network import MultiHeadNetwork, load_weights

pytestmark = pytest.mark.timeout(600)

TRIALS = 3
TUNE = (
    "tune --preset demo --datasets a b --targets c --network.width 4 --augmentation.crop-px 64 --loop.workers 1 "
    "--loop.cpus-per-worker 1 --loop.batch-size 2 --loop.minibatches-per-step 1 --loop.validate-every 1 "
    f"--stage1.epochs 2 --stage2.epochs 3 --stage2.learning-rate 1e-2 --grace-epochs 3 --trials {TRIALS} "
    "--search.lambda-bias 0.05 5 --run-name search"
).split()


@dataclass(frozen=True)
class Lab:
    """A folder where a search was killed, continued and repeated.

    Attributes:
        folder: The folder.
        killed: What the driver said that was killed.
        continued: What the next one said, which came to the end.
        repeated: What was said when the same command was given once more.
        titles: Of the killed driver's processes, when it was killed.
        survivors: Titles of its trials' processes that were still there later.
        left_over: Titles of the trials' processes that were there after the search had ended.
    """

    folder: Path
    killed: str
    continued: str
    repeated: str
    titles: tuple[str, ...]
    survivors: tuple[str, ...]
    left_over: tuple[str, ...]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The search, and its Ray still connected."""
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for variable in ("HYDRAPICKER_STORE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
            patch.delenv(variable, raising=False)
        for name, shape, seed in (("a", "shell", 1), ("b", "barrel", 2), ("c", "disc", 3)):
            make_dataset(name, shape, seed)
        killed, processes = kill_in_the_middle()
        # Ray's own agents take their time, in which they do nothing.
        survivors = wait_until_gone({pid: title for pid, title in processes.items() if of_trial(title)})
        continued = run_here()
        left_over = wait_until_gone({pid: title for pid, title in descendants(os.getpid()).items() if of_trial(title)})
        yield Lab(folder, killed, continued, run_here(), tuple(processes.values()), survivors, left_over)
        import ray

        ray.shutdown()


def make_dataset(name: str, shape: str, seed: int) -> None:
    simulated = f"hydrapicker-data/simulated/{name}"
    command = f"simulate {name} --structure builtin:{shape} --seed {seed} --micrographs 4 --height 192 --width 192"
    assert main([*command.split(), "--pixel-size-angstrom", "8"]) == 0
    command = f"ingest {name} --micrographs {simulated}/micrographs --particles {simulated}/particles.star"
    assert main([*command.split(), "--diameter-angstrom", "180", "--workers", "1"]) == 0


def kill_in_the_middle() -> tuple[str, dict[int, str]]:
    """What a driver said until it was killed, and its processes at that moment."""
    said, processes = "", {}
    command = [sys.executable, "-m", "hydrapicker", *TUNE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as driver:
        assert driver.stdout is not None
        for line in driver.stdout:
            said += line
            if line.startswith("trial 1 ") and "epoch 2/3" in line:
                processes = descendants(driver.pid)
                driver.kill()
        assert driver.wait() == -signal.SIGKILL, said
    return said, processes


def run_here() -> str:
    """What the same command says in this process."""
    said = io.StringIO()
    with redirect_stdout(said):
        assert main(TUNE) == 0
    return said.getvalue()


def descendants(ancestor: int) -> dict[int, str]:
    """Titles of all processes below one."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just left
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found: dict[int, str] = {}
    for pid in parents:
        above = pid
        while above in parents and above != ancestor:
            above = parents[above]
        if above == ancestor and pid != ancestor:
            found[pid] = title_of(pid)
    return found


def title_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def of_trial(title: str) -> bool:
    return "run_trial" in title or "ImplicitFunc" in title


def wait_until_gone(processes: dict[int, str]) -> tuple[str, ...]:
    """Titles of the processes that have not left within 40 seconds."""
    deadline = time.monotonic() + 40
    left = processes
    while left and time.monotonic() < deadline:
        time.sleep(0.2)
        left = {pid: title for pid, title in left.items() if title_of(pid) == title != ""}
    return tuple(left.values())


def trials_of(lab: Lab) -> list[dict[str, str]]:
    return list(csv.DictReader((lab.folder / "hydrapicker-data/runs/search/trials.csv").read_text().splitlines()))


def test_a_killed_search_goes_on_where_it_was(lab: Lab) -> None:
    assert "trial 1  lambda_bias 0  epoch 1/3" in lab.killed
    assert "trial 1  lambda_bias 0  epoch 1/3" not in lab.continued, "it goes on from its checkpoint"
    assert "was trained before" in lab.continued, "stage 1 is not trained twice"
    for number in range(1, TRIALS + 1):
        assert re.search(rf"^trial {number} .* epoch 3/3", lab.continued, re.MULTILINE)


def test_no_process_outlives_its_driver_and_no_trial_its_end(lab: Lab) -> None:
    assert any(of_trial(title) for title in lab.titles), "or the next lines look for nothing"
    assert lab.survivors == ()
    assert lab.left_over == ()


def test_zero_the_config_s_own_and_proposals_within_the_range_are_tried_to_their_ends(lab: Lab) -> None:
    trials = trials_of(lab)
    values = [float(trial["lambda_bias"]) for trial in trials]
    assert values[:2] == [0.0, 0.1]
    assert all(0.05 <= value <= 5 for value in values[1:])
    assert [trial["epochs"] for trial in trials] == ["3"] * TRIALS
    assert not list((lab.folder / "hydrapicker-data/runs/search/trials").iterdir()), "checkpoints are cleared away"


def test_a_trial_is_worth_what_the_ordinary_training_is_worth(lab: Lab) -> None:
    store = Store()
    sources, targets = store.open_all({"a": None, "b": None}), store.open_all({"c": None})
    config = parsed_command(lab)
    recipe = training_recipe(replace(config, loop=replace(config.loop, cpus_per_worker=1)), sources)
    threads = torch.get_num_threads()
    try:
        session = LocalSession(lab.folder / "ordinary")
        Worker(recipe, session).run()
        network = MultiHeadNetwork(config.network, recipe.phases[-1].heads)
        load_weights(network, load_weights_of(session.checkpoints[-1], "best"), "the training")
        scores = judge_trial(network, sources, targets)
    finally:
        torch.set_num_threads(threads)
    (trial,) = [t for t in trials_of(lab) if float(t["lambda_bias"]) == config.loss.lambda_bias]
    assert float(trial["generic_ap"]) == pytest.approx(scores.objective, abs=1e-6)
    assert float(trial["own_ap"]) == pytest.approx(scores.own_ap, abs=1e-6)
    assert scores.objective > 0


def parsed_command(lab: Lab) -> TrainConfig:
    arguments = shlex.split(lab.continued.strip().splitlines()[-1])
    assert arguments[:2] == ["hydrapicker", "train"]
    return parse_preset(TrainConfig, "train", arguments[2:], PRESETS)


def test_it_ends_with_the_command_that_trains_with_the_best(lab: Lab) -> None:
    best = max(trials_of(lab), key=lambda trial: float(trial["generic_ap"]))
    config = parsed_command(lab)
    assert config.loss.lambda_bias == float(best["lambda_bias"])
    assert config.datasets == ("a", "b")
    assert (config.stage1.epochs, config.stage2.epochs, config.network.width) == (2, 3, 4)
    assert config.run_name == "", "the search's own name is taken"
    assert re.search(rf"^ *{best['trial']} .* best *$", lab.continued, re.MULTILINE), "the table marks it"


def test_every_trial_is_one_finished_child_run_in_mlflow(lab: Lab) -> None:
    client, runs = mlflow_runs(lab)
    search = runs["search"]
    children = {
        name: run for name, run in runs.items() if run.data.tags.get("mlflow.parentRunId") == search.info.run_id
    }
    assert set(children) == {f"search.trial-{number:03d}" for number in range(1, TRIALS + 1)}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}, "the kill left none running"
    for row in trials_of(lab):
        child = children[f"search.trial-{int(row['trial']):03d}"]
        assert float(child.data.params["settings.lambda_bias"]) == float(row["lambda_bias"])
        assert child.data.metrics["generic_ap"] == pytest.approx(float(row["generic_ap"]))
        history = client.get_metric_history(child.info.run_id, "generic.c")
        assert {metric.step for metric in history} == {1, 2, 3}
    files = {file.path for file in client.list_artifacts(search.info.run_id, "search")}
    assert files == {"search/lambda_bias.png", "search/trials.csv", "search/command.txt"}
    alone = {name for name, run in runs.items() if "mlflow.parentRunId" not in run.data.tags}
    assert {name.partition("-")[0] for name in alone} == {"search", "stage1"}, "other searches share stage 1"


def mlflow_runs(lab: Lab) -> tuple[Any, dict[str, Any]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{lab.folder}/hydrapicker-data/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'hydrapicker'")
    runs = client.search_runs([experiment.experiment_id])
    assert len({run.info.run_name for run in runs}) == len(runs), "no run is there twice"
    return client, {run.info.run_name: run for run in runs}


def test_the_same_command_again_tells_the_same_and_tries_nothing(lab: Lab) -> None:
    assert not re.search(r"epoch \d", lab.repeated)
    assert lab.repeated.splitlines()[-8:] == lab.continued.splitlines()[-8:]


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        (["--trials", "4"], "another config or other datasets: give another --run-name"),
        (["--run-name", "other", "--cpus-per-trial", "1000"], "a trial of 1000 CPUs .* --cpus-per-trial"),
        (["--run-name", "other", "--loop.cpus-per-worker", "500"], "1 workers of 500 CPUs"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_starts(
    lab: Lab, options: list[str], refusal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TUNE, *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(refusal, line)
    assert not (lab.folder / "hydrapicker-data/runs/other").exists()


def test_an_mlflow_that_is_not_there_is_one_line(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert main([*TUNE, "--run-name", "other"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "MLflow at http://127.0.0.1:1 does not answer" in line
    assert not (lab.folder / "hydrapicker-data/runs/other").exists()
