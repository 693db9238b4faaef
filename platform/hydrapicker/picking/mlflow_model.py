"""A head as an MLflow model: ``mlflow.pyfunc.load_model("models:/hydrapicker.head.NAME@champion")``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.pyfunc.model import PythonModel

from hydrapicker.errors import InvalidInputError
from hydrapicker.picking.picker import Picker
from hydrapicker_registry.errors import PackageError
from hydrapicker_registry.mlflow_model import HEAD_FOLDER, OUTPUTS, PARAMETERS, TRUNK_FOLDER
from hydrapicker_registry.package import HeadPackage, TrunkPackage, read_package

_COLUMN = "micrograph"


class HeadModel(PythonModel):
    """Answers with a table of picks; made by MLflow from the folder of a head's version."""

    def load_context(self, context: Any) -> None:
        """Read head and trunk out of the model's own folder, and check both.

        Raises:
            PackageError: When a package is damaged or altered.
            TrunkMismatchError: When the trunk is not the one the head was trained on.
        """
        head = read_package(Path(context.artifacts[HEAD_FOLDER]))
        trunk = read_package(Path(context.artifacts[TRUNK_FOLDER]))
        if not isinstance(head, HeadPackage) or not isinstance(trunk, TrunkPackage):
            raise PackageError(f"{context.artifacts[HEAD_FOLDER]}: not a head with its trunk; get the model again")
        self._picker = Picker(head, trunk)

    # No type hints of the input: MLflow would take them for another signature than the model states
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Pick.

        Args:
            context: Of MLflow, not used.
            model_input: A table with the column ``micrograph``: paths of files, or images as 2D arrays or nested lists.
            params: ``pixel_size_angstrom``, ``diameter_angstrom``, ``threshold``: as in :meth:`Picker.pick`.

        Returns:
            A table with a row per pick, of each micrograph the most confident first: ``micrograph`` (the path, or the
            number of the row), ``x`` (column), ``y`` (row), both in the micrograph's pixels, and ``score``.

        Raises:
            InvalidInputError: When the input is no such table, or pixel size or diameter is missing.
        """
        given = {name: value for name, value in (params or {}).items() if value is not None}
        if unknown := sorted(set(given) - set(PARAMETERS)):
            raise InvalidInputError(f"unknown parameter {unknown[0]}: known are {', '.join(PARAMETERS)}")
        tables = [self._table(name, micrograph, given) for name, micrograph in _micrographs(model_input)]
        return pd.concat(tables, ignore_index=True) if tables else _as_table("", np.zeros((0, 2)), np.zeros(0))

    def _table(self, name: str, micrograph: object, given: dict[str, float]) -> pd.DataFrame:
        picks = self._picker.pick(micrograph, **given)  # type: ignore[arg-type]  # checked by pick itself
        return _as_table(name, picks.xy, picks.score)


def _as_table(name: str, xy: np.ndarray, score: np.ndarray) -> pd.DataFrame:
    values = ([name] * len(score), xy[:, 0].astype(np.float32), xy[:, 1].astype(np.float32), score.astype(np.float32))
    return pd.DataFrame(dict(zip((column for column, _ in OUTPUTS), values, strict=True)))


def _micrographs(table: object) -> Iterator[tuple[str, object]]:
    if not isinstance(table, pd.DataFrame) or _COLUMN not in table:
        raise InvalidInputError(f"expected a table with the column {_COLUMN!r}: paths of files, or images")
    for row, micrograph in enumerate(table[_COLUMN]):
        if isinstance(micrograph, str | Path):
            yield str(micrograph), str(micrograph)
            continue
        try:
            yield str(row), np.asarray(micrograph, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"row {row} holds no image: give a path, or a 2D array of numbers") from error
