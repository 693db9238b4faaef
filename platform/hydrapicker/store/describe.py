"""What there is to say about a dataset, ready for JSON; nothing here prints."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hydrapicker.errors import StoreError
from hydrapicker.store.layout import SPLITS
from hydrapicker.store.store import Dataset, Store

__all__ = ["describe", "summaries"]


def describe(dataset: Dataset) -> dict[str, Any]:
    """Describe a dataset version: counts per split, sizes, scale, contrast and fingerprint.

    Ranges are [smallest, largest]; heights and widths are in original pixels unless the name says working.
    """
    rows = dataset.rows
    return {
        "name": dataset.name,
        "version": dataset.version,
        "fingerprint": dataset.fingerprint,
        "created": dataset.created,
        "micrographs": {split: len(dataset.split(split)) for split in SPLITS},
        "particles": {split: int(rows.particle_counts[dataset.split(split)].sum()) for split in SPLITS},
        "diameter_angstrom": dataset.diameter_angstrom,
        "box_px": dataset.box_px,
        "contrast": dataset.contrast,
        "normalisation": dataset.meta.normalisation,
        "pixel_size_angstrom": _range(rows.column("pixel_size_angstrom")),
        "height": _range(rows.column("original_height")),
        "width": _range(rows.column("original_width")),
        "working_height": _range(rows.column("height")),
        "working_width": _range(rows.column("width")),
        "shards": len(np.unique(dataset.shard_numbers)),
        "megabytes": round(int(rows.column("length").sum()) / 1e6, 3),
    }


def summaries(store: Store) -> tuple[list[dict[str, Any]], list[StoreError]]:
    """Summarise every dataset of a store from its manifest alone, sorted by name.

    Returns
    -------
    list of dict
        The datasets.
    list of StoreError
        What is wrong with those whose manifest cannot be used.
    """
    found, unusable = list[dict[str, Any]](), list[StoreError]()
    for name, manifest in store.manifests().items():
        if isinstance(manifest, StoreError):
            unusable.append(manifest)
            continue
        entry = manifest.versions[manifest.current]
        found.append(
            {
                "name": name,
                "version": manifest.current,
                "versions": len(manifest.versions),
                "fingerprint": entry.fingerprint,
                "created": entry.created,
                "micrographs": dict(entry.micrographs),
                "particles": dict(entry.particles),
            }
        )
    return found, unusable


def _range(values: NDArray[Any]) -> list[Any]:
    return [values.min().item(), values.max().item()] if len(values) else []
