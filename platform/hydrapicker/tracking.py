"""MLflow runs, found again by name, so that what is continued goes on in its own run."""

import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from hydrapicker_registry.connection import default_tracking_uri, ensure_experiment, open_client, talking_to
from hydrapicker_registry.history import user
from hydrapicker_registry.names import OWNER_TAG

EXPERIMENT = "hydrapicker"
_NAME_TAG = "hydrapicker.run_name"
_IDENTITY_TAG = "hydrapicker.identity"
PARENT_TAG = "mlflow.parentRunId"
"""MLflow's own tag, by which it nests runs."""
_TEXT_LIMIT = 500
# What MLflow takes in one call.
_METRICS_AT_ONCE = 1000
_TEXTS_AT_ONCE = 100
_DIGEST_LENGTH = 12

T = TypeVar("T")


class TrackedRun:
    """An MLflow run: ``run_id``, and ``started``, the time in UTC at which it was first started.

    Args:
        name: The run's name.
        identity: What the run's result depends on; a run of the same name and identity is continued.
        job: What kind of run it is, put on it as a tag.
        tracking_uri: Of MLflow; None for the default.
        parent: Id of the run that this one is shown under; None for none.

    Raises:
        RegistryError: When MLflow cannot be reached.
    """

    def __init__(
        self, name: str, identity: str, job: str, tracking_uri: str | None = None, parent: str | None = None
    ) -> None:
        self._uri = tracking_uri or default_tracking_uri()
        self._name, self._identity = name, identity
        self._experiment = ensure_experiment(self._uri, EXPERIMENT)
        self._client = open_client(self._uri)
        tags = {_NAME_TAG: name, _IDENTITY_TAG: identity}
        tags |= {PARENT_TAG: parent} if parent else {}
        with talking_to(self._uri):
            found = self._search(tags)
            if found:
                run = found[0]
                self._client.update_run(run.info.run_id, status="RUNNING")
            else:
                job_tag = {"hydrapicker.job": job}
                run = self._client.create_run(self._experiment, run_name=name, tags=tags | job_tag)
        self.run_id: str = run.info.run_id
        self.continued = bool(found)
        self.started = datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="seconds")

    def child(self, name: str) -> "TrackedRun":
        """A run below this one, begun or continued."""
        return TrackedRun(f"{self._name} {name}", self._identity, name, self._uri, parent=self.run_id)

    def log_config(self, config: Mapping[str, Any], text: str = "") -> None:
        """Log a config tree as flat parameters, and `text` (its YAML), where there is one, as ``config.yaml``."""
        from mlflow.entities import Param

        with talking_to(self._uri):
            # A parameter cannot change in MLflow, but a continued run may have other workers: its YAML says so.
            logged = self._client.get_run(self.run_id).data.params
            params = [Param(k, str(value)[:_TEXT_LIMIT]) for k, value in _flatten(config) if k not in logged]
            for some in _portions(params, _TEXTS_AT_ONCE):
                self._client.log_batch(self.run_id, params=some)
        if text:
            self.log_file("config.yaml", text.encode())

    def tag(self, tags: Mapping[str, str]) -> None:
        """Put tags on the run, in place of what they were."""
        from mlflow.entities import RunTag

        with talking_to(self._uri):
            for some in _portions([RunTag(key, value) for key, value in tags.items()], _TEXTS_AT_ONCE):
                self._client.log_batch(self.run_id, tags=some)

    def log_datasets(self, fingerprints: Mapping[str, str], urls: Mapping[str, str]) -> None:
        """Log what the run is trained on as MLflow's datasets; the digests are the beginnings of the fingerprints."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(
                    name,
                    fingerprint[:_DIGEST_LENGTH],
                    urls[name].partition("://")[0] if "://" in urls[name] else "local",
                    json.dumps({"uri": urls[name]}),
                    profile=json.dumps({"fingerprint": fingerprint}),
                ),
                [InputTag("mlflow.data.context", "training")],
            )
            for name, fingerprint in fingerprints.items()
        ]
        with talking_to(self._uri):
            for some in _portions(inputs, _METRICS_AT_ONCE):
                self._client.log_inputs(self.run_id, datasets=some)

    def log_metrics(self, metrics: Mapping[str, Any], step: int = 0) -> None:
        """Log nested numbers at a step, as many as MLflow takes in one call; what is no finite number is left out."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        entries = [Metric(key, float(value), now, step) for key, value in _flatten(metrics) if _is_number(value)]
        with talking_to(self._uri):
            for some in _portions(entries, _METRICS_AT_ONCE):
                self._client.log_batch(self.run_id, metrics=some)

    def logged_steps(self, metric: str) -> set[int]:
        """The steps at which a metric has been logged."""
        with talking_to(self._uri):
            return {entry.step for entry in self._client.get_metric_history(self.run_id, metric)}

    def log_file(self, name: str, content: bytes) -> None:
        """Store a file with the run; `name` may have folders."""
        path = Path(name)
        with tempfile.TemporaryDirectory() as folder, talking_to(self._uri):
            (Path(folder) / path.name).write_bytes(content)
            parent = str(path.parent) if path.parent != Path() else None
            self._client.log_artifact(self.run_id, str(Path(folder) / path.name), parent)

    def end(self, status: str = "FINISHED") -> None:
        """Close the run, and those below it that still run, as FINISHED, FAILED or KILLED."""
        with talking_to(self._uri):
            for child in self._search({PARENT_TAG: self.run_id}):
                if child.info.status == "RUNNING":
                    self._client.set_terminated(child.info.run_id, status)
            self._client.set_terminated(self.run_id, status)

    def _search(self, tags: Mapping[str, str]) -> list[Any]:
        condition = " AND ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        runs = self._client.search_runs([self._experiment], condition)
        # On a server with logins, others may have made the same run: theirs cannot be continued
        return [run for run in runs if run.data.tags.get(OWNER_TAG, user()) == user()]


def _portions(entries: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (entries[start : start + size] for start in range(0, len(entries), size))


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
