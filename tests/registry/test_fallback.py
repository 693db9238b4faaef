"""When ``generic`` is the shipped head, and when it is an error: no registry, one without a generic head, one away."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hydrapicker_registry import HeadNotFoundError, HeadPackage, HeadRegistry, RegistryError, TrunkPackage
from hydrapicker_registry.asking import load_beside
from hydrapicker_registry.shipped.fallback import load_or_shipped
from hydrapicker_registry.versions import SHIPPED

OTHERS = ({"name": "generic@3"}, {"name": "generic@challenger"}, {"name": "generic", "version": 1})


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, with nothing configured."""
    folder = tmp_path / "nowhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("HYDRAPICKER_CACHE", str(folder / "cache"))
    return folder


@pytest.fixture
def without_generic(
    registry: HeadRegistry, run_id: str, trunk: TrunkPackage, make_head: Callable[..., HeadPackage]
) -> HeadRegistry:
    """A registry with a head, and with no generic one."""
    registry.register_trunk(trunk, run_id)
    registry.register_head(make_head(trunk), run_id, "champion")
    return registry


def test_without_a_registry_it_is_the_shipped_one_and_nothing_is_left(nowhere: Path) -> None:
    registry = HeadRegistry()
    for loaded in (
        load_or_shipped(registry, "generic"),
        load_or_shipped(registry, "generic@champion", offline=True),
        load_beside("generic"),
    ):
        assert loaded.version.version == SHIPPED
    for offline in (False, True):
        for asked in OTHERS:
            with pytest.raises(HeadNotFoundError, match="'generic' alone is the generic head shipped"):
                load_or_shipped(registry, **asked, offline=offline)  # type: ignore[arg-type]
    with pytest.raises(HeadNotFoundError, match=r"holds no heads yet: .*contribute`$"):
        load_or_shipped(registry, "PDB-6b7n")
    assert "client" not in vars(registry)
    assert list(nowhere.iterdir()) == []


def test_a_registry_that_answers_and_has_none(without_generic: HeadRegistry) -> None:
    with pytest.raises(HeadNotFoundError, match="not in this machine's cache"):
        load_or_shipped(without_generic, "generic", offline=True)  # it was never asked, and may have one
    assert load_or_shipped(without_generic, "generic").version.version == SHIPPED
    away = HeadRegistry(without_generic.tracking_uri)
    assert load_or_shipped(away, "generic", offline=True).version.version == SHIPPED
    assert "client" not in vars(away)
    for asked in OTHERS:
        with pytest.raises(HeadNotFoundError, match=r"no head named 'generic'.*'generic' alone is the generic head"):
            load_or_shipped(without_generic, **asked)  # type: ignore[arg-type]
    assert load_or_shipped(without_generic, "PDB-6b7n").version.version == 1
    with pytest.raises(HeadNotFoundError, match="no head named 'generic'"):
        without_generic.load("generic")


def test_a_helper_asks_such_a_registry_too(without_generic: HeadRegistry) -> None:
    code = (
        "import sys; from hydrapicker_registry.asking import load_beside; "
        "print(load_beside('generic').version.version, 'mlflow' in sys.modules)"
    )
    environment = os.environ | {"MLFLOW_TRACKING_URI": without_generic.tracking_uri}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == f"{SHIPPED} False\n", done.stderr


def test_a_registry_that_is_away_is_an_error(nowhere: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        away = HeadRegistry(f"http://127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(RegistryError, match="does not answer"):
        load_or_shipped(away, "generic")
    with pytest.raises(HeadNotFoundError, match="not in this machine's cache"):
        load_or_shipped(away, "generic", offline=True)
    assert list(nowhere.iterdir()) == []


def test_the_registrys_own_wins_and_one_without_a_champion_is_not_passed_over(
    without_generic: HeadRegistry, run_id: str, trunk: TrunkPackage, make_head: Callable[..., HeadPackage]
) -> None:
    """The last test here: the registry has a generic head from now on."""
    registry = without_generic
    load_or_shipped(registry, "generic")
    registry.register_head(make_head(trunk, "generic"), run_id)
    with pytest.raises(HeadNotFoundError, match="has no champion yet"):
        load_or_shipped(registry, "generic")
    registry.promote("generic", 1)
    for offline in (False, True):
        assert load_or_shipped(registry, "generic", offline=offline).version.version == 1
