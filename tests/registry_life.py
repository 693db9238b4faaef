"""The life of a head, step by step, in whatever registry and with whatever logins the environment says."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import network_packages
import numpy as np
import pytest
import torch
from lab import process

from hydrapicker import load_head
from hydrapicker.cli import main
from hydrapicker.picking.picker import Picks
from hydrapicker.tracking import EXPERIMENT
from hydrapicker_core.network import MultiHeadNetwork, NetworkConfig
from hydrapicker_registry import HeadPackage, HeadRegistry, TrunkPackage, ensure_experiment

NETWORK = NetworkConfig(width=4)
AUTHORS = ("M. Aintainer",)
PEOPLE: Mapping[str, str] = {"mara": "maintainer", "nina": "contributor", "otto": "contributor", "rita": "reader"}


@dataclass(frozen=True)
class Place:
    """A registry and who may log in.

    Attributes:
        uri: Of MLflow.
        lab: A folder to work in, with a dataset ``c.new``.
        passwords: By name; none where there is no login.
    """

    uri: str
    lab: Path
    passwords: Mapping[str, str] = field(default_factory=dict)

    @property
    def guarded(self) -> bool:
        """Whether there are logins, and rules for them."""
        return bool(self.passwords)

    @contextmanager
    def as_user(self, name: str) -> Iterator[HeadRegistry]:
        """Work under a login, with a cache of its own and without any keys to where the files are."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.lab)
            for variable in ("HYDRAPICKER_STORE", "RAY_ADDRESS", *(v for v in os.environ if v.startswith("AWS_"))):
                patch.delenv(variable, raising=False)
            patch.setenv("MLFLOW_TRACKING_URI", self.uri)
            patch.setenv("HYDRAPICKER_CACHE", str(self.lab / f"cache-{self.guarded}-{name}"))
            if self.guarded:
                patch.setenv("MLFLOW_TRACKING_USERNAME", name)
                patch.setenv("MLFLOW_TRACKING_PASSWORD", self.passwords[name])
            yield HeadRegistry()


def new_run(registry: HeadRegistry) -> str:
    return str(registry.client.create_run(ensure_experiment(registry.tracking_uri, EXPERIMENT)).info.run_id)


def trunk_and_heads() -> tuple[TrunkPackage, dict[str, HeadPackage]]:
    """A trunk with the heads generic, a and b, all of arbitrary weights."""
    with torch.random.fork_rng():
        torch.manual_seed(11)
        network = MultiHeadNetwork(NETWORK, ["a", "b"])
    trunk = network_packages.trunk_package(NETWORK, network.trunk.state_dict(), authors=AUTHORS)
    return trunk, {name: head_package(trunk, name, network.head(name).state_dict()) for name in ("generic", "a", "b")}


def head_package(trunk: TrunkPackage, name: str, weights: Mapping[str, torch.Tensor], **changed: object) -> HeadPackage:
    diameter = None if name == "generic" else 180.0
    return network_packages.head_package(trunk, name, dict(weights), diameter, 0.0, authors=AUTHORS, **changed)


def begin(place: Place) -> None:
    """A maintainer registers a trunk and three heads."""
    trunk, heads = trunk_and_heads()
    with place.as_user("mara") as registry:
        run_id = new_run(registry)
        assert registry.register_trunk(trunk, run_id) == 1
        for head in heads.values():
            assert registry.register_head(head, run_id, "champion") == 1
        listed = registry.list_heads()
        assert [(head.dataset, head.aliases) for head in listed] == [(n, ("champion",)) for n in ("a", "b", "generic")]


def contribute(place: Place) -> str:
    """A contributor trains and registers a fourth head, in a process of its own; gives what it said."""
    command = (
        "-m hydrapicker contribute c.new --stage.epochs 12 --stage.learning-rate 3e-3 --augmentation.crop-px 64 "
        "--loop.batch-size 3 --loop.validate-every 6 --run-name fourth --contributor Nina --runs"
    )
    with (
        place.as_user("nina"),
        process([*command.split(), place.lab / f"runs-{place.guarded}"], place.lab) as started,
    ):
        assert started.stdout is not None
        said = started.stdout.read()
        assert started.wait() == 0, said
        if place.guarded:
            assert place.passwords["nina"] not in said
        return said


def refused(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """The one line by which a command is refused."""
    capsys.readouterr()
    assert main(list(command)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def heads(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """What a command of ``hydrapicker heads`` prints."""
    capsys.readouterr()
    assert main(["heads", *command]) == 0
    return capsys.readouterr().out


def picks(name: str, version: int | None = None) -> Picks:
    """What a head picks on an image of noise."""
    image = np.random.default_rng(1).normal(size=(96, 128)).astype(np.float32)
    return load_head(name, version=version).pick(image, pixel_size_angstrom=8.0, diameter_angstrom=180.0, threshold=0.0)


def same(first: Picks, second: Picks) -> bool:
    return all(np.array_equal(getattr(first, key), getattr(second, key)) for key in ("xy", "score"))


def shown(capsys: pytest.CaptureFixture[str], name: str) -> list[dict[str, object]]:
    """The versions of a head, as ``heads show`` has them."""
    return list(json.loads(heads(capsys, "show", name, "--json"))["versions"])
