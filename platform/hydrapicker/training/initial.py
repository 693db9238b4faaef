"""The weights that a training starts from, where they are a registered trunk's and heads'."""

from collections.abc import Mapping

from hydrapicker_core.network import MultiHeadNetwork, NetworkConfig, load_weights
from hydrapicker_registry.registry import LoadedHead

__all__ = ["registered_weights"]


def registered_weights(config: NetworkConfig, first: LoadedHead, heads: Mapping[str, LoadedHead]) -> dict[str, object]:
    """The state of a network with a registered head's trunk, that head as its generic one, and a head per dataset.

    Args:
        config: Size of the network, which must be the trunk's.
        first: The generic head's weights, and the trunk's.
        heads: Whose weights the head of each dataset gets; all belong to the same trunk.

    Raises:
        InvalidInputError: When the weights are of another architecture.
    """
    network = MultiHeadNetwork(config, list(heads))
    load_weights(network.trunk, first.trunk.weights, f"the trunk of {first.version.called}")
    load_weights(network.generic, first.head.weights, first.version.called)
    for dataset, head in heads.items():
        load_weights(network.head(dataset), head.head.weights, head.version.called)
    return dict(network.state_dict())
