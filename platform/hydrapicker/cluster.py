"""Ray: started here when no cluster is named, joined when RAY_ADDRESS names one."""

import logging
import os
from typing import Any

from hydrapicker.errors import HydraPickerError, InvalidInputError

_WORKER_ENVIRONMENT = {
    # How soon a reported checkpoint is committed: at the default of 2 s, a kill right after an epoch loses it.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
}


class ClusterError(HydraPickerError, ConnectionError):
    """The Ray cluster cannot be reached."""


def connect() -> None:
    """Join the cluster of RAY_ADDRESS, or start one on this machine; does nothing where Ray is connected already.

    Raises:
        ClusterError: When RAY_ADDRESS names a cluster that does not answer.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.update({k: os.environ.get(k, v) for k, v in _WORKER_ENVIRONMENT.items()})
    import ray

    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS", "local")
    local: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(
            address=address,
            logging_level=logging.ERROR,
            log_to_driver=False,
            runtime_env={"env_vars": _WORKER_ENVIRONMENT},
            **local,
        )
    except (ConnectionError, TimeoutError, RuntimeError) as error:
        raise ClusterError(
            f"no Ray cluster answers at RAY_ADDRESS={address}: start it, or unset RAY_ADDRESS to run on this machine"
        ) from error


def require(workers: int, cpus_per_worker: int, *, gpu: bool) -> None:
    """Refuse to ask the connected cluster for more than it has."""
    import ray

    has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    if workers * cpus_per_worker > has.get("CPU", 0):
        raise InvalidInputError(
            f"{workers} workers of {cpus_per_worker} CPUs need {workers * cpus_per_worker} CPUs and Ray has "
            f"{has.get('CPU', 0):.0f}: give fewer --loop.workers or --loop.cpus-per-worker"
        )
    if gpu and workers > has.get("GPU", 0):
        raise InvalidInputError(
            f"{workers} workers with a GPU each were asked for and Ray has {has.get('GPU', 0):.0f} GPUs: "
            "give fewer --loop.workers, or train on CPUs without --loop.gpu"
        )
