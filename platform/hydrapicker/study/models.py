"""The heads that a study compares on a target, each found where its training registered it."""

from collections.abc import Sequence

from hydrapicker.errors import InvalidInputError
from hydrapicker.store.store import Dataset, Store
from hydrapicker.study.config import StudyConfig
from hydrapicker.study.plan import Generics, few_name
from hydrapicker_core.network import GENERIC
from hydrapicker_registry.connection import without_login
from hydrapicker_registry.errors import HeadNotFoundError
from hydrapicker_registry.registry import HeadRegistry, LoadedHead
from hydrapicker_registry.versions import HeadVersion

__all__ = ["ALONE", "SINGLE", "SINGLE_TUNED", "ZERO_SHOT", "few_shot", "load_generics", "target_heads"]

ZERO_SHOT, ALONE = "zero-shot", "alone"
SINGLE, SINGLE_TUNED = "single-head", "single-head-tuned"


def few_shot(labels: int) -> str:
    """What the few-shot model of so many labelled micrographs is called."""
    return f"few-shot-{labels}"


def load_generics(config: StudyConfig) -> Generics:
    """The champion generic heads that the study starts from.

    Raises:
        HeadNotFoundError: When a registry has none.
        InvalidInputError: When a trunk was trained on one of the targets.
    """
    general = HeadRegistry(config.general_uri).load(GENERIC)
    single = HeadRegistry(config.single).load(GENERIC) if config.single else None
    for each in filter(None, (general, single)):
        if known := [name for name in config.targets if name in each.trunk.metadata.datasets]:
            raise InvalidInputError(
                f"trunk version {each.version.trunk_version} was trained on {', '.join(known)}: name as targets only "
                "datasets that no trunk has seen"
            )
    return Generics(general, single)


def target_heads(config: StudyConfig, generics: Generics, dataset: Dataset) -> dict[str, LoadedHead]:
    """All models of one target, after :func:`~hydrapicker.study.plan.trainings`.

    Raises:
        HeadNotFoundError: When one is not in its registry.
    """
    heads = {ZERO_SHOT: generics.general}
    store = Store(str(config.few_store))
    for labels in sorted(config.labels):
        few = store.open(few_name(dataset.name, labels))
        heads[few_shot(labels)] = _trained(config.general_uri, generics.general, few)
    heads[ALONE] = _trained(config.alone_uri, None, dataset)
    if config.single and generics.single:
        heads[SINGLE] = generics.single
        few = store.open(few_name(dataset.name, max(config.labels)))
        heads[SINGLE_TUNED] = _trained(config.single, generics.single, few)
    return heads


def _trained(uri: str, generic: LoadedHead | None, dataset: Dataset) -> LoadedHead:
    """The newest head of just this dataset, on the generic head's trunk where one is given."""
    registry = HeadRegistry(uri)
    versions = registry.versions(dataset.name)
    found = _newest(versions, dataset.fingerprint, None if generic is None else generic.trunk.sha256)
    if found is None:
        raise HeadNotFoundError(
            f"no head of {dataset.name} {dataset.version} in {without_login(uri)}, though its training is marked as "
            "done: remove the folder `done` of the study, and run it again"
        )
    return registry.load(dataset.name, found.version)


def _newest(versions: Sequence[HeadVersion], fingerprint: str, trunk: str | None) -> HeadVersion | None:
    fitting = [each for each in versions if each.dataset_fingerprint == fingerprint]
    fitting = [each for each in fitting if trunk in (None, each.trunk_sha256)]
    return max(fitting, key=lambda each: each.version, default=None)
