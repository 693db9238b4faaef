"""Model cards: what a person wants to know of a head or trunk, in Markdown."""

import html
from collections.abc import Iterable, Mapping

from hydrapicker_registry.metadata import HeadMetadata, TrunkMetadata
from hydrapicker_registry.names import GENERIC


def render_card(
    metadata: TrunkMetadata | HeadMetadata, weights_sha256: str, pictures: Iterable[str], words: str = ""
) -> str:
    """Return the card of a package as Markdown.

    Parameters
    ----------
    metadata
        What the package says about itself.
    weights_sha256
        sha256 of its weights.
    pictures
        Names of PNG files beside the card, shown at its end.
    words
        Markdown by whoever makes the package, before the figures.
    """
    parts = _head(metadata) if isinstance(metadata, HeadMetadata) else _trunk(metadata)
    parts += [words.strip()] if words.strip() else []
    parts += ["## Measured", _table(("metric", "value"), _metrics(metadata))] if metadata.metrics else []
    parts += ["## Gate", *_gate(metadata)] if "gate_passed" in metadata.metrics else []
    parts += ["## Made", _table(("", ""), _origin(metadata, weights_sha256))]
    parts += [f"![{name.removesuffix('.png')}]({name})" for name in pictures]
    return "\n\n".join(parts) + "\n"


def _head(metadata: HeadMetadata) -> list[str]:
    if metadata.dataset == GENERIC:
        title, purpose = "Generic head", "Picks particles that no dataset was labelled for."
    else:
        title, purpose = f"Head {metadata.dataset}", f"Picks the particles of dataset `{metadata.dataset}`."
    rows = [
        ("trunk", f"version {metadata.trunk.version}, sha256 `{metadata.trunk.sha256}`"),
        ("particles", f"{metadata.input.contrast}, {_diameter(metadata)}"),
        ("input", f"diameter of {metadata.input.box_px} px, {_text(metadata.input.normalisation)}"),
    ]
    if metadata.dataset_fingerprint is not None:
        rows.insert(0, ("dataset", f"version {metadata.dataset_version}, sha256 `{metadata.dataset_fingerprint}`"))
    if metadata.threshold is not None:
        rows.append(("recommended threshold", f"{metadata.threshold:.3g}"))
    size = ", diameter_angstrom=120" if metadata.input.diameter_angstrom is None else ""
    call = f'load_head("{metadata.dataset}").pick("micrograph.mrc"{size})'
    use = f"```python\nfrom hydrapicker import load_head\n\n{call}\n```"
    private = "Contributed in private: no micrograph, picture of one, or name of a file has left its lab."
    return [f"# {title}", purpose, *([private] if metadata.training.private else []), use, _table(("", ""), rows)]


def _diameter(metadata: HeadMetadata) -> str:
    diameter = metadata.input.diameter_angstrom
    return "of any diameter" if diameter is None else f"{diameter:g} Å in diameter"


def _trunk(metadata: TrunkMetadata) -> list[str]:
    rows = [(name, f"`{fingerprint}`") for name, fingerprint in sorted(metadata.datasets.items())]
    return [
        "# Trunk",
        "The feature extractor that heads share.",
        f"Expects particles of {metadata.input.box_px} px in diameter, {_text(metadata.input.normalisation)}.",
        "## Trained on",
        _table(("dataset", "sha256"), rows) if rows else "No dataset is on record.",
    ]


def _metrics(metadata: TrunkMetadata | HeadMetadata) -> list[tuple[str, str]]:
    """What tells one head from another comes first."""
    names = [name for name in metadata.metrics if not name.startswith("gate_")]
    names.sort(key=lambda name: name not in ("ap", "auroc"))
    return [(_text(name), f"{metadata.metrics[name]:.4g}") for name in names]


def _gate(metadata: TrunkMetadata | HeadMetadata) -> list[str]:
    """What the gate said when the head was contributed: each margin is this head's AP minus another's."""
    metrics = metadata.metrics
    if not metrics.get("micrographs", 1):
        return ["Not judged: there were no test micrographs."]
    passed = "Passed" if metrics["gate_passed"] else "Did not pass"
    words = f"{passed}: AP on the test micrographs against that of other heads on the same micrographs."
    rivals = {"gate_generic": "generic head", "gate_champion": "champion"}
    rows = [_margin(metrics, key, name) for key, name in rivals.items() if f"{key}_version" in metrics]
    return [words, _table(("against", "its AP", "margin", "95 % interval"), rows)]


def _margin(metrics: Mapping[str, float], key: str, name: str) -> tuple[str, ...]:
    """A rival's row; on micrographs without particles nothing is measured, and on too few there is no interval."""
    ap, margin, low, high = (metrics.get(f"{key}_{end}") for end in ("ap", "margin", "margin_low", "margin_high"))
    return (
        f"{name}, version {metrics[f'{key}_version']:g}",
        "not measured" if ap is None else f"{ap:.3f}",
        "not measured" if margin is None else f"{margin:+.3f}",
        "none" if low is None or high is None else f"{low:+.3f} to {high:+.3f}",
    )


def _origin(metadata: TrunkMetadata | HeadMetadata, weights_sha256: str) -> list[tuple[str, str]]:
    training = metadata.training
    rows = [
        ("created", metadata.created),
        ("authors", _text(", ".join(metadata.authors)) or None),
        ("licence", metadata.licence and _text(metadata.licence)),
        ("cite", metadata.citation and _text(metadata.citation)),
        ("MLflow run", f"`{_text(training.run_id)}`"),
        ("code", training.git_commit and f"commit `{_text(training.git_commit)}`"),
        ("weight of the bias loss", None if training.lambda_bias is None else f"{training.lambda_bias:g}"),
        ("weights sha256", f"`{weights_sha256}`"),
    ]
    return [(name, value) for name, value in rows if value]


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def _text(value: str) -> str:
    """Return words of a contributor so that they cannot break the table or bring HTML into MLflow's pages."""
    return html.escape(" ".join(value.split()), quote=False).replace("|", "\\|")
