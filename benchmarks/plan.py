"""Planning an epoch: seconds and memory from 10,000 to 1,000,000 micrographs, and how they grow.

Makes indexes of 1,000 micrographs each with 100 particles per micrograph, and one of 1,000,000, in a temporary folder
(some 2 GB; no shards, as planning reads none). For every size it prints the seconds to open all datasets, to plan an
epoch up to its first minibatch, to resume one in its middle (plan again, and the middle step), and to plan one and go
through all of its minibatches, as a whole epoch of training does; and the peak memory of all that. Ratios are to the
first row. Each row is measured in processes of its own, after a first small dataset was opened and planned, so that
importing libraries counts nowhere; the rows take turns, so that a machine that slows down slows them all.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

SIZES = {"10": (10, 1_000), "100": (100, 1_000), "1000": (1_000, 1_000), "one": (1, 1_000_000)}
COLUMNS = ("open s", "plan s", "resume s", "epoch s", "peak MB")
PARTICLES = 100
BATCH_SIZE = 4
MINIBATCHES_PER_STEP = 16
ROUNDS = 3


def make(root: Path, datasets: int, micrographs: int) -> None:
    """Write indexes and manifests; every micrograph 800 x 800, 50 to a shard, one in ten for validation."""
    import numpy as np

    from hydrapicker.store.index import IndexMeta, Row, index_to_bytes
    from hydrapicker.store.layout import NORMALISATION, shard_name

    random = np.random.default_rng(0)
    length = 2 * 800 * 800
    rows = [
        Row(
            id=f"FoilHole_{number:08d}_fractions.mrc", split="train" if number % 10 else "val",
            shard=shard_name(number // 50), offset=number % 50 * length, length=length, dtype="float16", height=800,
            width=800, checksum=random.bytes(16).hex(), scale=0.2, original_height=4000, original_width=4000,
            pixel_size_angstrom=1.1, background_mean=random.normal(), background_std=random.uniform(),
            particles=random.uniform(0, 800, size=(PARTICLES, 2)).astype(np.float32),
        )
        for number in range(micrographs)
    ]  # fmt: skip
    for number in range(datasets):
        meta = IndexMeta(f"d{number:04d}", 21, 120.0, "dark", NORMALISATION)
        write(root, meta.dataset, index_to_bytes(rows, meta), micrographs)


def write(root: Path, name: str, index: bytes, micrographs: int) -> None:
    """Write one dataset without its shards."""
    from hydrapicker.store.index import fingerprint_of, footer_of
    from hydrapicker.store.layout import INDEX, Manifest, VersionEntry

    entry = VersionEntry(fingerprint_of(index), "", {"train": micrographs}, {}, len(index), *footer_of(index))
    (root / name / "v0001").mkdir(parents=True)
    (root / name / "v0001" / INDEX).write_bytes(index)
    (root / name / "manifest.json").write_bytes(Manifest(name, "v0001", {"v0001": entry}).to_bytes())


def peak_megabytes() -> float:
    """Most memory this process had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(root: Path, warm: Path) -> tuple[float, ...]:
    """Micrographs, the figures of ``COLUMNS``, and the MB of the libraries alone."""
    from hydrapicker.store.store import Store
    from hydrapicker.streaming.plan import Source, plan_epoch, plan_step, steps_in

    def plan(sources):
        return plan_epoch(sources, 0, 0, BATCH_SIZE)

    plan([Source.of(Store(str(warm)).open("d0000"))])[0]
    libraries = peak_megabytes()
    times = [time.perf_counter()]
    datasets = Store(str(root)).open_all(dict.fromkeys(folder.name for folder in root.iterdir()))
    times.append(time.perf_counter())
    sources = [Source.of(dataset) for dataset in datasets.values()]
    plan(sources)[0]
    times.append(time.perf_counter())
    resumed = plan(sources)
    plan_step(resumed, steps_in(resumed, MINIBATCHES_PER_STEP) // 2, MINIBATCHES_PER_STEP)
    times.append(time.perf_counter())
    micrographs = sum(len(minibatch.rows) for minibatch in plan(sources))
    times.append(time.perf_counter())
    assert micrographs == sum(len(source.rows) for source in sources)
    seconds = [after - before for before, after in pairwise(times)]
    return sum(map(len, datasets.values())), *seconds, peak_megabytes() - libraries, libraries


def main() -> None:
    """Print the table."""
    results: dict[str, list[list[float]]] = {size: [] for size in SIZES}
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            subprocess.run([sys.executable, __file__, "make", f"{folder}/{size}", *map(str, SIZES[size])], check=True)
        for _ in range(ROUNDS):
            for size in SIZES:
                command = [sys.executable, __file__, "measure", f"{folder}/{size}", f"{folder}/{next(iter(SIZES))}"]
                results[size].append([float(word) for word in subprocess.check_output(command, text=True).split()])
    medians = {
        size: [statistics.median(values) for values in zip(*rows, strict=True)] for size, rows in results.items()
    }
    first = next(iter(medians.values()))
    print(f"local disk, {PARTICLES} particles per micrograph, batches of {BATCH_SIZE}, median of {ROUNDS}")
    print(f"the libraries alone take {first[-1]:.0f} MB; peak MB is what comes on top\n")
    print(f"{'micrographs':>11}{'datasets':>9}{'ratio':>7}" + "".join(f"{title:>9}{'ratio':>7}" for title in COLUMNS))
    for size, (micrographs, *figures, _) in medians.items():
        print(f"{micrographs:11,.0f}{SIZES[size][0]:9,}{micrographs / first[0]:7.1f}", end="")
        print("".join(f"{figure:9.3f}{figure / one:7.1f}" for figure, one in zip(figures, first[1:-1], strict=True)))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", folder, datasets, micrographs]:
            make(Path(folder), int(datasets), int(micrographs))
        case ["measure", folder, warm]:
            print(*measure(Path(folder), Path(warm)))
        case _:
            main()
