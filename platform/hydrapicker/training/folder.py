"""A run's folder, on a disk or in S3: whose run it is, and where Ray Train keeps its checkpoints."""

import json
from typing import Any

from hydrapicker.errors import InvalidInputError
from hydrapicker.storage.location import Location, from_any_folder
from hydrapicker.storage.retry import RetryBudget
from hydrapicker.training.recipe import Recipe

_RECORD = "run.json"


class RunFolder:
    """Where a run's checkpoints lie.

    A checkpoint says nothing of config and data: a record beside the checkpoints does, from before the first worker
    starts.

    Args:
        runs: Folder or ``s3://`` URL of all runs; this one lies in ``<runs>/<run_name>``.
        recipe: Of the run.
    """

    def __init__(self, runs: str, recipe: Recipe) -> None:
        retry = RetryBudget(recipe.streaming.retry_seconds)
        self._runs = Location(from_any_folder(runs), retry, given_by="--runs")
        self._recipe = recipe
        self._record = f"{recipe.run_name}/{_RECORD}"

    @property
    def url(self) -> str:
        """The folder, as a user would type it."""
        return self._runs.url(self._recipe.run_name)

    def check(self) -> None:
        """Refuse a folder that holds another run.

        Raises:
            InvalidInputError: When it does, or when it cannot be told.
            StoreError: When there is no access.
        """
        identity = self._identity()
        if identity not in (None, self._recipe.identity):
            raise InvalidInputError(
                f"the run in {self.url} has another config or other datasets: give another --run-name, or the same "
                "options"
            )

    def claim(self) -> None:
        """Make the folder and write down whose it is."""
        entry = {"identity": self._recipe.identity, "fingerprints": dict(self._recipe.fingerprints)}
        self._runs.write(self._record, json.dumps(entry, indent=1, sort_keys=True).encode())

    def storage(self) -> dict[str, Any]:
        """The folder of all runs as ``ray.train.RunConfig`` takes it."""
        from hydrapicker.storage.arrow import arrow_filesystem

        filesystem, path = arrow_filesystem(self._runs)
        return {"storage_filesystem": filesystem, "storage_path": path}

    def _identity(self) -> str | None:
        found = self._runs.read_tagged(self._record)
        if found is None:
            return None
        try:
            return str(json.loads(found[0])["identity"])
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(
                f"{self._runs.url(self._record)} cannot be read: give another --run-name, or remove its folder"
            ) from error
