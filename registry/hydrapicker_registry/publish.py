"""Put packages into MLflow so that nobody ever sees half of one: files first, the version next, the alias last.

A version's files are those of an MLflow "logged model", which also carries its metrics and what it was trained on.
Whoever is killed on the way leaves at most a logged model that no version names.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hydrapicker_registry.errors import PackageError
from hydrapicker_registry.lookup import model_versions
from hydrapicker_registry.metadata import HeadMetadata, TrunkMetadata
from hydrapicker_registry.names import GENERIC
from hydrapicker_registry.package import CARD_NAME, HeadPackage, StoredPackage, TrunkPackage
from hydrapicker_registry.versions import model_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run
    from mlflow.entities.model_registry import ModelVersion

T = TypeVar("T")

_ATTEMPTS = 8
_DESCRIPTION_LIMIT = 5000
_DIGEST_LIMIT = 36
MODEL_KINDS = ("hydrapicker head", "hydrapicker trunk")
"""What logged models of ours are, in MLflow's words their type."""

_MODEL_ID = re.compile(r"/models/(m-[0-9a-f]{32})/artifacts$")
_TITLE_AND_PICTURES = re.compile(r"\A# .*\n|^!\[.*\n?", re.MULTILINE)


def publish(
    client: MlflowClient, stored: StoredPackage, run_id: str, tags: Mapping[str, str], fill: Callable[[Path], None]
) -> int:
    """Store a package under a run and return its version.

    Parameters
    ----------
    client
        Where to.
    stored
        What; if this very package (by the sha256 of its JSON) is there already, that version is returned.
    run_id
        The run that made it.
    tags
        Of the version.
    fill
        Puts the files that MLflow shall keep into an empty folder.
    """
    name = model_name(stored.package)
    condition = f"name = '{name}' AND tags.package_sha256 = '{stored.sha256}'"
    existing = [int(version.version) for version in model_versions(client, condition)]
    if existing:
        return min(existing)
    model_id, source = _log_model(client, stored, client.get_run(run_id), tags, fill)
    ensure_registered_model(client, stored.package)
    description = _version_description((stored.folder / CARD_NAME).read_text(), stored.package.metadata)
    version = _retry_conflicts(
        lambda: client.create_model_version(
            name, source, run_id, tags=dict(tags), description=description, await_creation_for=0, model_id=model_id
        )
    )
    # What MLflow's pages read to link the logged model to its version
    link = json.dumps([{"name": name, "version": str(version.version)}])
    client.set_logged_model_tags(model_id, {"mlflow.modelVersions": link})
    return int(version.version)


def fetch_files(client: MlflowClient, version: ModelVersion, part: str, folder: Path) -> None:
    """Download a folder `part` of a version's files to where `folder` says.

    Raises
    ------
    PackageError
        When the version's source is not where MLflow keeps a logged model of the version's run.
    """
    from mlflow.artifacts import download_artifacts

    model_id = model_id_of(version)
    model = None if model_id is None else client.get_logged_model(model_id)
    if model is None or model.artifact_location != version.source or model.source_run_id != version.run_id:
        raise PackageError("its source is not a logged model of its run; do not use it")
    download_artifacts(f"{version.source}/{part}", dst_path=str(folder), tracking_uri=client.tracking_uri)


def model_id_of(version: ModelVersion) -> str | None:
    """Return the id of the logged model whose files a version has, None when its source is no such thing."""
    match = _MODEL_ID.search(version.source or "")
    return match[1] if match else None


def point_alias(client: MlflowClient, name: str, alias: str, version: int) -> None:
    """Point an alias of a registered model at one of its versions."""
    _retry_conflicts(lambda: client.set_registered_model_alias(name, alias, str(version)))


def _log_model(
    client: MlflowClient, stored: StoredPackage, run: Run, tags: Mapping[str, str], fill: Callable[[Path], None]
) -> tuple[str, str]:
    """Log the files, the metrics and the datasets; returns the logged model's id and where its files are."""
    from mlflow.entities import LoggedModelOutput, Metric

    metadata = stored.package.metadata
    run_id = run.info.run_id
    kind, title = (
        (MODEL_KINDS[0], metadata.dataset) if isinstance(metadata, HeadMetadata) else (MODEL_KINDS[1], "trunk")
    )
    params = {key: str(value)[:500] for key, value in metadata.architecture.items()} | {
        "box_px": str(metadata.input.box_px)
    }
    model = client.create_logged_model(
        run.info.experiment_id, title.replace(".", "_"), run_id, dict(tags), params, kind
    )
    with tempfile.TemporaryDirectory(prefix="hydrapicker-") as scratch:
        fill(Path(scratch))
        client.log_model_artifacts(model.model_id, scratch)
    inputs = _datasets(metadata)
    only = inputs[0].dataset if len(inputs) == 1 else None
    now = time.time_ns() // 1_000_000
    on = {"dataset_name": only.name, "dataset_digest": only.digest} if only else {}
    metrics = [Metric(key, value, now, 0, model_id=model.model_id, **on) for key, value in metadata.metrics.items()]
    if inputs:
        _retry_conflicts(lambda: client.log_inputs(run_id, inputs))
    if metrics:
        client.log_batch(run_id, metrics=metrics)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    client.finalize_logged_model(model.model_id, "READY")
    return model.model_id, str(model.artifact_location).rstrip("/")


def _datasets(metadata: HeadMetadata | TrunkMetadata) -> list[DatasetInput]:
    """Return what the weights were trained on as MLflow datasets."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    known: dict[str, tuple[int | None, str]] = {}
    if isinstance(metadata, TrunkMetadata):
        known = {name: (None, fingerprint) for name, fingerprint in metadata.datasets.items()}
    elif metadata.dataset_fingerprint is not None and not metadata.training.private:
        known = {metadata.dataset: (metadata.dataset_version, metadata.dataset_fingerprint)}
    inputs = []
    for name, (version, fingerprint) in known.items():
        source = {"dataset": name, "fingerprint": fingerprint} | ({"version": version} if version else {})
        dataset = Dataset(name, fingerprint[:_DIGEST_LIMIT], "hydrapicker", json.dumps(source))
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", "training")]))
    return inputs


def ensure_registered_model(client: MlflowClient, package: TrunkPackage | HeadPackage) -> None:
    """Make the registered model that a package is a version of, where it is not there yet."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model_name(package), description=_description(package))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _description(package: TrunkPackage | HeadPackage) -> str:
    if isinstance(package, TrunkPackage):
        return "The feature extractor that HydraPicker's heads share. Each head names the version it needs."
    dataset = package.metadata.dataset
    picks = "particles that no dataset was labelled for" if dataset == GENERIC else f"the particles of `{dataset}`"
    return f'Picks {picks}. In Python: `hydrapicker.load_head("{dataset}")`; the champion is the default.'


def _version_description(card: str, metadata: HeadMetadata | TrunkMetadata) -> str:
    """Return the card as MLflow's pages show it: the figures first, as lists show the first line only."""
    rest = _TITLE_AND_PICTURES.sub("", card)  # the page has a title, and pictures are among the model's files
    return f"{_figures(metadata)}\n\n{rest.strip()}".strip()[:_DESCRIPTION_LIMIT]


def _figures(metadata: HeadMetadata | TrunkMetadata) -> str:
    if isinstance(metadata, TrunkMetadata):
        return f"Trained on {', '.join(metadata.datasets)}." if metadata.datasets else ""
    metrics = metadata.metrics
    figures = ", ".join(f"{name.upper()} {metrics[name]:.3f}" for name in ("ap", "auroc") if name in metrics)
    counted = f" on {metrics['micrographs']:.0f} test micrographs" if figures and "micrographs" in metrics else ""
    return f"{figures}{counted}" and f"{figures}{counted}."


def _retry_conflicts(call: Callable[[], T]) -> T:
    """Call again when several processes insert the same row at once, which MLflow does not always settle by itself."""
    from mlflow.exceptions import MlflowException

    for attempt in range(_ATTEMPTS):
        try:
            return call()
        except MlflowException as error:
            conflict = "IntegrityError" in str(error) or "Model Version creation error" in str(error)
            if not conflict or attempt == _ATTEMPTS - 1:
                raise
        time.sleep(0.05 * 2**attempt)
    raise AssertionError("unreachable")
