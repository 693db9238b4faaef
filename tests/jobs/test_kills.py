"""Trainings that are killed in every way there is, in real processes, end where the undisturbed one ends."""

import secrets
import signal
import subprocess
from pathlib import Path

import pytest
from lab import TRAIN, assert_same_weights, kill_all, process, ray_cluster

pytestmark = pytest.mark.timeout(900)


HYDRAPICKER = ["-m", "hydrapicker"]
EPOCHS = ["stage 1 1/2", "stage 1 2/2", "stage 2 1/2", "stage 2 2/2"]


@pytest.fixture(autouse=True)
def no_ray_of_our_own(trained: Path) -> None:
    """What trained in this process has done so: the cores are for the processes that tests start."""
    import ray

    ray.shutdown()


def epochs_in(output: str) -> list[str]:
    return [line.partition("  ")[0] for line in output.splitlines() if line.startswith("stage ")]


def read_until(driver: "subprocess.Popen[str]", start: str) -> str:
    """The output up to a line; all of it where there is none."""
    assert driver.stdout is not None
    seen = ""
    for line in driver.stdout:
        seen += line
        if line.startswith(start):
            return seen
    raise AssertionError(seen)


def run_to_the_end(lab: Path, *options: str, command: list[str] = HYDRAPICKER, **environment: str) -> str:
    with process([*command, *TRAIN, *options], lab, **environment) as driver:
        out = driver.communicate()[0]
        assert driver.returncode == 0, out
    return out


def test_workers_killed_in_mid_epoch_and_while_writing_a_checkpoint(trained: Path, tmp_path: Path) -> None:
    script = str(Path(__file__).with_name("dying_workers.py"))
    out = run_to_the_end(trained, "--run-name", "dying", command=[script], DYING_WORKERS=str(tmp_path))
    assert sorted(mark.name for mark in tmp_path.iterdir()) == [
        "in the second of two steps of the second epoch", "while writing the fourth checkpoint",
    ]  # fmt: skip
    assert epochs_in(out) == EPOCHS, "nothing is announced twice, as nothing committed is trained again"
    assert len(list((trained / "hydrapicker-data/runs/dying").glob("checkpoint_2*"))) == 2, "no half of one is left"
    assert_same_weights(trained, "first", "dying")


def test_an_epoch_that_was_announced_outlives_driver_and_workers(trained: Path) -> None:
    # So seldom does Ray's controller look for what has been reported: what was not committed by then is lost for sure.
    seldom = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "5"}
    with process([*HYDRAPICKER, *TRAIN, "--run-name", "killed"], trained, **seldom) as driver:
        announced = epochs_in(read_until(driver, "stage 1 1/2"))
        kill_all(driver)  # and with it the cluster that it has started, which would go on for a while
    assert not set(announced) & set(epochs_in(run_to_the_end(trained, "--run-name", "killed")))
    assert_same_weights(trained, "first", "killed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "ray job stop"])
def test_a_stopped_training_says_how_to_go_on_and_mlflow_knows(trained: Path, number: signal.Signals) -> None:
    from mlflow import MlflowClient

    command = [*HYDRAPICKER, *TRAIN, "--run-name", f"stopped-{number}", "--stage1.epochs", "500", "--loop.workers", "1"]
    with process(command, trained) as driver:
        read_until(driver, "stage 1 1/500")
        driver.send_signal(number)
        assert driver.communicate()[0].endswith("interrupted; run the same command to continue\n")
        assert driver.returncode == 130
    assert list((trained / f"hydrapicker-data/runs/stopped-{number}").glob("checkpoint_*"))
    client = MlflowClient(f"sqlite:///{trained}/hydrapicker-data/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'hydrapicker'")
    runs = client.search_runs([experiment.experiment_id], f"attributes.run_name LIKE 'stopped-{number}%'")
    assert {run.info.run_name: run.info.status for run in runs} == {
        f"stopped-{number}": "KILLED",
        f"stopped-{number} stage 1": "KILLED",
    }


def test_a_killed_cluster_is_replaced_by_another(trained: Path) -> None:
    access = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    command = [*HYDRAPICKER, *TRAIN, "--run-name", "clusters"]
    with (
        ray_cluster(trained, **access) as (address, cluster),
        process(command, trained, RAY_ADDRESS=address, **access) as driver,
    ):
        read_until(driver, "stage 1 1/2")
        kill_all(cluster)
    with ray_cluster(trained, **access) as (address, _):
        out = run_to_the_end(trained, "--run-name", "clusters", RAY_ADDRESS=address, **access)
    assert "stage 1 1/2" not in epochs_in(out)
    assert_same_weights(trained, "first", "clusters")
