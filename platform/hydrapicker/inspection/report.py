"""The report: one HTML file with pictures, picks and the program that filters them, which needs nothing else."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from hydrapicker.errors import MicrographError
from hydrapicker.files import atomic_write, read_micrograph
from hydrapicker.inspection.source import InspectedMicrograph
from hydrapicker.inspection.thumbnail import ThumbnailSize, thumbnail

_READERS = 2
_SCRIPTS = ("picks.js", "micrographs.js", "report.js")
_PLACE = re.compile(r"{{(\w+)}}")


@dataclass(frozen=True)
class ReportText:
    """What a report says and how its controls start.

    Attributes:
        title: Heading.
        origin: How the picks were made.
        threshold: Where the threshold starts; None for picks without scores.
        picked_threshold: The threshold that was picked with, as a mark in the histogram.
        threshold_hint, distance_hint: Small print below the controls.
    """

    title: str
    origin: str
    threshold: float | None
    picked_threshold: float | None
    threshold_hint: str
    distance_hint: str


def write_report(
    out: Path,
    micrographs: Sequence[InspectedMicrograph],
    diameter_angstrom: float,
    text: ReportText,
    progress: Callable[[int, int, str], None] = lambda done, total, label: None,
) -> dict[str, str]:
    """Write the report, whole or not at all; returns why pictures of some micrographs are missing, by name.

    Raises:
        OutputError: The file cannot be written.
    """
    failed: dict[str, str] = {}
    style, script = _page("report.css"), "".join(map(_page, _SCRIPTS))
    parts = {
        "title": _html(text.title),
        "policy": _policy(style, script),
        "style": style,
        "script": script,
        "data": _json(_data(micrographs, diameter_angstrom, text)),
        "picks": _base64(np.concatenate([np.zeros((0, 3), np.float32), *map(_numbers, micrographs)]).tobytes()),
    }
    with atomic_write(out) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for i, piece in enumerate(_PLACE.split(_page("report.html"))):
            if i % 2 == 0:
                file.write(piece)
            elif piece != "images":
                file.write(parts[piece])
            else:
                for index, picture in _pictures(micrographs, diameter_angstrom, failed, progress):
                    file.write(f'<script type="text/plain" id="image-{index}">{_base64(picture)}</script>\n')
    return failed


def _page(name: str) -> str:
    return (resources.files("hydrapicker.inspection") / "page" / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Nothing is fetched from anywhere, and no program runs but ours."""

    def digest(text: str) -> str:
        return "'sha256-" + _base64(hashlib.sha256(text.encode()).digest()) + "'"

    return f"default-src 'none'; img-src data:; style-src {digest(style)}; script-src {digest(script)}"


def _data(micrographs: Sequence[InspectedMicrograph], diameter_angstrom: float, text: ReportText) -> dict[str, Any]:
    return {
        "origin": text.origin,
        "threshold": text.threshold,
        "pickedThreshold": text.picked_threshold,
        "thresholdHint": text.threshold_hint,
        "distanceHint": text.distance_hint,
        "scored": text.threshold is not None,
        "scoreRange": _score_range(micrographs),
        "mostDistanceAngstrom": int(np.ceil(2 * diameter_angstrom)),
        "micrographs": [
            {
                "name": each.name,
                "image": each.path is not None,
                "width": each.width,
                "height": each.height,
                "pixelSizeAngstrom": each.pixel_size_angstrom,
                "diameterPx": diameter_angstrom / each.pixel_size_angstrom,
                "rowsFromBelow": each.rows_from_below,
                "picks": len(each.xy),
            }
            for each in micrographs
        ],
    }


def _score_range(micrographs: Sequence[InspectedMicrograph]) -> list[float]:
    """Least and greatest value of the threshold's slider, and its step: 0 to 1 for probabilities."""
    scores = np.concatenate([np.zeros(0, np.float32), *(each.score for each in micrographs)])
    if len(scores) == 0 or (scores.min() >= 0 and scores.max() <= 1):
        return [0, 1, 0.001]
    low, high = float(np.floor(scores.min())), float(np.ceil(scores.max()))
    high = max(high, low + 1)
    step = 10.0 ** np.floor(np.log10((high - low) / 500))
    return [low, high, float(f"{step:g}")]


def _numbers(micrograph: InspectedMicrograph) -> np.ndarray:
    return np.column_stack([micrograph.xy, micrograph.score]).astype("<f4").reshape(-1, 3)


def _pictures(
    micrographs: Sequence[InspectedMicrograph],
    diameter_angstrom: float,
    failed: dict[str, str],
    progress: Callable[[int, int, str], None],
) -> Iterator[tuple[int, bytes]]:
    size = ThumbnailSize.for_report_of(len(micrographs))

    def picture(each: InspectedMicrograph) -> bytes | None:
        if each.path is None:
            return None
        try:
            return thumbnail(read_micrograph(each.path).image, diameter_angstrom / each.pixel_size_angstrom, size)
        except MicrographError as error:
            failed[each.name] = str(error)
            return None

    with ThreadPoolExecutor(_READERS) as pool:
        for index, made in enumerate(pool.map(picture, micrographs)):
            progress(index + 1, len(micrographs), micrographs[index].name)
            if made is not None:
                yield index, made


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _json(value: object) -> str:
    """JSON that may stand in a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, allow_nan=False)  # ASCII: U+2028 and the like are escaped by it
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _html(text: str) -> str:
    return "".join(f"&#{ord(letter)};" if letter in "<>&\"'" else letter for letter in text)
