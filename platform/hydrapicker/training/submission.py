"""A contributed head comes into the registry as challenger, and becomes champion past the gate."""

from collections.abc import Callable, Mapping

from hydrapicker.evaluation.heads import score_micrographs
from hydrapicker.picking.modules import build_modules
from hydrapicker.store.store import Dataset
from hydrapicker.tracking import TrackedRun
from hydrapicker.training.gate import Decision, Rival, decide
from hydrapicker.training.mlflow_metrics import final_metrics
from hydrapicker.training.registration import (
    Judged,
    Origin,
    RegisteredHead,
    head_package,
    judge_network,
    log_pictures,
    numbers,
)
from hydrapicker_core.network import GENERIC, Head, MultiHeadNetwork
from hydrapicker_registry.errors import HeadNotFoundError
from hydrapicker_registry.registry import HeadRecord, HeadRegistry, LoadedHead

Say = Callable[[str], None]

_REIGNING = "@champion"
"""Key of the reigning champion among the judged heads; no dataset is called so."""


def submit(
    network: MultiHeadNetwork,
    dataset: Dataset,
    generic: LoadedHead,
    run: TrackedRun,
    origin: Origin,
    pictures: bool,
    say: Say,
) -> RegisteredHead:
    """Judge a dataset's new head, register it, and promote it if it passes the gate.

    A run that is repeated finds what it registered, and the decision of then.

    Args:
        network: With the new head and the generic one.
        dataset: Whose head it is.
        generic: The registered generic head, which is the network's.
        run: Where the head was trained.
        origin: What is put on record of that.
        pictures: Whether pictures go with the head.
        say: Told what became of it.
    """
    registry, name = HeadRegistry(), dataset.name
    before = _registered_by(registry, name, run.run_id)
    reigning = None if before else _reigning(registry, name)
    shared = _heads_on(generic, reigning)
    judged = judge_network(network, {name: dataset}, shared, (name,) if pictures and before is None else ())
    run.log_metrics(final_metrics(judged.by_dataset()))
    zero_shot = numbers(judged.metrics(GENERIC, [name]))
    if before is not None:
        return _once_more(registry, before, zero_shot, say)
    decision = decide(judged.test[name][name], _rivals(judged, dataset, generic, reigning))
    trunk = generic.trunk.reference(generic.version.trunk_version)
    package = head_package(network, name, dataset, judged, trunk, origin, pictures, decision.metrics())
    version = registry.register_head(package, run.run_id, alias="challenger")
    log_pictures(package, run)
    champion = _settle(registry, name, version, decision, reigning, say)
    return RegisteredHead(name, version, package.metadata.metrics, zero_shot, champion)


def _settle(
    registry: HeadRegistry, name: str, version: int, decision: Decision, reigning: LoadedHead | None, say: Say
) -> bool:
    """Promote a registered head or leave it challenger, and say why; returns whether it is champion."""
    by_hand = f"promote it by hand with `hydrapicker heads promote {name} --version {version}`"
    if not decision.passed:
        why = "it did not pass the gate" if decision.judged else "the gate cannot judge it"
        say(f"{name} version {version} stays challenger, as {why}: {decision}; {by_hand}")
        return False
    now = _reigning(registry, name)
    if now is not None and (reigning is None or now.version.version != reigning.version.version):
        say(
            f"{name} version {version} stays challenger: version {now.version.version} became champion while this one "
            f"was judged; compare them with `hydrapicker heads compare {name} {name}@{version}`, or {by_hand}"
        )
        return False
    registry.promote(name, version)
    say(f"{name} version {version} passed the gate and is champion: {decision}")
    return True


def _once_more(registry: HeadRegistry, record: HeadRecord, zero_shot: dict[str, float], say: Say) -> RegisteredHead:
    found = record.version
    metrics = registry.load(found.dataset, found.version).head.metadata.metrics
    say(f"{found.dataset} version {found.version} was registered by this run before")
    decision = Decision.on_record(metrics)
    champion = "champion" in found.aliases
    settled = champion or found.retired or any(period.alias == "champion" for period in record.periods)
    if decision is not None and not settled:  # it failed, or the run was broken off before it was promoted
        champion = _settle(registry, found.dataset, found.version, decision, _judged_against(registry, record), say)
    return RegisteredHead(found.dataset, found.version, metrics, zero_shot, champion)


def _judged_against(registry: HeadRegistry, record: HeadRecord) -> LoadedHead | None:
    """The champion that a registered head was judged against, as far as it still reigns."""
    found = record.version
    version = registry.load(found.dataset, found.version).head.metadata.metrics.get("gate_champion_version")
    return None if version is None else registry.load(found.dataset, int(version))


def _registered_by(registry: HeadRegistry, name: str, run_id: str) -> HeadRecord | None:
    try:
        return next((record for record in registry.history(name) if record.version.run_id == run_id), None)
    except HeadNotFoundError:
        return None


def _reigning(registry: HeadRegistry, name: str) -> LoadedHead | None:
    try:
        return registry.load(name, alias="champion")
    except HeadNotFoundError:  # none yet, or the head was retired
        return None


def _heads_on(generic: LoadedHead, reigning: LoadedHead | None) -> Mapping[str, Head]:
    """The reigning champion by its key where it has the generic head's trunk: one pass judges them all."""
    if reigning is None or reigning.trunk.sha256 != generic.trunk.sha256:
        return {}
    return {_REIGNING: build_modules(reigning.head, reigning.trunk, reigning.version.version)[1]}


def _rivals(judged: Judged, dataset: Dataset, generic: LoadedHead, reigning: LoadedHead | None) -> list[Rival]:
    scored = judged.test[dataset.name]
    rivals = [Rival("generic", generic.version.version, scored[GENERIC])]
    if reigning is None:
        return rivals
    parts = scored.get(_REIGNING)
    if parts is None and reigning.head.metadata.input.box_px == dataset.box_px:  # its own trunk has to look too
        trunk, head = build_modules(reigning.head, reigning.trunk, reigning.version.version)
        parts = score_micrographs(trunk, {_REIGNING: head}, dataset, dataset.split("test"))[_REIGNING]
    return [*rivals, Rival("champion", reigning.version.version, parts)]
