"""Compiled steps against the same steps uncompiled, in two processes with DDP."""

import multiprocessing
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from torch._dynamo.utils import counters
from torch.nn.parallel import DistributedDataParallel

from hydrapicker.errors import InvalidInputError
from hydrapicker.streaming.loader import Batch
from hydrapicker.training.compilation import compiled, require_compiler
from hydrapicker.training.step import Step
from hydrapicker_core.losses import LossConfig
from hydrapicker_core.network import MultiHeadNetwork, NetworkConfig, channels_last

STEPS = [["a", "b", "c", "a"], ["b", "c"], ["c"]]
"""Datasets of each step's minibatches, of which the two ranks take every other one; in the last, one rank is idle."""


def batch(dataset: str, number: int) -> Batch:
    generator = torch.Generator().manual_seed(number)
    images = torch.randn(2, 1, 32, 32, generator=generator)
    return Batch(dataset, images, tuple(torch.rand(2, 2, generator=generator) * 31 for _ in range(2)))


def train(rank: int, *, compile: bool) -> MultiHeadNetwork:
    torch.manual_seed(0)
    network = channels_last(MultiHeadNetwork(NetworkConfig(width=2, dropout=0.3), "abc"))
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-2, momentum=0.9, fused=True)
    trunk = DistributedDataParallel(compiled(network.trunk) if compile else network.trunk)
    step = Step(network, trunk, optimiser, LossConfig(), 21, 2, autocast=False, compile=compile)
    for number, names in enumerate(STEPS):
        mine = list(range(len(names)))[rank::2]
        batches = [batch(names[i], 10 * number + i) for i in mine]
        step.take(batches, [names[i] for i in mine], sorted(set(names)), len(names), seeds=mine)
    return network


def rank_main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    for name in ("eager", "compiled"):
        network = train(rank, compile=name == "compiled")
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, f"{folder}/{name}.{rank}")
        assert counters["stats"]["unique_graphs"] == (2 if name == "compiled" else 0), "the trunk, and once all heads"
    # As validation does: micrographs of many sizes through the network itself.
    with torch.no_grad():
        for side in (16, 48, 64):
            network(torch.zeros(1, 1, side, side), "a")
    assert counters["stats"]["unique_graphs"] == 2
    dist.destroy_process_group()


def test_compiled_steps_are_the_steps_and_nothing_is_compiled_twice(tmp_path: Path) -> None:
    multiprocessing.set_forkserver_preload(["torch._dynamo", "hydrapicker.training.step"])
    mp.start_processes(rank_main, (str(tmp_path),), nprocs=2, start_method="forkserver")
    for rank in range(2):
        eager, got = (load_file(tmp_path / f"{name}.{rank}") for name in ("eager", "compiled"))
        for name, value in eager.items():
            assert torch.allclose(got[name], value, rtol=1e-4, atol=1e-5), name


def test_a_machine_that_cannot_compile_is_told_of_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    with pytest.raises(InvalidInputError, match=r"^this machine cannot compile .*no-such-compiler.*--loop.compile$"):
        require_compiler(torch.device("cpu"))
