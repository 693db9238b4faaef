"""The trunk and generic head that ship become the registry's own, under an MLflow run that says where they are from."""

from collections.abc import Callable
from importlib import metadata

from hydrapicker.tracking import TrackedRun
from hydrapicker_registry.connection import without_login
from hydrapicker_registry.errors import NotPermittedError
from hydrapicker_registry.package import StoredPackage
from hydrapicker_registry.registry import HeadRegistry
from hydrapicker_registry.shipped.adoption import Adopted, adopt, lacks_generic
from hydrapicker_registry.versions import shipped_name

_NOTE_TAG = "mlflow.note.content"
"""MLflow's own tag, which its pages show as a run's description."""


def adopt_shipped() -> Adopted:
    """Register what ships; what is in the registry already is left as it is.

    Raises:
        NotPermittedError: On a server with logins, for all but maintainers.
        RegistryError: When MLflow cannot be reached.
    """
    runs: list[TrackedRun] = []
    status = "FAILED"
    try:
        adopted = adopt(HeadRegistry(), lambda head: _begin(head, runs))
        status = "FINISHED"
        return adopted
    finally:
        for run in runs:
            run.end(status)


def adopt_where_none_is(say: Callable[[str], None]) -> None:
    """Register what ships in a registry without any generic head, and say so.

    Raises:
        NotPermittedError: When there is none, and this login may not write one.
    """
    registry = HeadRegistry()
    if not lacks_generic(registry):
        return
    try:
        adopted = adopt_shipped()
    except NotPermittedError as error:
        raise NotPermittedError(
            f"the registry {without_login(registry.tracking_uri)} has no generic head to start from, and only a "
            "maintainer may add one: ask for `hydrapicker heads adopt`"
        ) from error
    if adopted.registered:
        say(f"the registry had no generic head: adopted {shipped_name()} as version {adopted.version}")


def _begin(head: StoredPackage, runs: list[TrackedRun]) -> str:
    release = metadata.version("hydrapicker")
    run = TrackedRun(f"adopt-shipped-{release}", head.sha256, "adopt")
    runs.append(run)
    training = head.package.metadata.training
    note = f"Trunk and generic head as shipped with hydrapicker {release}: trained elsewhere, in run {training.run_id}."
    run.tag({_NOTE_TAG: note, "hydrapicker.shipped_with": release})
    return run.run_id
