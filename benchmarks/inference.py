"""A whole micrograph through the network: channels-last against contiguous memory, bands against one pass.

Prints seconds and peak memory of one forward pass through trunk and one head, and their ratios to the first row. Each
row is measured in a process of its own; the rows take turns, so that a machine that slows down slows them all.
"""

import resource
import statistics
import subprocess
import sys
import time

SIDE_PX = 1024
ROUNDS = 3
VARIANTS = {
    "one pass, contiguous": ("contiguous", "one-pass"),
    "one pass, channels last": ("channels-last", "one-pass"),
    "in bands, channels last": ("channels-last", "bands"),
}


def measure(layout: str, passes: str, width: int) -> tuple[float, float]:
    """Seconds and peak MB of one pass; runs in a process of its own."""
    import torch

    from hydrapicker_core.inference import head_outputs
    from hydrapicker_core.network import GENERIC, MultiHeadNetwork, NetworkConfig, channels_last

    torch.manual_seed(0)
    network = MultiHeadNetwork(NetworkConfig(width=width)).eval()
    if layout == "channels-last":
        channels_last(network)
    bound_gib = 0.0 if passes == "bands" else float("inf")
    heads = {GENERIC: network.generic}
    head_outputs(network.trunk, heads, torch.randn(64, 64), bound_gib)  # libraries load what they need
    image = torch.randn(SIDE_PX, SIDE_PX)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    head_outputs(network.trunk, heads, image, bound_gib)
    seconds = time.perf_counter() - start
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    """Print the table for the paper's width and the demo's."""
    for width in (64, 12):
        results: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
        for _ in range(ROUNDS):
            for name, arguments in VARIANTS.items():
                command = [sys.executable, __file__, *arguments, str(width)]
                seconds, megabytes = subprocess.check_output(command, text=True).split()
                results[name].append((float(seconds), float(megabytes)))
        medians = {n: tuple(map(statistics.median, zip(*rows, strict=True))) for n, rows in results.items()}
        first = next(iter(medians.values()))
        print(f"\nwidth {width}, {SIDE_PX} x {SIDE_PX} working pixels, median of {ROUNDS}")
        print(f"{'':26}{'seconds':>9}{'ratio':>8}{'peak MB':>10}{'ratio':>8}")
        for name, (seconds, megabytes) in medians.items():
            print(f"{name:26}{seconds:9.2f}{seconds / first[0]:8.2f}{megabytes:10.0f}{megabytes / first[1]:8.2f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(*measure(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    else:
        main()
