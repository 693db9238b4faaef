"""The registry on a real MLflow database: register, list, resolve, load, promote, and every refusal."""

import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlparse

import pytest
import torch
from mlflow import MlflowClient

from hydrapicker_core.errors import InvalidInputError
from hydrapicker_registry import (
    HeadNotFoundError,
    HeadPackage,
    HeadRegistry,
    PackageError,
    RegistryError,
    TrunkMismatchError,
    TrunkPackage,
    write_package,
)

MakeTrunk = Callable[..., TrunkPackage]
MakeHead = Callable[..., HeadPackage]


@pytest.fixture
def client(registry: HeadRegistry) -> MlflowClient:
    return MlflowClient(registry.tracking_uri)


def files_of(client: MlflowClient, name: str, version: int) -> Path:
    """Where the package of a head's version really lies, for tampering."""
    return Path(urlparse(client.get_model_version(name, str(version)).source).path) / "head"


def trunk_sha256(client: MlflowClient) -> str:
    """Of the first trunk's package, which registering a head puts into the cache."""
    return str(client.get_model_version("hydrapicker.trunk", "1").tags["package_sha256"])


def test_a_head_goes_in_and_comes_out(
    registry: HeadRegistry, run_id: str, trunk: TrunkPackage, head: HeadPackage
) -> None:
    trunk_version = registry.register_trunk(trunk, run_id)
    version = registry.register_head(head, run_id, alias="champion")
    loaded = registry.load("PDB-6b7n")
    assert loaded.version.version == version
    assert loaded.version.trunk_version == trunk_version
    assert loaded.head.metadata == head.metadata
    assert loaded.trunk.metadata == trunk.metadata
    for package, original in [(loaded.head, head), (loaded.trunk, trunk)]:
        assert all(torch.equal(package.weights[key], original.weights[key]) for key in original.weights)
    assert list(Path.cwd().iterdir()) == [Path.cwd() / "cache"], "no stray files such as ./mlruns"


def test_a_trunk_is_stored_once(
    registry: HeadRegistry, run_id: str, make_trunk: MakeTrunk, client: MlflowClient
) -> None:
    first = registry.register_trunk(make_trunk(seed=0), run_id)
    other = registry.register_trunk(make_trunk(seed=7), run_id)
    assert first != other
    later = make_trunk(seed=0)
    later = replace(later, metadata=replace(later.metadata, created="2027-01-01T00:00:00Z"))
    assert registry.register_trunk(later, run_id) == first
    assert len(client.search_model_versions("name = 'hydrapicker.trunk'")) == 2


def test_the_same_package_keeps_its_version_and_another_gets_the_next(
    registry: HeadRegistry, run_id: str, trunk: TrunkPackage, make_head: MakeHead
) -> None:
    registry.register_trunk(trunk, run_id)
    assert registry.register_head(make_head(trunk, "same"), run_id) == 1
    assert registry.register_head(make_head(trunk, "same"), run_id) == 1
    assert registry.register_head(make_head(trunk, "same", ap=0.5), run_id) == 2
    # the run's earlier files are untouched
    assert registry.load("same", version=1).head.metadata.metrics["ap"] == 0.875
    assert registry.load("same", version=2).head.metadata.metrics["ap"] == 0.5


def test_listing_tells_what_a_user_wants_to_see(
    registry: HeadRegistry, run_id: str, trunk: TrunkPackage, make_head: MakeHead
) -> None:
    trunk_version = registry.register_trunk(trunk, run_id)
    registry.register_head(make_head(trunk, "listed", ap=0.1), run_id, alias="champion")
    registry.register_head(make_head(trunk, "listed", ap=0.2), run_id, alias="challenger")
    registry.register_head(make_head(trunk, "generic"), run_id)
    heads = registry.list_heads()
    newest, oldest = [head for head in heads if head.dataset == "listed"]
    assert (newest.version, oldest.version) == (2, 1)
    assert (newest.aliases, oldest.aliases) == (("challenger",), ("champion",))
    assert (newest.ap, oldest.ap, newest.auroc) == (0.2, 0.1, 0.96)
    assert newest.trunk_version == trunk_version
    assert newest.dataset_fingerprint == "b" * 64
    assert newest.run_id == run_id
    assert newest.contributor == "A. Contributor, B. <b>Bold</b> | Pipe"
    assert abs(datetime.now(UTC) - newest.registered) < timedelta(minutes=1)
    (generic,) = [head for head in heads if head.dataset == "generic"]
    assert (generic.dataset_fingerprint, generic.aliases) == (None, ())
    assert [head.dataset for head in heads] == sorted(head.dataset for head in heads)
    assert oldest == registry.resolve("listed")


def test_names_tags_and_descriptions_in_mlflow(
    registry: HeadRegistry, run_id: str, trunk: TrunkPackage, make_head: MakeHead, client: MlflowClient
) -> None:
    trunk_version = registry.register_trunk(trunk, run_id)
    head = make_head(trunk, "tagged")
    registry.register_head(head, run_id, alias="challenger")
    version = client.get_model_version_by_alias("hydrapicker.head.tagged", "challenger")
    trunk_tags = client.get_model_version("hydrapicker.trunk", str(trunk_version)).tags
    package = files_of(client, "hydrapicker.head.tagged", 1)
    assert version.tags == {
        "dataset": "tagged",
        "dataset_fingerprint": "b" * 64,
        "trunk_version": str(trunk_version),
        "trunk_sha256": trunk.sha256,
        "trunk_package_sha256": trunk_tags["package_sha256"],
        "ap": "0.875",
        "auroc": "0.96",
        "lambda_bias": "0.1",
        "contributor": "A. Contributor, B. <b>Bold</b> | Pipe",
        "package_sha256": registry.resolve("tagged", 1).package_sha256,
    }
    assert version.run_id == run_id
    figures, _, rest = version.description.partition("\n\n")
    assert figures == "AP 0.875, AUROC 0.960."
    assert f"# Head tagged\n\n{rest}\n\n![overlay](overlay.png)\n" == (package / "README.md").read_text()
    assert "tagged" in client.get_registered_model("hydrapicker.head.tagged").description
    assert "share" in client.get_registered_model("hydrapicker.trunk").description


def test_aliases_move(registry: HeadRegistry, run_id: str, trunk: TrunkPackage, make_head: MakeHead) -> None:
    registry.register_trunk(trunk, run_id)
    registry.register_head(make_head(trunk, "moving", ap=0.1), run_id, alias="champion")
    registry.register_head(make_head(trunk, "moving", ap=0.2), run_id, alias="challenger")
    assert registry.resolve("moving").version == 1
    assert registry.resolve("moving@challenger").version == 2
    assert registry.resolve("moving", alias="challenger").version == 2
    assert registry.resolve("moving", version=2).aliases == ("challenger",)
    assert registry.promote("moving", 2).aliases == ("champion",)
    assert registry.load("moving").head.metadata.metrics["ap"] == 0.2
    assert registry.resolve("moving", version=1).aliases == ()
    assert registry.load("moving", version=1).head.metadata.metrics["ap"] == 0.1
    with pytest.raises(InvalidInputError, match="'champion' or 'challenger'"):
        registry.promote("moving", 1, alias="latest")  # type: ignore[arg-type]


def test_what_is_not_there_is_answered_with_what_is(
    registry: HeadRegistry, run_id: str, trunk: TrunkPackage, make_head: MakeHead
) -> None:
    registry.register_trunk(trunk, run_id)
    registry.register_head(make_head(trunk, "EMPIAR-10146"), run_id, alias="challenger")
    with pytest.raises(HeadNotFoundError, match="did you mean EMPIAR-10146"):
        registry.load("empiar10146")
    with pytest.raises(HeadNotFoundError, match="no champion yet: ask for EMPIAR-10146@challenger or version 1"):
        registry.load("EMPIAR-10146")
    with pytest.raises(HeadNotFoundError, match="no version 3: there is 1"):
        registry.load("EMPIAR-10146", version=3)
    with pytest.raises(HeadNotFoundError, match="no production yet"):
        registry.load("EMPIAR-10146@production")
    with pytest.raises(InvalidInputError, match="a version or an alias"):
        registry.load("EMPIAR-10146@challenger", version=1)
    for bad in ("../etc", "a/b", "", "x' OR 'a' = 'a"):
        with pytest.raises(InvalidInputError, match="not allowed"):
            registry.load(bad)


def test_a_second_load_downloads_nothing(
    registry: HeadRegistry, run_id: str, trunk: TrunkPackage, make_head: MakeHead, client: MlflowClient
) -> None:
    registry.register_trunk(trunk, run_id)
    registry.register_head(make_head(trunk, "cached"), run_id, alias="champion")
    registry.load("cached")
    package = files_of(client, "hydrapicker.head.cached", 1)
    away = package.rename(package.with_name("away"))
    assert registry.load("cached").head.metadata.dataset == "cached"
    assert sorted(path.name for path in (Path.cwd() / "cache").iterdir()) == ["packages", "resolved"]
    assert len(list((Path.cwd() / "cache" / "packages").iterdir())) == 2
    away.rename(package)
    # and a cached copy that the disk has damaged is fetched again
    cached = Path.cwd() / "cache" / "packages" / registry.resolve("cached").package_sha256
    (cached / "head.safetensors").write_bytes(b"damaged")
    assert torch.isfinite(registry.load("cached").head.weights["0.weight"]).all()
    assert (cached / "head.safetensors").stat().st_size > 100


def test_files_that_are_gone_are_named(
    registry: HeadRegistry, run_id: str, trunk: TrunkPackage, make_head: MakeHead, client: MlflowClient
) -> None:
    registry.register_trunk(trunk, run_id)
    registry.register_head(make_head(trunk, "gone"), run_id, alias="champion")
    package = files_of(client, "hydrapicker.head.gone", 1)
    package.rename(package.with_name("away"))
    with pytest.raises(RegistryError) as caught:
        registry.load("gone")
    assert "\n" not in str(caught.value)
    assert [path.name for path in (Path.cwd() / "cache" / "packages").iterdir()] == [trunk_sha256(client)]


@pytest.mark.parametrize("name", ["head.json", "head.safetensors", "README.md", "overlay.png"])
def test_a_stored_file_that_was_changed_is_refused(
    registry: HeadRegistry, run_id: str, trunk: TrunkPackage, make_head: MakeHead, client: MlflowClient, name: str
) -> None:
    dataset = "changed-" + name
    registry.register_trunk(trunk, run_id)
    registry.register_head(make_head(trunk, dataset), run_id, alias="champion")
    file = files_of(client, f"hydrapicker.head.{dataset}", 1) / name
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(PackageError, match=rf"hydrapicker.head.{dataset} version 1: {name}.*sha256 differs"):
        registry.load(dataset)
    assert [path.name for path in (Path.cwd() / "cache" / "packages").iterdir()] == [trunk_sha256(client)]


def test_a_whole_forged_package_is_refused(
    registry: HeadRegistry, run_id: str, trunk: TrunkPackage, make_head: MakeHead, client: MlflowClient, tmp_path: Path
) -> None:
    registry.register_trunk(trunk, run_id)
    registry.register_head(make_head(trunk, "forged"), run_id, alias="champion")
    write_package(tmp_path / "forgery", make_head(trunk, "forged", seed=9))
    for file in (tmp_path / "forgery").iterdir():
        file.replace(files_of(client, "hydrapicker.head.forged", 1) / file.name)
    with pytest.raises(PackageError, match="changed since it was registered"):
        registry.load("forged")


def test_a_head_without_its_trunk_is_not_taken(
    registry: HeadRegistry, run_id: str, make_trunk: MakeTrunk, make_head: MakeHead
) -> None:
    with pytest.raises(TrunkMismatchError, match="register that trunk first"):
        registry.register_head(make_head(make_trunk(seed=99), "orphan"), run_id)
    assert "orphan" not in [head.dataset for head in registry.list_heads()]


def test_a_swapped_trunk_is_refused(
    registry: HeadRegistry, run_id: str, trunk: TrunkPackage, make_trunk: MakeTrunk, make_head: MakeHead,
    client: MlflowClient, tmp_path: Path,
) -> None:  # fmt: skip
    """A careful forger swaps the trunk's files and the tag that vouches for them."""
    registry.register_trunk(trunk, run_id)
    registry.register_head(make_head(trunk, "swapped"), run_id, alias="champion")
    digest = write_package(tmp_path / "other", make_trunk(seed=50))
    own = files_of(client, "hydrapicker.head.swapped", 1).parent / "trunk"
    for file in (tmp_path / "other").iterdir():
        file.replace(own / file.name)
    client.set_model_version_tag("hydrapicker.head.swapped", "1", "trunk_package_sha256", digest)
    with pytest.raises(TrunkMismatchError, match="head 'swapped' version 1 was trained on a trunk with sha256"):
        registry.load("swapped")


def test_versions_that_others_made_are_not_listed_and_not_loaded(
    registry: HeadRegistry, run_id: str, trunk: TrunkPackage, head: HeadPackage, client: MlflowClient
) -> None:
    registry.register_trunk(trunk, run_id)
    registry.register_head(head, run_id, alias="champion")
    tags = client.get_model_version("hydrapicker.head.PDB-6b7n", "1").tags
    client.create_registered_model("hydrapicker.head.foreign")
    client.create_model_version("hydrapicker.head.foreign", "/etc", run_id, tags={"dataset": "foreign"})
    client.create_model_version("hydrapicker.head.foreign", "/etc", run_id, tags=tags | {"dataset": "foreign"})
    client.create_model_version("hydrapicker.head.foreign", "/etc", run_id, tags=tags)
    assert [head.version for head in registry.list_heads() if head.dataset == "foreign"] == [2]
    with pytest.raises(PackageError, match="not registered by HydraPicker"):
        registry.load("foreign", version=1)
    with pytest.raises(PackageError, match="not a logged model of its run"):
        registry.load("foreign", version=2)
    with pytest.raises(PackageError, match="tagged as 'PDB-6b7n'"):
        registry.load("foreign", version=3)


def test_a_cached_head_does_not_pass_under_another_name(
    registry: HeadRegistry, run_id: str, trunk: TrunkPackage, head: HeadPackage, client: MlflowClient
) -> None:
    registry.register_trunk(trunk, run_id)
    registry.register_head(head, run_id, alias="champion")
    registry.load("PDB-6b7n")
    tags = client.get_model_version("hydrapicker.head.PDB-6b7n", "1").tags
    client.create_registered_model("hydrapicker.head.alias-of-another")
    client.create_model_version(
        "hydrapicker.head.alias-of-another", "/etc", run_id, tags=tags | {"dataset": "alias-of-another"}
    )
    with pytest.raises(PackageError, match="not a head of that dataset"):
        registry.load("alias-of-another", version=1)


def test_a_registered_model_without_versions_is_no_head(registry: HeadRegistry, client: MlflowClient) -> None:
    client.create_registered_model("hydrapicker.head.empty")
    assert "empty" not in [head.dataset for head in registry.list_heads()]
    with pytest.raises(HeadNotFoundError, match="no head named 'empty'"):
        registry.resolve("empty")


def test_many_at_once_get_consecutive_versions(
    registry: HeadRegistry, run_id: str, trunk: TrunkPackage, make_head: MakeHead
) -> None:
    registry.register_trunk(trunk, run_id)

    def contribute(number: int) -> int:
        own = HeadRegistry(registry.tracking_uri)
        return own.register_head(make_head(trunk, "crowd", ap=number / 100), run_id, alias="champion")

    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(contribute, range(8)))
    assert sorted(versions) == list(range(1, 9))
    for number, version in enumerate(versions):
        assert registry.load("crowd", version=version).head.metadata.metrics["ap"] == number / 100
    assert registry.resolve("crowd").version in versions


def test_an_unknown_run_is_refused_and_leaves_no_version(
    registry: HeadRegistry, run_id: str, trunk: TrunkPackage, make_head: MakeHead
) -> None:
    registry.register_trunk(trunk, run_id)
    with pytest.raises(RegistryError, match="not found"):
        registry.register_head(make_head(trunk, "runless"), "0" * 32)
    assert "runless" not in [head.dataset for head in registry.list_heads()]


def test_it_is_quiet_and_changes_no_logging(
    registry: HeadRegistry,
    run_id: str,
    trunk: TrunkPackage,
    make_head: MakeHead,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    own_level = logging.INFO + 3
    monkeypatch.setattr(logging.getLogger("mlflow.store"), "level", own_level)
    registry.register_trunk(trunk, run_id)
    registry.register_head(make_head(trunk, "quiet"), run_id, alias="champion")
    registry.load("quiet")
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("mlflow.store").level == own_level


def test_stored_json_is_the_documented_format(
    registry: HeadRegistry, run_id: str, trunk: TrunkPackage, make_head: MakeHead, client: MlflowClient
) -> None:
    registry.register_trunk(trunk, run_id)
    registry.register_head(make_head(trunk, "format"), run_id)
    package = files_of(client, "hydrapicker.head.format", 1)
    assert {file.name for file in package.iterdir()} == {
        "head.json", "head.safetensors", "README.md", "overlay.png",
    }  # fmt: skip
    assert list(json.loads((package / "head.json").read_text())) == [
        "format_version", "kind", "architecture", "training", "metrics", "authors", "licence", "citation", "created",
        "dataset", "dataset_version", "dataset_fingerprint", "trunk", "input", "threshold", "weights_sha256",
        "attachments",
    ]  # fmt: skip
