"""From packages to networks that compute."""

from dataclasses import fields

import torch

from hydrapicker_core.network import Head, NetworkConfig, Trunk, channels_last, load_weights
from hydrapicker_registry.errors import PackageError
from hydrapicker_registry.package import HeadPackage, TrunkPackage, check_trunk


def build_modules(head: HeadPackage, trunk: TrunkPackage) -> tuple[Trunk, Head]:
    """The trunk and the head of two packages, in evaluation mode.

    Raises:
        TrunkMismatchError: When the head was trained on another trunk.
        PackageError: When the network has what this HydraPicker does not know, or weights are missing.
    """
    metadata = head.metadata
    named = f"head {metadata.dataset!r}"
    check_trunk(head, trunk, named)
    unknown = metadata.architecture.keys() - {field.name for field in fields(NetworkConfig)}
    if unknown:
        raise PackageError(
            f"{named} has a network with {', '.join(sorted(unknown))}, which this HydraPicker does not know: upgrade it"
        )
    config = NetworkConfig(**metadata.architecture)  # type: ignore[arg-type]  # checked when it was built
    with torch.random.fork_rng(devices=()):  # nobody's random numbers change because a head was loaded
        modules = Trunk(config), Head(config)
    for module, package, called in zip(modules, (trunk, head), (f"trunk of {named}", named), strict=True):
        load_weights(module, package.weights, called)
        channels_last(module.eval())
    return modules
