"""One process at a time decides who is champion: MLflow moves an alias for whoever asks, never on a condition.

Whoever wants to move it writes a tag of their own on the registered model, and then looks whether others have. With
nobody else's there, they may. Of several, the one whose tag sorts first waits for the others to be gone, and the rest
take theirs back and try again. A tag is written before one looks, so of any two at least one sees the other.

A tag whose value stays the same for long was left by somebody who died, and is removed. No clocks are compared.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
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
        for attempt in count():
            since = time.monotonic()
            if since - began > _PATIENCE_SECONDS:
                raise RegistryError(f"{name}: others keep changing its champion; give the same command again later")
            client.set_registered_model_tag(name, key, secrets.token_hex(4))
            tags = client.get_registered_model(name).tags
            claims = {tag: value for tag, value in tags.items() if tag.startswith(_PREFIX)}
            if set(claims) == {key}:
                break
            _remove_the_dead(client, name, key, claims, watched)
            if key > min(claims):
                _let_go(client, name, key)
            time.sleep(random.uniform(0.01, min(1.0, 0.05 * 2 ** min(attempt, 5))))
        yield Claim(name, since)
    finally:
        _let_go(client, name, key)


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
