"""What a contribution finds in an empty registry: the shipped generic head, adopted by the contribution."""

from pathlib import Path

import pytest

from hydrapicker.errors import InvalidInputError
from hydrapicker.training.contribute import ContributeConfig, _dataset_and_trunk, _first_head
from hydrapicker_registry import HeadRegistry
from hydrapicker_registry.shipped import shipped_head


def test_a_contribution_adopts_what_ships_and_goes_on(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("HYDRAPICKER_CACHE", str(tmp_path / "cache"))
    said: list[str] = []
    config = ContributeConfig("a", store=store)
    dataset, generic = _dataset_and_trunk(config, said.append)
    assert said[0] == f"the registry had no generic head: adopted {shipped_head().version.called} as version 1"
    assert (generic.version.version, generic.version.aliases) == (1, ("champion",))
    assert _first_head(config, dataset, generic, said.append) is generic
    assert [(head.dataset, head.version) for head in HeadRegistry().list_heads()] == [("generic", 1)]
    with pytest.raises(InvalidInputError, match="boxes of 32 px"):
        _dataset_and_trunk(ContributeConfig("b", store=store), said.append)
    assert sum("adopted" in line for line in said) == 1
