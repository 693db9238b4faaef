"""Heads judged on stored micrographs: their losses and what they pick against the particles."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from hydrapicker.evaluation.features import Features, KeptFeatures
from hydrapicker.store.store import Dataset, StoredMicrograph
from hydrapicker.streaming.whole import stream_micrographs
from hydrapicker_core.bootstrap import MicrographPart
from hydrapicker_core.inference import MARGIN_PX, InferenceConfig, decode_padded, pad, trunk_features
from hydrapicker_core.losses import LossConfig, detection_loss
from hydrapicker_core.metrics import MicrographResult, ScoredPicks, pool
from hydrapicker_core.network import Head, Trunk
from hydrapicker_core.preprocess import Background


@dataclass(frozen=True, eq=False)
class Judgement:
    """One head on one micrograph.

    Attributes:
        loss: ``l_loc + lambda_cls * l_cls`` on the whole micrograph.
        result: Picks and particles, in working pixels.
    """

    loss: float
    result: MicrographResult

    def scored(self) -> MicrographPart:
        """Scores, hits and the number of particles, ready to be pooled with other micrographs'."""
        return self.result.part()


@torch.no_grad()
def judge(
    trunk: Trunk,
    heads: Mapping[str, Head],
    micrograph: StoredMicrograph,
    box_px: float,
    loss: LossConfig,
    inference: InferenceConfig | None = None,
    features: Features = lambda compute: compute(),
) -> dict[str, Judgement]:
    """Several heads on one micrograph, with one pass through the trunk, or none where its features are kept.

    Args:
        trunk: In evaluation mode, as the heads.
        heads: By name.
        micrograph: With its particles.
        box_px: Side of a particle's box.
        loss: Weights of the losses.
        inference: How it is picked.
        features: Gives the trunk's features, by the function that computes them or without, where they are kept.
    """
    inference = inference or InferenceConfig()
    device = next(trunk.parameters()).device
    background = Background(micrograph.background_mean, micrograph.background_std)
    padded = pad(torch.from_numpy(micrograph.image).float(), background)
    particles = torch.from_numpy(micrograph.particles)
    image = padded.image.to(device)
    maps = features(lambda: trunk_features(trunk, image, inference.memory_bound_gib))
    judgements = {}
    for name, head in heads.items():
        output = head(maps)[0].cpu()
        detections = decode_padded(output, padded, box_px, inference)
        result = MicrographResult(detections.xy.numpy(), detections.score.numpy(), micrograph.particles, box_px)
        losses = detection_loss(output[None], [particles + MARGIN_PX], box_px, loss)
        judgements[name] = Judgement(float(losses.total(loss)), result)
    return judgements


def score_heads(
    trunk: Trunk,
    heads: Mapping[str, Head],
    dataset: Dataset,
    rows: Iterable[int],
    progress: Callable[[int, int, str], None] = lambda done, total, label: None,
) -> dict[str, ScoredPicks]:
    """Every head's picks on a dataset's micrographs, judged and pooled; trunk and heads are put in evaluation mode."""
    scored = score_micrographs(trunk, heads, dataset, rows, progress)
    return {name: pool(parts) for name, parts in scored.items()}


def score_micrographs(
    trunk: Trunk,
    heads: Mapping[str, Head],
    dataset: Dataset,
    rows: Iterable[int],
    progress: Callable[[int, int, str], None] = lambda done, total, label: None,
    kept: KeptFeatures | None = None,
) -> dict[str, list[MicrographPart]]:
    """As :func:`score_heads`, micrograph by micrograph in the order of `rows`."""
    picked = pick_micrographs(trunk, heads, dataset, rows, progress, kept)
    return {name: [result.part() for result in results] for name, results in picked.items()}


def pick_micrographs(
    trunk: Trunk,
    heads: Mapping[str, Head],
    dataset: Dataset,
    rows: Iterable[int],
    progress: Callable[[int, int, str], None] = lambda done, total, label: None,
    kept: KeptFeatures | None = None,
) -> dict[str, list[MicrographResult]]:
    """Every head's picks beside the particles, micrograph by micrograph in the order of `rows`, not judged yet.

    There is one pass through the trunk for each, or none where its features are kept, by dataset's name and row.
    """
    for module in (trunk, *heads.values()):
        module.eval()
    rows = tuple(rows)
    picked: dict[str, list[MicrographResult]] = {name: [] for name in heads}
    micrographs = stream_micrographs({dataset.name: dataset}, ((dataset.name, row) for row in rows))
    kept = kept or KeptFeatures(0)
    for done, (row, micrograph) in enumerate(zip(rows, micrographs, strict=True), start=1):
        features = partial(kept.of, (dataset.name, row))
        for name, judgement in judge(trunk, heads, micrograph, dataset.box_px, LossConfig(), features=features).items():
            picked[name].append(judgement.result)
        progress(done, len(rows), dataset.name)
    return picked


def merge(picks: Iterable[ScoredPicks]) -> ScoredPicks:
    """Pool picks that were pooled in parts, of several datasets for example."""
    return pool((part.scores, part.hits, part.particles) for part in picks)
