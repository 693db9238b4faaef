"""Loading without a network: what is asked of MLflow at all, and what this machine remembers."""

import json
import shutil
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from registry_worker import loaded_sha256

from hydrapicker_registry import HeadNotFoundError, HeadPackage, HeadRegistry, RegistryError, TrunkPackage
from hydrapicker_registry.resolutions import recall


@pytest.fixture
def loaded(
    registry: HeadRegistry, run_id: str, trunk: TrunkPackage, make_head: Callable[..., HeadPackage]
) -> HeadRegistry:
    """A registry whose head "away" was loaded once on this machine."""
    registry.register_trunk(trunk, run_id)
    registry.register_head(make_head(trunk, "away", ap=0.1), run_id, "champion")
    registry.load("away")
    return registry


@pytest.fixture
def unreachable(loaded: HeadRegistry) -> HeadRegistry:
    """A registry whose server has gone, of which this machine remembers what `loaded` has loaded."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = HeadRegistry(f"http://127.0.0.1:{free.getsockname()[1]}")
    from hydrapicker_registry.resolutions import remember

    remember(gone.tracking_uri, "champion", loaded.resolve("away"))
    return gone


def test_offline_nothing_is_asked_of_mlflow(unreachable: HeadRegistry) -> None:
    assert unreachable.load("away", offline=True).version.version == 1
    assert unreachable.load("away@champion", offline=True).head.metadata.metrics["ap"] == 0.1
    assert unreachable.load("away", version=1, offline=True).trunk.metadata.datasets == {"PDB-4hhb": "a" * 64}
    assert "client" not in vars(unreachable)


def test_a_version_by_number_is_found_while_the_server_is_away_and_an_alias_is_not(unreachable: HeadRegistry) -> None:
    assert unreachable.load("away", version=1).version.version == 1
    with pytest.raises(RegistryError, match="does not answer"):
        unreachable.load("away")
    with pytest.raises(RegistryError, match="does not answer"):
        unreachable.load("away", version=2)


def test_what_was_never_loaded_here_is_said(loaded: HeadRegistry) -> None:
    for name, which in (("other", "champion"), ("away@challenger", "challenger"), ("away@7", "version 7")):
        with pytest.raises(HeadNotFoundError, match=rf"\({which}\).*not in this machine's cache"):
            loaded.load(name, offline=True)


def test_a_package_that_left_the_cache_is_not_fetched_offline(loaded: HeadRegistry) -> None:
    shutil.rmtree(Path.cwd() / "cache" / "packages")
    with pytest.raises(HeadNotFoundError, match="not in this machine's cache"):
        loaded.load("away", offline=True)
    assert loaded.load("away").version.version == 1
    assert loaded.load("away", offline=True).version.version == 1


def test_offline_is_what_was_loaded_last(
    loaded: HeadRegistry, run_id: str, trunk: TrunkPackage, make_head: Callable[..., HeadPackage]
) -> None:
    registered = loaded.register_head(make_head(trunk, "away", ap=0.9), run_id, "champion")
    assert loaded.load("away", offline=True).head.metadata.metrics["ap"] == 0.1
    assert loaded.load("away").version.version == registered
    assert loaded.load("away", offline=True).head.metadata.metrics["ap"] == 0.9


def test_registries_are_not_mixed_up_and_their_addresses_are_not_written_down(loaded: HeadRegistry) -> None:
    assert recall(loaded.tracking_uri, "away", "champion") is not None
    assert recall("http://user:secret@example.org", "away", "champion") is None
    files = [path for path in (Path.cwd() / "cache" / "resolved").rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == ["away@1.json", "away@champion.json"]
    assert not any("sqlite" in path.read_text() + str(path.relative_to(Path.cwd())) for path in files)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"dataset": "away"}', "{"])
def test_a_spoiled_memory_is_no_memory(loaded: HeadRegistry, text: str) -> None:
    (path,) = (Path.cwd() / "cache" / "resolved").rglob("away@champion.json")
    path.write_text(text)
    with pytest.raises(HeadNotFoundError, match="not in this machine's cache"):
        loaded.load("away", offline=True)
    assert loaded.load("away").version.version == 1
    assert json.loads(path.read_text())["dataset"] == "away"


def test_a_cache_in_a_memory_that_cannot_be_written_does_not_stop_anybody(loaded: HeadRegistry) -> None:
    shutil.rmtree(Path.cwd() / "cache" / "resolved")
    (Path.cwd() / "cache" / "resolved").write_text("a file where a folder belongs")
    assert loaded.load("away").version.version == 1


def test_threads_fill_an_empty_cache_at_once(loaded: HeadRegistry) -> None:
    shutil.rmtree(Path.cwd() / "cache")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: HeadRegistry(loaded.tracking_uri).load("away").head.sha256, range(16)))
    assert len(set(found)) == 1
    packages = list((Path.cwd() / "cache" / "packages").iterdir())
    assert len(packages) == 2, "no scratch folders are left"


def test_processes_fill_an_empty_cache_at_once(loaded: HeadRegistry, processes: ForkServerContext) -> None:
    shutil.rmtree(Path.cwd() / "cache")
    with processes.Pool(6) as pool:
        calls = [(loaded.tracking_uri, str(Path.cwd() / "cache"), "away")] * 12
        found = pool.starmap(loaded_sha256, calls, chunksize=1)
    assert len(set(found)) == 1
    assert len(list((Path.cwd() / "cache" / "packages").iterdir())) == 2
