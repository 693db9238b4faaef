"""What there is to say about a dataset, ready for JSON; nothing here prints."""

from typing import Any

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
        "particles": {split: sum(len(rows[i].particles) for i in dataset.split(split)) for split in SPLITS},
        "diameter_angstrom": dataset.diameter_angstrom,
        "box_px": dataset.box_px,
        "contrast": dataset.contrast,
        "normalisation": dataset.meta.normalisation,
        "pixel_size_angstrom": _range([row.pixel_size_angstrom for row in rows]),
        "height": _range([row.original_height for row in rows]),
        "width": _range([row.original_width for row in rows]),
        "working_height": _range([row.height for row in rows]),
        "working_width": _range([row.width for row in rows]),
        "shards": len({row.shard for row in rows}),
        "megabytes": round(sum(row.length for row in rows) / 1e6, 3),
    }


def summaries(store: Store) -> list[dict[str, Any]]:
    """Summarise every dataset of a store from its manifest alone, sorted by name."""
    found = []
    for name in store.names():
        manifest = store.manifest(name)
        if manifest is None:  # removed since it was listed
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
    return found


def _range(values: list[Any]) -> list[Any]:
    return [min(values), max(values)] if values else []
