"""Small JSON files that hold one dataclass and the version of their format, read exactly."""

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar

from hydrapicker.errors import InvalidInputError
from hydrapicker.storage.atomic import atomic_write
from hydrapicker_registry.errors import PackageError
from hydrapicker_registry.strict import build

__all__ = ["read_strict_json", "write_strict_json"]

T = TypeVar("T")
_VERSION = "format_version"
_KNOWN_VERSION = 1


def read_strict_json(path: Path, cls: type[T], remedy: str) -> T:
    """Read a dataclass: every key, no other key, the declared types.

    Raises
    ------
    InvalidInputError
        Not such a file, in one line that ends with the remedy.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}: not valid JSON ({error}); {remedy}") from error
    if not isinstance(data, dict):
        raise InvalidInputError(f"{path}: holds no JSON object; {remedy}")
    version = data.pop(_VERSION, None)
    if type(version) is not int or version != _KNOWN_VERSION:
        found = "has no format_version" if version is None else f"has format_version {str(version)[:20]!r}"
        raise InvalidInputError(f"{path}: {found}, and {_KNOWN_VERSION} is what this HydraPicker reads; {remedy}")
    try:
        return build(cls, data, str(path))
    except PackageError as error:
        raise InvalidInputError(f"{error}; {remedy}") from error


def write_strict_json(path: Path, value: Any) -> None:
    """Write a dataclass as JSON with the version of the format, all or nothing.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    text = json.dumps({_VERSION: _KNOWN_VERSION, **dataclasses.asdict(value)}, indent=2, allow_nan=False)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is given twice")
    return result


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not a number in JSON")
