"""Compiled steps against the same steps uncompiled, under DDP.

In a process of its own, as the shape checks of the tests cannot be compiled; in one, as compiling takes its time.
"""

import multiprocessing
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch._dynamo.utils import counters
from torch.nn.parallel import DistributedDataParallel

from hydrapicker.errors import InvalidInputError
from hydrapicker.streaming.loader import Batch
from hydrapicker.training.compilation import compiled, require_compiler
from hydrapicker.training.step import Step
from hydrapicker_core.losses import LossConfig
from hydrapicker_core.network import MultiHeadNetwork, NetworkConfig, Trunk, channels_last

STEPS = [["a", "b", "c", "a"], [], ["b", "c"], ["c"]]
"""Datasets of each step's minibatches; in one of them this rank is idle."""


def batch(dataset: str, number: int) -> Batch:
    generator = torch.Generator().manual_seed(number)
    images = torch.randn(2, 1, 32, 32, generator=generator)
    return Batch(dataset, images, tuple(torch.rand(2, 2, generator=generator) * 31 for _ in range(2)))


def train(*, compile: bool) -> tuple[MultiHeadNetwork, dict[str, Tensor]]:
    torch.manual_seed(0)
    network = channels_last(MultiHeadNetwork(NetworkConfig(width=2, dropout=0.3), "abc"))
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-2, momentum=0.9, fused=True)
    trunk = DistributedDataParallel(compiled(network.trunk) if compile else network.trunk)
    step = Step(network, trunk, optimiser, LossConfig(), 21, 1, autocast=False, compile=compile)
    for number, names in enumerate(STEPS):
        batches = [batch(name, 10 * number + i) for i, name in enumerate(names)]
        step.take(batches, names, sorted(set(names)) or ["a"], max(1, len(names)), seeds=range(len(names)))
    return network, network.state_dict()


def graphs() -> int:
    """How many have been compiled so far."""
    return int(counters["stats"]["unique_graphs"])


def rank_main(_: int, folder: str) -> None:
    torch.set_num_threads(1)
    Trunk.BLOCKS = 1
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=0, world_size=1)
    _, eager = train(compile=False)
    assert graphs() == 0
    network, got = train(compile=True)
    assert graphs() == 2, "the trunk, and once all heads"
    # As validation does: micrographs of many sizes through the network itself.
    with torch.no_grad():
        for side in (16, 48, 64):
            network(torch.zeros(1, 1, side, side), "a")
    assert graphs() == 2
    for name, value in eager.items():
        assert torch.allclose(got[name], value, rtol=1e-4, atol=1e-5), name
    dist.destroy_process_group()


def test_compiled_steps_are_the_steps_and_nothing_is_compiled_twice(tmp_path: Path) -> None:
    multiprocessing.set_forkserver_preload(["torch._dynamo", "hydrapicker.training.step"])
    mp.start_processes(rank_main, (str(tmp_path),), nprocs=1, start_method="forkserver")


def test_a_machine_that_cannot_compile_is_told_of_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    with pytest.raises(InvalidInputError, match=r"^this machine cannot compile .*no-such-compiler.*--loop.compile$"):
        require_compiler(torch.device("cpu"))
