"""A command's options are the fields of its config class: parsing, presets and YAML files."""

import argparse
import io
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro
import yaml

from hydrapicker.errors import InvalidInputError

Config = TypeVar("Config")


def parse(
    config: type[Config], command: str, arguments: Sequence[str], default: Config | None = None, description: str = ""
) -> Config:
    """Build a config from a command's arguments; exits with 2 for misuse, or with 0 for ``--help``, as tyro does.

    Args:
        config: The config class; its docstring is the help.
        command: Name of the command, for the usage line.
        arguments: Of the command.
        default: What is not given comes from here instead of the class's own defaults.
        description: Put in place of the class's docstring in the help.

    Raises:
        InvalidInputError: What a config class refuses, as it says it.
    """

    def build() -> Config:
        return tyro.cli(
            config,
            prog=f"hydrapicker {command}",
            args=list(arguments),
            default=tyro.MISSING_NONPROP if default is None else default,
            description=description or None,
            config=(tyro.conf.FlagCreatePairsOff,),
        )

    unseen = io.StringIO()
    try:
        with redirect_stdout(unseen), redirect_stderr(unseen):
            return build()
    except SystemExit as stopped:
        refusal = _refusal_behind(stopped)
    if refusal is not None:  # tyro would break a config class's one line into a box of several
        raise refusal
    return build()


def _refusal_behind(error: BaseException | None) -> InvalidInputError | None:
    while error is not None and not isinstance(error, InvalidInputError):
        error = error.__context__
    return error


def parse_preset(
    config: type[Config], command: str, arguments: Sequence[str], presets: Mapping[str, Callable[[], Config]]
) -> Config:
    """As :func:`parse_with_file`, with ``--preset NAME`` below the file."""
    parser = _silent_parser(command)
    parser.add_argument("--preset", choices=sorted(presets), default="paper")
    chosen, rest = parser.parse_known_args(list(arguments))
    names = " or ".join(sorted(presets))
    extra = f"--preset {names} sets all options (here: {chosen.preset});"
    return parse_with_file(config, command, rest, presets[chosen.preset](), extra)


def parse_with_file(
    config: type[Config], command: str, arguments: Sequence[str], default: Config, description: str = ""
) -> Config:
    """As :func:`parse`, with ``--config FILE`` (YAML) below the options given; `description` is put before its help."""
    parser = _silent_parser(command)
    parser.add_argument("--config", type=Path)
    chosen, rest = parser.parse_known_args(list(arguments))
    if chosen.config is not None:
        default = from_yaml(chosen.config, default)
    summary = (config.__doc__ or "").splitlines()[0]
    words = (summary, description, "--config FILE reads options from YAML.")
    return parse(config, command, rest, default, " ".join(filter(None, words)))


def _silent_parser(command: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(add_help=False, allow_abbrev=False, prog=f"hydrapicker {command}")


def from_yaml(path: Path, default: Config) -> Config:
    """`default` with the values of a YAML file of the same tree; unknown keys and wrong values are refused."""
    try:
        tree = yaml.load(path.read_text(), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: cannot be read ({error}); give a YAML file") from error
    except yaml.YAMLError as error:
        raise InvalidInputError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(tree, dict):
        raise InvalidInputError(f"{path}: not a tree of options; write 'datasets: [...]' and so on")
    return _overridden(default, tree, str(path))  # type: ignore[no-any-return]  # built as type(default)


class _Loader(yaml.SafeLoader):
    """Without YAML 1.1's numbers of base 60, as which it would take the 1:4 of ``workers: 1:4``."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (it is PyYAML's own)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:int"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?[0-9]+$"), list("-+0123456789"))


def _overridden(default: Any, tree: Mapping[str, Any], where: str) -> Any:
    hints = get_type_hints(type(default))
    names = [field.name for field in fields(default)]
    values = {name: getattr(default, name) for name in names}
    for key, value in tree.items():
        if key not in values:
            raise InvalidInputError(f"{where}: unknown option {key!r}: known are {', '.join(names)}")
        if is_dataclass(values[key]):
            if not isinstance(value, dict):
                raise InvalidInputError(f"{where}: {key} is {value!r}: give its options as a tree")
            values[key] = _overridden(values[key], value, f"{where}: {key}")
        else:
            values[key] = _checked(value, hints[key], f"{where}: {key}")
    try:
        return type(default)(**values)
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error}") from error


def _checked(value: Any, hint: Any, where: str) -> Any:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        raise InvalidInputError(f"{where} is {value!r}: {error.errors()[0]['msg'].lower()}") from error
