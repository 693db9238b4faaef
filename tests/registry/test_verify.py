"""Verification of a whole registry: what is intact, and each kind of damage under its own words."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlparse

import pytest
from mlflow import MlflowClient

from hydrapicker_registry import HeadNotFoundError, HeadPackage, HeadRegistry, TrunkPackage
from hydrapicker_registry.verify import verify


@pytest.fixture
def files(registry: HeadRegistry, run_id: str, trunk_and_head: tuple[TrunkPackage, HeadPackage]) -> Path:
    """The files of the one head, unspoiled."""
    trunk, head = trunk_and_head
    registry.register_trunk(trunk, run_id)
    registry.register_head(head, run_id, "champion")
    version = MlflowClient(registry.tracking_uri).get_model_version("hydrapicker.head.PDB-6b7n", "1")
    return Path(urlparse(version.source).path)


def problems(registry: HeadRegistry, name: str | None = None) -> list[tuple[str, int, str | None]]:
    return [(finding.name, finding.version, finding.problem) for finding in verify(registry, name)]


def test_an_intact_registry(registry: HeadRegistry, files: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    findings = verify(registry, None, lambda *progress: seen.append(progress))
    assert [(finding.name, finding.problem) for finding in findings] == [
        ("hydrapicker.head.PDB-6b7n", None),
        ("hydrapicker.trunk", None),
    ]
    assert seen[-1] == (2, 2, "done")
    assert problems(registry, "PDB-6b7n") == [("hydrapicker.head.PDB-6b7n", 1, None)]
    with pytest.raises(HeadNotFoundError, match="did you mean PDB-6b7n"):
        verify(registry, "PDB-6b7m")


def test_a_registry_that_is_not_there_is_intact(tmp_path: Path) -> None:
    assert verify(HeadRegistry(f"sqlite:///{tmp_path}/mlflow.db")) == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("head/head.safetensors", "head.safetensors: damaged or altered"),
        ("head/head.json", "head.json: changed since it was registered"),
        ("head/README.md", "README.md: damaged or altered"),
        ("trunk/trunk.safetensors", "trunk.safetensors: damaged or altered"),
        ("head_model.py", "head_model.py: altered; do not load it with mlflow.pyfunc"),
        ("MLmodel", "do not load it with mlflow.pyfunc"),
    ],
)
def test_a_changed_byte_anywhere_is_found(registry: HeadRegistry, files: Path, name: str, words: str) -> None:
    good = (files / name).read_bytes()
    changed = good.replace(b"head_model.py", b"evil_model.py") if name == "MLmodel" else good[:-1] + b"?"
    (files / name).write_bytes(changed)
    try:
        ((_, _, problem),) = problems(registry, "PDB-6b7n")
    finally:
        (files / name).write_bytes(good)
    assert problem is not None
    assert words in problem
    assert "/tmp" not in problem


def test_a_tag_that_belies_the_package_is_found(registry: HeadRegistry, files: Path) -> None:
    client = MlflowClient(registry.tracking_uri)
    client.set_model_version_tag("hydrapicker.head.PDB-6b7n", "1", "ap", "0.999")
    ((_, _, problem),) = problems(registry, "PDB-6b7n")
    client.set_model_version_tag("hydrapicker.head.PDB-6b7n", "1", "ap", "0.875")
    assert problem == "its tag ap says '0.999', and its package '0.875'"


def test_a_file_that_is_gone_is_found(
    registry: HeadRegistry, run_id: str, files: Path, make_head: Callable[..., HeadPackage], trunk: TrunkPackage
) -> None:
    registry.register_head(make_head(trunk, "gone"), run_id)
    client = MlflowClient(registry.tracking_uri)
    own = Path(urlparse(client.get_model_version("hydrapicker.head.gone", "1").source).path)
    (own / "head" / "head.safetensors").unlink()
    found = problems(registry)
    assert [problem for _, _, problem in found if problem is None] == [None, None]
    assert "head.safetensors: not there" in next(str(p) for name, _, p in found if name == "hydrapicker.head.gone")
