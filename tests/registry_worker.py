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

from hydrapicker.training.adoption import adopt_where_none_is
from hydrapicker_registry import ChampionChangedError, HeadRegistry
from hydrapicker_registry.claim import claimed

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


def become_champion(uri: str, cache: str, name: str, versions: list[int], ready: Callable[[], Any]) -> None:
    """Offer versions of a head in turn: each becomes champion unless the champion of that moment has a higher AP."""
    _here(cache)
    registry = HeadRegistry(uri)
    by_version = {head.version: head for head in registry.versions(name)}
    ready()
    for version in versions:
        while True:
            champion = next((head for head in registry.versions(name) if "champion" in head.aliases), None)
            if champion is not None and champion.ap > by_version[version].ap:  # type: ignore[operator]  # all have one
                break
            try:
                registry.succeed(name, version, None if champion is None else champion.version)
                break
            except ChampionChangedError:
                continue


def die_with_a_claim(uri: str, cache: str, name: str) -> None:
    """End as a killed process does, while no other may move the champion."""
    _here(cache)
    with claimed(HeadRegistry(uri).client, f"hydrapicker.head.{name}"):
        os._exit(9)


def adopt(uri: str, cache: str, ready: Callable[[], Any]) -> None:
    """Adopt what ships as a contribution does, once `ready` returns."""
    _here(cache)
    os.environ["MLFLOW_TRACKING_URI"] = uri
    HeadRegistry(uri).client.search_registered_models()
    ready()
    adopt_where_none_is(print)
