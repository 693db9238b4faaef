"""One process at a time decides who is champion: MLflow moves an alias for whoever asks, never on a condition.

Whoever wants to move it waits until nobody's tag is on the registered model, writes one of their own, and looks again.
With nobody else's there, they may. Of several, the one whose tag sorts first leaves it until the others are gone, and
the rest take theirs back and wait. A tag is written before one looks, so of any two at least one sees the other.

A tag whose value stays the same for long was left by somebody who died, and is removed. No clocks are compared.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hydrapicker_registry.errors import RegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PREFIX = "claim "
_DEAD_SECONDS = 20.0
_PATIENCE_SECONDS = 300.0


class Claim:
    """A claim that is held."""

    def __init__(self, name: str, since: float) -> None:
        self._name, self._since = name, since

    def require(self) -> None:
        """Raise :class:`RegistryError` when so much time has gone by that others may think this process dead."""
        if time.monotonic() - self._since > _DEAD_SECONDS / 2:
            raise RegistryError(f"{self._name}: MLflow took too long to answer; give the same command again")


@contextmanager
def claimed(client: MlflowClient, name: str) -> Iterator[Claim]:
    """Keep other processes from moving the champion of a registered model within the block.

    Raises
    ------
    RegistryError
        When others do not let go of it.
    """
    key = _PREFIX + secrets.token_hex(8)
    watched: dict[str, tuple[str, float]] = {}
    began = time.monotonic()
    try:
        while True:
            since = time.monotonic()
            if since - began > _PATIENCE_SECONDS:
                raise RegistryError(f"{name}: others keep changing its champion; give the same command again later")
            claims = _claims(client, name)
            if key in claims or not claims:  # a tag that stays is written anew, or others would think it dead
                client.set_registered_model_tag(name, key, secrets.token_hex(4))
                claims = _claims(client, name)
                if set(claims) == {key}:
                    break
                if key > min(claims):
                    _let_go(client, name, key)
            _remove_the_dead(client, name, key, claims, watched)
            time.sleep(random.uniform(0.05, 0.3))
        yield Claim(name, since)
    finally:
        _let_go(client, name, key)


def _claims(client: MlflowClient, name: str) -> dict[str, str]:
    tags = client.get_registered_model(name).tags
    return {key: value for key, value in tags.items() if key.startswith(_PREFIX)}


def _remove_the_dead(
    client: MlflowClient, name: str, own: str, claims: dict[str, str], watched: dict[str, tuple[str, float]]
) -> None:
    """Remove claims that were seen unchanged for long; `watched` holds each claim's value and since when."""
    now = time.monotonic()
    for key, value in claims.items():
        last, since = watched.get(key, ("", now))
        watched[key] = (value, since if value == last else now)
        if key != own and now - watched[key][1] > _DEAD_SECONDS:
            _let_go(client, name, key)


def _let_go(client: MlflowClient, name: str, key: str) -> None:
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException):  # it is gone already, or MLflow is: then others find it dead
        client.delete_registered_model_tag(name, key)
