"""``hydrapicker heads``: each verb is loaded when it is called."""

from importlib import import_module

from hydrapicker.errors import InvalidInputError

VERBS = {
    "show": "show",
    "promote": "aliases",
    "rollback": "aliases",
    "retire": "aliases",
    "verify": "verify",
    "export": "transfer",
    "import": "transfer",
    "compare": "compare",
    "evaluate": "evaluate",
    "suggest": "suggest",
    "rebase": "rebase",
    "adopt": "adopt",
}
"""The module of each verb."""


def run(arguments: list[str]) -> int:
    """List heads, or do what the verb says."""
    if not arguments or arguments[0].startswith("-"):
        return int(import_module("hydrapicker.cli.heads.listing").run(arguments))
    verb = arguments[0]
    if verb not in VERBS:
        raise InvalidInputError(f"heads has no {verb!r}: give {', '.join(VERBS)}, or --name {verb} to list it")
    module = import_module(f"hydrapicker.cli.heads.{VERBS[verb]}")
    return int(module.run(verb, arguments[1:]))
