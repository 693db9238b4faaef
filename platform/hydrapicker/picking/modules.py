"""From packages to networks that compute."""

from dataclasses import fields

import torch

from hydrapicker_core.network import Head, NetworkConfig, Trunk, channels_last, load_weights
from hydrapicker_registry.errors import PackageError
from hydrapicker_registry.package import HeadPackage, TrunkPackage, check_trunk


def build_modules(head: HeadPackage, trunk: TrunkPackage, version: int | None = None) -> tuple[Trunk, Head]:
    """The trunk and the head of two packages, in evaluation mode; the head's version is for messages.

    Raises:
        TrunkMismatchError: When the head was trained on another trunk.
        PackageError: When the network has what this HydraPicker does not know, or weights are missing.
    """
    metadata = head.metadata
    named = f"head {metadata.dataset!r}" + (f" version {version}" if version else "")
    check_trunk(head, trunk, named)
    unknown = metadata.architecture.keys() - {field.name for field in fields(NetworkConfig)}
    if unknown:
        raise PackageError(
            f"{named} has a network with {', '.join(sorted(unknown))}, which this HydraPicker does not know: upgrade it"
        )
    config = NetworkConfig(**metadata.architecture)  # type: ignore[arg-type]  # checked when it was built
    with torch.device("meta"):  # no time goes into random numbers that are replaced at once
        modules = Trunk(config), Head(config)
    load_weights(modules[0], trunk.weights, f"trunk of {named}")
    load_weights(modules[1], head.weights, named)
    for module in modules:
        channels_last(module.eval())
    return modules
