"""One MLflow run per training: found again by the run's name, so that a continued training goes on in its own run."""

import math
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydrapicker_registry.connection import default_tracking_uri, ensure_experiment, open_client, talking_to

EXPERIMENT = "hydrapicker"
_NAME_TAG = "hydrapicker.run_name"
_IDENTITY_TAG = "hydrapicker.identity"
_PARAM_LIMIT = 500
PARENT_TAG = "mlflow.parentRunId"
"""MLflow's own tag, by which it nests runs."""


class TrackedRun:
    """An MLflow run: ``run_id``, and ``started``, the time in UTC at which it was first started.

    Args:
        name: The run's name.
        identity: What the run's result depends on; a run of the same name and identity is continued.
        job: What kind of run it is, put on it as a tag.
        parent: Id of the run that this one is shown under; None for none.
        tracking_uri: Of MLflow; None for the default.

    Raises:
        RegistryError: When MLflow cannot be reached.
    """

    def __init__(
        self, name: str, identity: str, job: str, tracking_uri: str | None = None, parent: str | None = None
    ) -> None:
        self._uri = tracking_uri or default_tracking_uri()
        experiment = ensure_experiment(self._uri, EXPERIMENT)
        self._client = open_client(self._uri)
        with talking_to(self._uri):
            same = f"tags.`{_NAME_TAG}` = '{name}' AND tags.`{_IDENTITY_TAG}` = '{identity}'"
            found = self._client.search_runs([experiment], same, max_results=1)
            if found:
                run = found[0]
                self._client.update_run(run.info.run_id, status="RUNNING")
            else:
                tags = {_NAME_TAG: name, _IDENTITY_TAG: identity, "hydrapicker.job": job}
                tags |= {PARENT_TAG: parent} if parent else {}
                run = self._client.create_run(experiment, run_name=name, tags=tags)
        self.run_id: str = run.info.run_id
        self.started = datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="seconds")

    def log_config(self, config: Mapping[str, Any], text: str) -> None:
        """Log a config tree as flat parameters, and `text` (its YAML) as ``config.yaml``."""
        from mlflow.entities import Param

        with talking_to(self._uri):
            # A parameter cannot change in MLflow, but a continued run may have other workers: its YAML says so.
            logged = self._client.get_run(self.run_id).data.params
            params = [Param(k, str(value)[:_PARAM_LIMIT]) for k, value in _flatten(config) if k not in logged]
            self._client.log_batch(self.run_id, params=params)
        self.log_file("config.yaml", text.encode())

    def log_metrics(self, metrics: Mapping[str, Any], step: int = 0) -> None:
        """Log nested numbers at a step; what is None or NaN is left out."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        entries = [Metric(key, float(value), now, step) for key, value in _flatten(metrics) if _is_number(value)]
        with talking_to(self._uri):
            self._client.log_batch(self.run_id, metrics=entries)

    def log_file(self, name: str, content: bytes) -> None:
        """Store a file with the run; `name` may have folders."""
        path = Path(name)
        with tempfile.TemporaryDirectory() as folder, talking_to(self._uri):
            (Path(folder) / path.name).write_bytes(content)
            parent = str(path.parent) if path.parent != Path() else None
            self._client.log_artifact(self.run_id, str(Path(folder) / path.name), parent)

    def end(self, status: str = "FINISHED") -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        with talking_to(self._uri):
            self._client.set_terminated(self.run_id, status)


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            leaves += _flatten(value, f"{prefix}{key}.")
        else:
            leaves.append((f"{prefix}{key}", value))
    return leaves


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
