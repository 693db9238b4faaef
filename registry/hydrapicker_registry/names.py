"""Names of datasets and heads, and what they are called in MLflow."""

import difflib
import re
from collections.abc import Iterable

from hydrapicker_core.errors import InvalidInputError

GENERIC = "generic"
"""The generic head's dataset name."""

TRUNK_MODEL_NAME = "hydrapicker.trunk"
HEAD_MODEL_PREFIX = "hydrapicker.head."

OWNER_TAG = "hydrapicker.owner"
"""The tag of a run that says whose it is. Only our own server writes it: see `hydrapicker_registry.server`."""

_DATASET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def validate_dataset_name(name: str) -> str:
    """Return `name` when a dataset may be called so.

    Raises
    ------
    InvalidInputError
        Unless it is 1 to 64 letters, digits, dots, dashes and underscores that start with a letter or digit
        and hold no `..`.
    """
    if not _DATASET_NAME.fullmatch(name) or ".." in name:
        raise InvalidInputError(
            f"dataset name {name!r} is not allowed: use 1 to 64 letters, digits, '.', '_' and '-', "
            "starting with a letter or digit, without '..' (for example 'PDB-6b7n')"
        )
    return name


def head_model_name(dataset: str) -> str:
    """Return the name of the MLflow registered model that holds the heads of `dataset`."""
    return HEAD_MODEL_PREFIX + validate_dataset_name(dataset)


def is_head_model_name(name: str) -> bool:
    """Whether a registered model of this name in MLflow holds the heads of a dataset."""
    dataset = name.removeprefix(HEAD_MODEL_PREFIX)
    return name.startswith(HEAD_MODEL_PREFIX) and _DATASET_NAME.fullmatch(dataset) is not None and ".." not in dataset


def parse_head_reference(reference: str) -> tuple[str, str | int | None]:
    """Split `PDB-6b7n@challenger` into dataset name and alias, `PDB-6b7n@3` into dataset name and version.

    The second is None when there is no `@`.

    Raises
    ------
    InvalidInputError
        When either part is not a name.
    """
    dataset, at, choice = reference.partition("@")
    validate_dataset_name(dataset)
    if not at:
        return dataset, None
    if _VERSION.fullmatch(choice):
        return dataset, int(choice)
    if not _ALIAS.fullmatch(choice):
        raise InvalidInputError(
            f"head {reference!r} names no alias after '@': write for example '{dataset}@champion' or '{dataset}@1'"
        )
    return dataset, choice


def nearest(name: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return up to three of `names` that look like `name`, whatever the case, the nearest first."""
    by_folded = {candidate.casefold(): candidate for candidate in sorted(names)}
    return tuple(by_folded[match] for match in difflib.get_close_matches(name.casefold(), by_folded))
