"""Turn parsed JSON into frozen dataclasses, exactly: every key, no other key, and the declared types."""

import dataclasses
import json
import math
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from hydrapicker_core.errors import InvalidInputError
from hydrapicker_registry.errors import PackageError

T = TypeVar("T")


def parse_object(text: str, where: str) -> dict[str, object]:
    """Parse a JSON object; a key given twice, NaN and infinities are refused with :class:`PackageError`."""
    try:
        data = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{where}: not valid JSON ({error}); get the package again") from error
    if not isinstance(data, dict):
        raise PackageError(f"{where}: expected a JSON object, found {_kind_of(data)}")
    return data


def build(cls: type[T], data: object, where: str) -> T:
    """Build the dataclass `cls` from parsed JSON.

    Parameters
    ----------
    cls
        A dataclass whose fields are str, int, float, bool, `X | None`, `Literal`, `tuple[X, ...]`,
        `dict[str, X]`, other dataclasses, or `object` for any JSON.
    data
        What :func:`parse_object` returned.
    where
        The file (and key within) that messages name.

    Raises
    ------
    PackageError
        For a missing or unknown key, another type than declared, or a value that `cls` refuses.
    """
    if not isinstance(data, dict):
        raise PackageError(f"{where}: expected an object, found {_kind_of(data)}")
    hints = get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    if missing := [name for name in names if name not in data]:
        raise PackageError(f"{where}: lacks {', '.join(missing)}")
    if unknown := sorted(set(data) - set(names)):
        raise PackageError(f"{where}: holds unknown {', '.join(unknown)}; allowed are {', '.join(names)}")
    values = {name: _convert(hints[name], data[name], f"{where}: {name}") for name in names}
    try:
        return cls(**values)
    except PackageError:
        raise
    except InvalidInputError as error:
        raise PackageError(f"{where}: {error}") from error


def _convert(declared: Any, value: object, where: str) -> Any:
    origin, arguments = get_origin(declared), get_args(declared)
    if declared is object:
        return value
    if origin is UnionType:
        if value is None:
            return None
        (declared,) = (argument for argument in arguments if argument is not NoneType)
        return _convert(declared, value, where)
    if dataclasses.is_dataclass(declared):
        return build(declared, value, where)  # type: ignore[arg-type]
    if origin is Literal:
        if value in arguments:
            return value
    elif origin is tuple:
        if isinstance(value, list):
            return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    elif origin is dict:
        if isinstance(value, dict):
            return {key: _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    elif declared is float:
        # JSON does not tell 1 from 1.0, and its integers may be beyond any float
        if type(value) is float or (type(value) is int and abs(value) < 2**53):
            number = float(value)
            if math.isfinite(number):
                return number
    elif type(value) is declared:
        return value
    expected = getattr(declared, "__name__", str(declared)) if origin is None else str(declared)
    raise PackageError(f"{where}: expected {expected}, found {_kind_of(value)}")


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is given twice")
    return result


def _no_constant(constant: str) -> object:
    raise ValueError(f"{constant} is not a number in JSON")


def _kind_of(value: object) -> str:
    return f"{type(value).__name__} {str(value)[:40]!r}"
