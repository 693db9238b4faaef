"""How a study's models were made, and the commands that make them again."""

import shlex
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from hydrapicker.study.config import StudyConfig
from hydrapicker.study.plan import Generics
from hydrapicker.study.steps import Step
from hydrapicker_registry.connection import open_client, talking_to, without_login
from hydrapicker_registry.errors import RegistryError
from hydrapicker_registry.registry import LoadedHead

__all__ = ["made_from", "study_commands"]


def made_from(config: StudyConfig, generics: Generics) -> dict[str, Any]:
    """Of each network given to the study: versions, the MLflow run that trained it, and that run's config.

    Raises:
        RegistryError: When MLflow cannot be reached.
    """
    found = {"general": _made(config.general_uri, generics.general)}
    if config.single and generics.single:
        found["single"] = _made(config.single, generics.single)
    return found


def study_commands(config: StudyConfig, steps: Sequence[Step]) -> list[str]:
    """The study's steps as one would type them, in order."""
    return [_typed(config, step) for step in steps]


def _made(uri: str, loaded: LoadedHead) -> dict[str, Any]:
    version, client = loaded.version, open_client(uri)
    with talking_to(uri):
        run = client.get_run(version.run_id)
    return {
        "registry": without_login(uri),
        "run_name": run.info.run_name,
        "run_id": version.run_id,
        "trunk_version": version.trunk_version,
        "trunk_sha256": version.trunk_sha256,
        "generic_head_version": version.version,
        "config": _config_of(uri, version.run_id),
    }


def _config_of(uri: str, run_id: str) -> Any:
    """The run's config as a tree; None where a run has none, as that of an imported head."""
    client = open_client(uri)
    with tempfile.TemporaryDirectory() as folder, suppress(RegistryError), talking_to(uri):
        if any(file.path == "config.yaml" for file in client.list_artifacts(run_id)):
            return yaml.safe_load(Path(client.download_artifacts(run_id, "config.yaml", folder)).read_text())
    return None


def _typed(config: StudyConfig, step: Step) -> str:
    program = "topaz" if step.program == (config.topaz,) else "hydrapicker"
    variables = [f"{name}={shlex.quote(without_login(value))}" for name, value in step.environment.items()]
    return " ".join([*variables, program, *map(shlex.quote, step.arguments)])
