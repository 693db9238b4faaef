"""Our protocol against pycocotools: the same hits and recalls, and AP that differs by the interpolation alone."""

import contextlib
import io

import numpy as np
import pytest

from hydrapicker_core.curves import average_precision, pool, precision_recall_curve
from hydrapicker_core.hits import NO_PARTICLE, matched_particles

coco = pytest.importorskip("pycocotools.coco")
cocoeval = pytest.importorskip("pycocotools.cocoeval")

BOX = 20.0
RECALLS = np.linspace(0, 1, 101)
Micrograph = tuple[np.ndarray, np.ndarray, np.ndarray]


def some_micrographs(seed: int) -> list[Micrograph]:
    """Picks, distinct scores and crowded particles of a few micrographs, one of them without picks."""
    rng = np.random.default_rng(seed)
    scores = iter(rng.permutation(2000) / 2000)
    micrographs = []
    for picks, particles in ((60, 50), (0, 7), (45, 60), (30, 0)):
        true = rng.uniform(0, 200, (particles, 2))
        found = rng.uniform(0, 200, (picks, 2))
        near = min(picks, particles) * 3 // 4
        found[:near] = true[rng.integers(0, max(particles, 1), near)] + rng.normal(0, 2, (near, 2))
        micrographs.append((found, np.array([next(scores) for _ in range(picks)]), true))
    return micrographs


def coco_of(micrographs: list[Micrograph], iou: float) -> "cocoeval.COCOeval":
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {
            "images": [{"id": i} for i in range(len(micrographs))],
            "categories": [{"id": 1}],
            "annotations": [
                {"id": 1000 * i + j + 1, "image_id": i, "category_id": 1, "iscrowd": 0, "area": BOX**2,
                 "bbox": [x - BOX / 2, y - BOX / 2, BOX, BOX]}
                for i, (_, _, particles) in enumerate(micrographs) for j, (x, y) in enumerate(particles)
            ],
        }  # fmt: skip
        truth.createIndex()
        found = truth.loadRes(
            [
                {"image_id": i, "category_id": 1, "score": score, "bbox": [x - BOX / 2, y - BOX / 2, BOX, BOX]}
                for i, (picks, scores, _) in enumerate(micrographs)
                for (x, y), score in zip(picks, scores, strict=True)
            ]
        )
        judge = cocoeval.COCOeval(truth, found, "bbox")
        judge.params.iouThrs, judge.params.maxDets = np.array([iou]), [10000]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
        judge.accumulate()
    return judge


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("iou", [0.3, 0.6, 0.75])
def test_hits_recall_and_interpolated_ap_are_cocos(seed: int, iou: float) -> None:
    micrographs = some_micrographs(seed)
    theirs = coco_of(micrographs, iou)
    matched = [matched_particles(picks, scores, true, BOX, iou) for picks, scores, true in micrographs]
    for i, each in enumerate(theirs.evalImgs):
        if each is None:  # a micrograph without particles and picks
            continue
        order = np.argsort(-micrographs[i][1], kind="stable")
        coco_particles = each["dtMatches"][0].astype(int) - 1000 * i - 1
        coco_particles[each["dtMatches"][0] == 0] = NO_PARTICLE
        np.testing.assert_array_equal(matched[i][order], coco_particles)
    scored = pool((m[1], hit != NO_PARTICLE, len(m[2])) for m, hit in zip(micrographs, matched, strict=True))
    assert 20 < scored.hits.sum() < scored.particles
    curve = precision_recall_curve(scored)
    assert theirs.eval["recall"].item() == pytest.approx(curve.recall[-1])
    # COCO: precision made to fall with recall, read at 101 recalls.
    envelope = np.append(np.maximum.accumulate(curve.precision[::-1])[::-1], 0)
    interpolated = envelope[np.searchsorted(curve.recall, RECALLS, side="left")].mean()
    assert theirs.eval["precision"].mean() == pytest.approx(interpolated, abs=1e-9)
    # Without interpolation ours is the smaller, but for COCO's reading at 101 points.
    ours = average_precision(scored)
    assert ours != pytest.approx(interpolated, abs=1e-3)
    assert interpolated - 0.1 < ours < interpolated + 0.01
