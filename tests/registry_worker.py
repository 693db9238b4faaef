"""What processes do in tests of the registry at work; importing this imports all that they need."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.artifacts
import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  # what MLflow would import when it is first used
import torch
from registry_packages import head_package, trunk_package

from hydrapicker_registry import HeadRegistry

torch.set_num_threads(1)


def _here(cache: str) -> None:
    # The environment and the folder for temporary files are those of the server that started this process
    os.environ["HYDRAPICKER_CACHE"] = cache
    tempfile.tempdir = str(Path(cache).parent)


def loaded_sha256(uri: str, cache: str, name: str) -> str:
    """Load a head, and return the sha256 of its weights."""
    _here(cache)
    return HeadRegistry(uri).load(name).head.sha256


def contribute(uri: str, cache: str, run_id: str, name: str, number: int, ready: Callable[[], Any]) -> None:
    """Register one more version of a head, which `number` tells from the others, as champion, once `ready` returns."""
    _here(cache)
    registry = HeadRegistry(uri)
    package = head_package(trunk_package(), name, ap=number / 1000)
    registry.client.search_registered_models()
    ready()
    registry.register_head(package, run_id, "champion")
