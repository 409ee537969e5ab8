"""Two processes are one: uneven shards take the same step and see the same statistics."""

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from embodied.data.normalize import RunningNorm
from embodied.distributed import whiten
from tests.unit.test_optimize import make, parameters_after_one_step

SHARDS = slice(0, 11), slice(11, None)  # uneven on purpose
X = torch.linspace(-3, 5, 48).view(-1, 1) ** 2


def _rank(rank, folder):
    torch.set_num_threads(1)
    policy, whole = make()  # before the ranks meet: both hold the whole rollout, and would whiten it twice over
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    parameters, metrics = parameters_after_one_step(policy, whole[SHARDS[rank]], micro_batch=7)
    norm = RunningNorm(1)
    norm.track(X[SHARDS[rank]])
    whitened = whiten(X[SHARDS[rank]], X[SHARDS[rank]] > 1)
    seen = {"parameters": parameters, "loss": torch.tensor(metrics["loss"]), "whitened": whitened}
    torch.save(seen | dict(norm.named_buffers()), f"{folder}/{rank}.pt")
    dist.barrier()  # a rank that leaves while another still reduces dies in gloo's teardown (SIGABRT)
    dist.destroy_process_group()


def test_two_ranks_with_uneven_shards_are_one_process(tmp_path):
    spawn(_rank, (str(tmp_path),), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    parameters, metrics = parameters_after_one_step(*make(), micro_batch=10_000)
    norm = RunningNorm(1)
    norm.track(X)
    for seen in ranks:
        torch.testing.assert_close(seen["parameters"], parameters)
        torch.testing.assert_close(seen["loss"], torch.tensor(metrics["loss"]))
        torch.testing.assert_close(seen["mean"], norm.mean)
        torch.testing.assert_close(seen["variance"], norm.variance)
    torch.testing.assert_close(torch.cat([seen["whitened"] for seen in ranks]), whiten(X, X > 1))
