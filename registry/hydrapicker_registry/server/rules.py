"""What a login may write: contributors add runs, logged models and versions, and change only what is still theirs.

MLflow's permissions are per experiment and per registered model. Whoever may add a version to a head's registered model
may as well move its aliases and change all of its versions. These rules hold what is finer than that: they are asked
after MLflow's own permissions, for every request that is no GET, and what they do not name is a maintainer's.

Everything belongs to the login that made the run it came from: a version to its run's, a logged model to its run's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from hydrapicker_registry.history import ALIAS_MOVE_KEY
from hydrapicker_registry.names import OWNER_TAG, TRUNK_MODEL_NAME, is_head_model_name

Role = Literal["reader", "contributor", "maintainer"]

_RUN_FIELDS = frozenset({"run_id", "run_uuid", "source_run_id"})
_ARTIFACT = re.compile(r"\d+/(?:models/(?P<model>m-[0-9a-f]{32})|(?P<run>[0-9a-f]{32}))/artifacts/[A-Za-z0-9_./-]+")


@dataclass(frozen=True)
class Write:
    """A request that may change something.

    Attributes:
        endpoint: The name of MLflow's handler, the same for all paths that lead to it.
        fields: What the request says, in its body and its path, under snake_case names.
        user: The login.
        role: The login's.
    """

    endpoint: str
    fields: Mapping[str, Any]
    user: str
    role: Role


@dataclass(frozen=True)
class Model:
    """A logged model: the run it came from, whether its files are still being written, and where they are."""

    run_id: str | None
    pending: bool
    location: str


class Facts(Protocol):
    """What is in MLflow; None for what is not."""

    def owner(self, run_id: str) -> str | None:
        """Return whose a run is."""

    def model(self, model_id: str) -> Model | None:
        """Return a logged model."""

    def run_of_version(self, name: str, version: str) -> str | None:
        """Return the run of a version of a registered model."""

    def has_tag(self, name: str, key: str) -> bool:
        """Whether a registered model has a tag."""


def refusal(write: Write, facts: Facts) -> str | None:
    """Return why a request is refused, None where it is not."""
    if write.endpoint in READING or write.endpoint in ONES_OWN_LOGIN:
        return None
    if OWNER_TAG in _texts(write.fields):
        return f"the tag {OWNER_TAG} is written by the server alone"
    if write.role == "reader":
        return f"{write.user} may read, and only contributors may add to the registry: ask a maintainer"
    if write.endpoint == "_set_registered_model_tag" and (reason := _false_record(write)):
        return reason
    if write.role == "maintainer":
        return None
    rule = CONTRIBUTORS_RULES.get(write.endpoint)
    return "this is for a maintainer to do" if rule is None else rule(write, facts)


def _own(write: Write, facts: Facts) -> str | None:
    """Every run and logged model that the request names is the login's own."""
    for run_id in _named(write.fields, _RUN_FIELDS):
        if facts.owner(run_id) != write.user:
            return f"run {run_id} is not {write.user}'s"
    for model_id in _named(write.fields, frozenset({"model_id"})):
        if (reason := _own_model(write, facts, model_id)) is not None:
            return reason
    return None


def _own_model(write: Write, facts: Facts, model_id: str, pending: bool = False) -> str | None:
    model = facts.model(model_id)
    if model is None or model.run_id is None or facts.owner(model.run_id) != write.user:
        return f"logged model {model_id} is not {write.user}'s"
    if pending and not model.pending:
        return f"logged model {model_id} is finished, and is not changed any more"
    return None


def _own_unfinished_model(write: Write, facts: Facts) -> str | None:
    return _own_model(write, facts, str(write.fields.get("model_id")), pending=True)


def _logged_model(write: Write, facts: Facts) -> str | None:
    if not write.fields.get("source_run_id"):
        return "a logged model needs a run that it came from"
    return _own(write, facts)


def _artifact(write: Write, facts: Facts) -> str | None:
    match = _ARTIFACT.fullmatch(str(write.fields.get("artifact_path")))
    if match is None or ".." in match[0].split("/"):
        return "files are kept with a run or a logged model, under plain names"
    if match["model"]:
        return _own_model(write, facts, match["model"], pending=True)
    return None if facts.owner(match["run"]) == write.user else f"run {match['run']} is not {write.user}'s"


def _registered_model(write: Write, facts: Facts) -> str | None:
    del facts
    if write.fields.get("tags"):
        return "a new registered model has no tags yet"
    return _name(write)


def _name(write: Write) -> str | None:
    name = str(write.fields.get("name"))
    if name == TRUNK_MODEL_NAME or is_head_model_name(name):
        return None
    return f"{name!r} is no name of a trunk or head"


def _version(write: Write, facts: Facts) -> str | None:
    """A version comes from a finished logged model of the login's own run, and its files are that model's."""
    fields = write.fields
    if (reason := _name(write) or _own(write, facts)) is not None:
        return reason
    model = facts.model(str(fields.get("model_id")))
    if model is None or model.pending or not fields.get("run_id") or model.run_id != fields["run_id"]:
        return "a version needs a finished logged model and the run it came from"
    if str(fields.get("source")).rstrip("/") != model.location.rstrip("/"):
        return "a version's source is where its logged model's files are"
    return None


def _challenger(write: Write, facts: Facts) -> str | None:
    if write.fields.get("alias") != "challenger":
        return f"only a maintainer moves the alias {write.fields.get('alias')}"
    return _own_version(write, facts, write.fields.get("version"))


def _own_version(write: Write, facts: Facts, version: object) -> str | None:
    name = str(write.fields.get("name"))
    run_id = facts.run_of_version(name, str(version))
    if run_id is None or facts.owner(run_id) != write.user:
        return f"{name} version {version} is not {write.user}'s"
    return None


def _record_of_challenger(write: Write, facts: Facts) -> str | None:
    """A contributor puts on record that the alias challenger moves to a version of their own, and nothing else."""
    key = str(write.fields.get("key"))
    if not key.startswith("challenger ") or not ALIAS_MOVE_KEY.fullmatch(key):
        return "only a maintainer moves the alias champion, or changes a head as a whole"
    if facts.has_tag(str(write.fields.get("name")), key):
        return "what is on record is not changed"
    return _own_version(write, facts, json.loads(write.fields["value"])["version"])


def _false_record(write: Write) -> str | None:
    """Whoever puts a move of an alias on record names themselves."""
    if not ALIAS_MOVE_KEY.fullmatch(str(write.fields.get("key"))):
        return None
    try:
        said = json.loads(str(write.fields.get("value")))
        by, _ = said["by"], said["version"]
    except (ValueError, TypeError, KeyError):
        return "the record of a move of an alias is JSON with version and by"
    return None if by == write.user else f"{write.user} puts a move on record as done by {by}"


READING = frozenset(
    "_search_runs _search_experiments _search_logged_models _get_latest_versions _create_presigned_download_url "
    "_search_evaluation_datasets_handler _search_traces_v3 _search_issues _graphql serve_search_datasets "
    "serve_post_ui_telemetry".split()
)
"""Handlers that answer POST and change nothing."""

ONES_OWN_LOGIN = frozenset({"update_user_password"})
"""MLflow itself sees to it that this is one's own."""

CONTRIBUTORS_RULES: Mapping[str, Callable[[Write, Facts], str | None]] = {
    "_create_run": lambda write, facts: None,
    **dict.fromkeys(
        "_update_run _log_metric _log_param _log_batch _log_inputs _log_outputs _set_tag _delete_tag "
        "_set_logged_model_tags".split(),
        _own,
    ),
    "_create_logged_model": _logged_model,
    **dict.fromkeys("_finalize_logged_model _log_logged_model_params".split(), _own_unfinished_model),
    **dict.fromkeys(
        "_upload_artifact _create_multipart_upload_artifact _complete_multipart_upload_artifact "
        "_abort_multipart_upload_artifact".split(),
        _artifact,
    ),
    "_create_registered_model": _registered_model,
    "_create_model_version": _version,
    "_set_registered_model_alias": _challenger,
    "_set_registered_model_tag": _record_of_challenger,
}
"""What contributors may do, by handler, and when; anything else is a maintainer's."""


def snake_case(value: Any) -> Any:
    """Return JSON with its keys in snake_case: MLflow takes ``runId`` for ``run_id``.

    Raises
    ------
    ValueError
        When two keys become one: what MLflow would read and what is judged here might differ.
    """
    if isinstance(value, dict):
        fields = {re.sub(r"(?<!^)(?=[A-Z])", "_", key).lower(): snake_case(each) for key, each in value.items()}
        if len(fields) < len(value):
            raise ValueError("says the same twice")
        return fields
    return [snake_case(each) for each in value] if isinstance(value, list) else value


def _named(value: Any, keys: frozenset[str]) -> Iterator[str]:
    """Yield what is said under some keys, however deep, and not nothing."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key in keys and each:
                yield str(each)
            yield from _named(each, keys)
    elif isinstance(value, list):
        for each in value:
            yield from _named(each, keys)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
