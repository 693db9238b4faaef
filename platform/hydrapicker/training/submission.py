"""A contributed head comes into the registry as challenger, and becomes champion past the gate."""

from collections.abc import Callable, Mapping
from functools import partial

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
from hydrapicker_core.bootstrap import MicrographPart
from hydrapicker_core.network import GENERIC, Head, MultiHeadNetwork
from hydrapicker_registry.errors import ChampionChangedError, HeadNotFoundError, NotPermittedError
from hydrapicker_registry.registry import HeadRecord, HeadRegistry, LoadedHead

Say = Callable[[str], None]


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
    judge = partial(_decide, judged, dataset, generic)
    if before is not None:
        return _once_more(registry, before, zero_shot, judge, say)
    decision = judge(reigning)
    trunk = generic.trunk.reference(generic.version.trunk_version)
    package = head_package(network, name, dataset, judged, trunk, origin, pictures, decision.metrics())
    version = registry.register_head(package, run.run_id, alias="challenger")
    log_pictures(package, run)
    predecessor = None if reigning is None else reigning.version.version
    champion = _settle(registry, name, version, decision, predecessor, judge, say)
    return RegisteredHead(name, version, package.metadata.metrics, zero_shot, champion)


def _settle(
    registry: HeadRegistry,
    name: str,
    version: int,
    decision: Decision,
    predecessor: int | None,
    judge: Callable[[LoadedHead | None], Decision],
    say: Say,
) -> bool:
    """Promote a registered head or leave it challenger, and say why; returns whether it is champion.

    Args:
        registry: Where it is.
        name: Of the dataset.
        version: Of the head.
        decision: Of the gate.
        predecessor: The champion it was made against; where another one reigns by now, it is made again.
        judge: Makes it.
        say: Told what became of it.
    """
    while decision.passed:
        try:
            registry.succeed(name, version, predecessor)
        except ChampionChangedError as changed:
            say(f"{name} version {version} is judged again: {changed}")
            reigning = _reigning(registry, name)
            predecessor, decision = None if reigning is None else reigning.version.version, judge(reigning)
            continue
        except NotPermittedError:
            say(
                f"{name} version {version} passed the gate and stays challenger, for on this server a maintainer "
                f"decides: {decision}; ask one for `hydrapicker heads promote {name} --version {version}`"
            )
            return False
        say(f"{name} version {version} passed the gate and is champion: {decision}")
        return True
    by_hand = f"promote it by hand with `hydrapicker heads promote {name} --version {version}`"
    why = "it did not pass the gate" if decision.judged else "the gate cannot judge it"
    say(f"{name} version {version} stays challenger, as {why}: {decision}; {by_hand}")
    return False


def _once_more(
    registry: HeadRegistry,
    record: HeadRecord,
    zero_shot: dict[str, float],
    judge: Callable[[LoadedHead | None], Decision],
    say: Say,
) -> RegisteredHead:
    found = record.version
    metrics = registry.load(found.dataset, found.version).head.metadata.metrics
    say(f"{found.dataset} version {found.version} was registered by this run before")
    decision = Decision.on_record(metrics)
    champion = "champion" in found.aliases
    settled = champion or found.retired or any(period.alias == "champion" for period in record.periods)
    if decision is not None and not settled:  # it failed, or the run was broken off before it was promoted
        judged_against = metrics.get("gate_champion_version")
        predecessor = None if judged_against is None else int(judged_against)
        champion = _settle(registry, found.dataset, found.version, decision, predecessor, judge, say)
    return RegisteredHead(found.dataset, found.version, metrics, zero_shot, champion)


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
    return {_key(reigning): build_modules(reigning.head, reigning.trunk, reigning.version.version)[1]}


def _decide(judged: Judged, dataset: Dataset, generic: LoadedHead, reigning: LoadedHead | None) -> Decision:
    """Judge the new head against the generic one and a reigning champion, if there is one."""
    scored = judged.test[dataset.name]
    rivals = [Rival("generic", generic.version.version, scored[GENERIC])]
    if reigning is not None:
        rivals.append(Rival("champion", reigning.version.version, _parts(judged, dataset, reigning)))
    return decide(scored[dataset.name], rivals)


def _parts(judged: Judged, dataset: Dataset, reigning: LoadedHead) -> list[MicrographPart] | None:
    """What a reigning champion picks on the test micrographs; None when it cannot pick them."""
    parts = judged.test[dataset.name].get(_key(reigning))
    if parts is None and reigning.head.metadata.input.box_px == dataset.box_px:  # its own trunk has to look too
        trunk, head = build_modules(reigning.head, reigning.trunk, reigning.version.version)
        parts = score_micrographs(trunk, {"": head}, dataset, dataset.split("test"))[""]
    return parts


def _key(reigning: LoadedHead) -> str:
    """Of a reigning champion among the judged heads; no dataset is called so."""
    return f"@{reigning.version.version}"
