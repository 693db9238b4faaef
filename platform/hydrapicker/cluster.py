"""Ray: started here when no cluster is named, joined when RAY_ADDRESS names one."""

import json
import logging
import os
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydrapicker.cores import available_cores
from hydrapicker.errors import HydraPickerError, InvalidInputError

_ENVIRONMENT = {
    # How soon a reported checkpoint is committed: at the default of 2 s, a kill right after an epoch loses it.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_KNOCK_SECONDS = 5
_PACKAGES = ("hydrapicker", "hydrapicker_core", "hydrapicker_registry")


class ClusterError(HydraPickerError, ConnectionError):
    """The Ray cluster cannot be reached."""


def connect() -> None:
    """Join the cluster of RAY_ADDRESS, or start one on this machine; does nothing where Ray is connected already.

    Raises:
        ClusterError: When RAY_ADDRESS names a cluster that does not answer.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS") or "local"
    # A container may have fewer cores than the machine, which Ray and we must count alike.
    here = {"include_dashboard": False, "num_cpus": available_cores()}
    options: dict[str, Any] = here if address == "local" else {"runtime_env": own_packages()}
    try:
        _knock(address)
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **options)
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if address == "local":
            raise ClusterError(f"Ray cannot start on this machine ({reason}): free memory or disk") from error
        raise ClusterError(
            f"no Ray cluster answers at RAY_ADDRESS={address} ({reason}): start it, set RAY_AUTH_MODE=token if it "
            "wants a token, or unset RAY_ADDRESS to run here"
        ) from error


def own_packages() -> dict[str, Any]:
    """A Ray runtime environment in which every node runs the three packages as they are here, installed there or not.

    Empty in a Ray job that ships packages of its own.
    """
    submitted = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    if "py_modules" in (submitted.get("runtime_env") or {}):
        return {}  # Ray refuses to be told twice, and they are on their way already
    return {"py_modules": [str(Path(file).parent) for file in map(_file_of, _PACKAGES)]}


def _file_of(package: str) -> str:
    spec = find_spec(package)
    assert spec is not None, package
    assert spec.origin is not None, package
    return spec.origin


def _knock(address: str) -> None:
    # Ray itself goes on trying for minutes where nobody listens.
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()


def require_here(workers: int, cpus_per_worker: int) -> None:
    """Refuse to ask this machine for more than it has, before Ray is started on it; a cluster must be asked itself."""
    if os.environ.get("RAY_ADDRESS", "local") in ("", "local"):
        _check_cpus(workers, cpus_per_worker, available_cores(), "this machine")


def require(workers: int, cpus_per_worker: int, *, gpu: bool) -> None:
    """Refuse to ask the connected cluster for more than it has."""
    import ray

    has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    _check_cpus(workers, cpus_per_worker, has.get("CPU", 0), "Ray")
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    largest = max((node["Resources"].get("CPU", 0) for node in nodes if node["Alive"]), default=0)
    if cpus_per_worker > largest:
        raise InvalidInputError(
            f"a worker of {cpus_per_worker} CPUs fits on no node, the largest has {largest:.0f}: give fewer "
            "--loop.cpus-per-worker"
        )
    if gpu and workers > has.get("GPU", 0):
        raise InvalidInputError(
            f"{workers} workers with a GPU each were asked for and Ray has {has.get('GPU', 0):.0f} GPUs: "
            "give fewer --loop.workers, or train on CPUs without --loop.gpu"
        )


def _check_cpus(workers: int, cpus_per_worker: int, there: float, who: str) -> None:
    if workers * cpus_per_worker > there:
        raise InvalidInputError(
            f"{workers} workers of {cpus_per_worker} CPUs need {workers * cpus_per_worker} CPUs and {who} has "
            f"{there:.0f}: give fewer --loop.workers or --loop.cpus-per-worker"
        )
