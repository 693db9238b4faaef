"""The folder that MLflow keeps of a head's version: head and trunk as packages, and what makes them an MLflow model.

The trunk lies in every head's folder (a twelfth of its size at the paper's width), so that `mlflow.pyfunc.load_model`
and `mlflow models serve` need nothing but that folder, also where no registry can be reached.
`MLmodel` and the code are for MLflow's own tools: :class:`HeadRegistry` never fetches, reads or runs them.
"""

import json
import shutil
import sys
from importlib import metadata
from pathlib import Path

import yaml

from hydrapicker_registry.errors import PackageError

HEAD_FOLDER = "head"
TRUNK_FOLDER = "trunk"
CODE_NAME = "head_model.py"
MLMODEL_NAME = "MLmodel"

CODE = '''"""Run by `mlflow.pyfunc.load_model`: this folder's head as a model that answers with a table of picks."""

import mlflow

from hydrapicker.picking.mlflow_model import HeadModel

mlflow.models.set_model(HeadModel())
'''

INPUTS = [{"type": "any", "name": "micrograph", "required": True}]
PARAMETERS = ("pixel_size_angstrom", "diameter_angstrom", "threshold")
OUTPUTS = (("micrograph", "string"), ("x", "float"), ("y", "float"), ("score", "float"))


def write_model_folder(folder: Path, head: Path | None, trunk: Path) -> None:
    """Fill an empty folder with what MLflow keeps of a head, or of a trunk alone.

    Parameters
    ----------
    folder
        Where to.
    head, trunk
        Folders of packages, copied as they are; no head makes a folder that is no MLflow model.
    """
    shutil.copytree(trunk, folder / TRUNK_FOLDER)
    if head is not None:
        shutil.copytree(head, folder / HEAD_FOLDER)
        (folder / CODE_NAME).write_text(CODE)
        (folder / MLMODEL_NAME).write_text(yaml.safe_dump(_mlmodel(), sort_keys=True))


def executable_parts() -> tuple[str, ...]:
    """Return what of a model folder MLflow runs or is led by."""
    return CODE_NAME, MLMODEL_NAME


def check_executable(folder: Path) -> None:
    """Raise PackageError unless MLflow's own tools would run, from this folder, our code and nothing else."""
    if (folder / CODE_NAME).read_text(errors="replace") != CODE:
        raise PackageError(f"{CODE_NAME}: altered; do not load it with mlflow.pyfunc")
    try:
        said = yaml.safe_load((folder / MLMODEL_NAME).read_text(errors="replace"))
        flavors = {name: dict(flavor) for name, flavor in said["flavors"].items()}
        python = str(flavors["python_function"]["python_version"])
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, ValueError) as error:
        raise PackageError(f"{MLMODEL_NAME}: not readable; do not load it with mlflow.pyfunc") from error
    if flavors != _flavors(python):
        raise PackageError(f"{MLMODEL_NAME}: altered; do not load it with mlflow.pyfunc")


def _flavors(python: str) -> dict[str, object]:
    flavor = {
        "loader_module": "mlflow.pyfunc.loaders.code_model",
        "model_code_path": CODE_NAME,
        "python_version": python,
        "artifacts": {name: {"path": name, "uri": name} for name in (HEAD_FOLDER, TRUNK_FOLDER)},
    }
    return {"python_function": flavor}


def _mlmodel() -> dict[str, object]:
    # Written by hand, for mlflow.pyfunc.save_model runs the code, and puts paths of this machine into the file
    return {
        "flavors": _flavors(".".join(map(str, sys.version_info[:3]))),
        "mlflow_version": metadata.version("mlflow"),
        "signature": {
            "inputs": json.dumps(INPUTS),
            "outputs": json.dumps([{"type": kind, "name": name, "required": True} for name, kind in OUTPUTS]),
            "params": json.dumps(
                [{"name": name, "default": None, "shape": None, "type": "double"} for name in PARAMETERS]
            ),
        },
    }
