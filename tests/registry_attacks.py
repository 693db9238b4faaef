"""What a contributor may try on others' heads: method, path below ``/api``, body.

`$name`, `$run`, `$model` and `$source` are of somebody else's version, `$own` is a run of the contributor's.
"""

from collections.abc import Mapping

HEADS = "2.0/mlflow/registered-models"
VERSIONS = "2.0/mlflow/model-versions"
EXPERIMENTS = "2.0/mlflow/experiments"
FILES = "2.0/mlflow-artifacts/artifacts/$experiment"
MOVE = "champion 2026-01-31 12:00:00.000000 UTC ab12"
CHALLENGE = "challenger 2026-01-31 12:00:00.000000 UTC ab12"
TAG = [{"key": "x", "value": "y"}]
ATTACKS: Mapping[str, tuple[str, str, object]] = {
    "move champion": (
        "POST",
        f"{HEADS}/alias",
        {"name": "$name", "alias": "champion", "version": "1"},
    ),
    "move champion, said twice": (
        "POST",
        f"{HEADS}/alias",
        {"name": "$name", "alias": "champion", "Alias": "challenger", "version": "1"},
    ),
    "take champion away": ("DELETE", f"{HEADS}/alias", {"name": "$name", "alias": "champion"}),
    "challenge with another's version": (
        "POST",
        f"{HEADS}/alias",
        {"name": "$name", "alias": "challenger", "version": "1"},
    ),
    "record a promotion": (
        "POST",
        f"{HEADS}/set-tag",
        {"name": "$name", "key": MOVE, "value": '{"version": 1, "by": "otto"}'},
    ),
    "record in another's name": (
        "POST",
        f"{HEADS}/set-tag",
        {"name": "$name", "key": CHALLENGE, "value": '{"version": 1, "by": "nina"}'},
    ),
    "retire a head": (
        "POST",
        f"{HEADS}/set-tag",
        {"name": "$name", "key": "retired", "value": "x"},
    ),
    "rename a head": ("POST", f"{HEADS}/rename", {"name": "$name", "new_name": "mine"}),
    "describe a head": ("PATCH", f"{HEADS}/update", {"name": "$name", "description": "mine"}),
    "delete a head": ("DELETE", f"{HEADS}/delete", {"name": "$name"}),
    "delete a version": ("DELETE", f"{VERSIONS}/delete", {"name": "$name", "version": "1"}),
    "describe a version": (
        "PATCH",
        f"{VERSIONS}/update",
        {"name": "$name", "version": "1", "description": "mine"},
    ),
    "swap a version's checksum": (
        "POST",
        f"{VERSIONS}/set-tag",
        {"name": "$name", "version": "1", "key": "package_sha256", "value": "0" * 64},
    ),
    "register another's files": (
        "POST",
        f"{VERSIONS}/create",
        {"name": "$name", "source": "$source", "run_id": "$own", "model_id": "$model"},
    ),
    "register files from anywhere": (
        "POST",
        f"{VERSIONS}/create",
        {"name": "$name", "source": "s3://elsewhere/head", "run_id": "$own"},
    ),
    "register something else": ("POST", f"{HEADS}/create", {"name": "not-a-head"}),
    "register with a history": (
        "POST",
        f"{HEADS}/create",
        {"name": "hydrapicker.head.new", "tags": [{"key": MOVE, "value": "{}"}]},
    ),
    "change another's run": ("POST", "2.0/mlflow/runs/update", {"run_id": "$run", "status": "FAILED"}),
    "change another's run, in camel case": ("POST", "2.0/mlflow/runs/update", {"runId": "$run", "status": "FAILED"}),
    "tag another's run": ("POST", "2.0/mlflow/runs/set-tag", {"run_id": "$run", "key": "x", "value": "y"}),
    "own another's run": (
        "POST",
        "2.0/mlflow/runs/set-tag",
        {"run_id": "$own", "key": "hydrapicker.owner", "value": "nina"},
    ),
    "own a run from the start": (
        "POST",
        "2.0/mlflow/runs/create",
        {"experiment_id": "$experiment", "tags": [{"key": "hydrapicker.owner", "value": "nina"}]},
    ),
    "measure another's model": (
        "POST",
        "2.0/mlflow/runs/log-batch",
        {"run_id": "$own", "metrics": [{"key": "ap", "value": 1.0, "timestamp": 1, "step": 0, "model_id": "$model"}]},
    ),
    "log a model with another's run": (
        "POST",
        "2.0/mlflow/logged-models",
        {"experiment_id": "$experiment", "name": "x", "source_run_id": "$run"},
    ),
    "log a model with no run": ("POST", "2.0/mlflow/logged-models", {"experiment_id": "$experiment", "name": "x"}),
    "tag another's model": ("PATCH", "2.0/mlflow/logged-models/$model/tags", {"tags": TAG}),
    "delete another's model": ("DELETE", "2.0/mlflow/logged-models/$model", None),
    "write another's weights": (
        "PUT",
        f"{FILES}/models/$model/artifacts/head/head.safetensors",
        b"mine",
    ),
    "write another's weights, by the way": (
        "PUT",
        f"{FILES}/$own/artifacts/%2e%2e/%2e%2e/models/$model/artifacts/head/head.json",
        b"mine",
    ),
    "write among another's files": ("PUT", f"{FILES}/$run/artifacts/x.txt", b"mine"),
    "delete files": ("DELETE", f"{FILES}/$run/artifacts", None),
    "make an experiment elsewhere": (
        "POST",
        f"{EXPERIMENTS}/create",
        {"name": "x", "artifact_location": "s3://elsewhere"},
    ),
    "rename the experiment": (
        "POST",
        f"{EXPERIMENTS}/update",
        {"experiment_id": "$experiment", "new_name": "x"},
    ),
    "delete the experiment": ("POST", f"{EXPERIMENTS}/delete", {"experiment_id": "$experiment"}),
    "become a maintainer": ("POST", "3.0/mlflow/roles/assign", {"username": "otto", "role_id": 2}),
    "grant oneself more": (
        "POST",
        "3.0/mlflow/users/permissions/grant",
        {"username": "otto", "resource_type": "registered_model", "resource_id": "$name", "permission": "MANAGE"},
    ),
    "make a login": ("POST", "2.0/mlflow/users/create", {"username": "x", "password": "long enough, surely"}),
    "call out of the server": ("POST", "2.0/mlflow/webhooks", {"name": "x", "url": "https://127.0.0.1/", "events": []}),
}
