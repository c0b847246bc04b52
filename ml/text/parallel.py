"""One process, or the several that `torchrun` started, each with a batch of every step: the gradients of the whole."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True)
class Parallel:
    """This process's place. Every process knows the whole plan of batches and takes every `world`-th of a step.

    Losses are sums over the step's totals, so adding up gradients gives what one process would have computed.
    """

    rank: int
    world: int
    device: torch.device

    @staticmethod
    def from_environment() -> Parallel:
        """Read what `torchrun` set and join its group; alone where nothing is set."""
        world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        cuda = torch.cuda.is_available()
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(device)
        if world > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if cuda else "gloo")
        return Parallel(rank, world, device)

    @property
    def first(self) -> bool:
        """Whether this process speaks for all: it prints, saves and registers."""
        return self.rank == 0

    def add_up(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Sum the gradients over all processes, in one message."""
        if self.world == 1:
            return
        given = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = torch.cat([gradient.flatten() for gradient in given])
        distributed.all_reduce(flat)
        for parameter, gradient in zip(parameters, flat.split([g.numel() for g in given]), strict=True):
            parameter.grad = gradient.view_as(parameter)

    def copied(self, parameter: torch.nn.Parameter) -> torch.Tensor:
        """A parameter's gradient, to be summed over all processes while each keeps its own; alone it is itself."""
        if parameter.grad is None:
            return torch.zeros_like(parameter)
        return parameter.grad if self.world == 1 else parameter.grad.clone()

    def add_in(self, value: torch.Tensor) -> None:
        """Sum a tensor over all processes, in place."""
        if self.world > 1:
            distributed.all_reduce(value)

    def gathered(self, value: torch.Tensor) -> list[torch.Tensor]:
        """What each process has, by rank, on all of them; shapes are the same."""
        if self.world == 1:
            return [value]
        mine = value.to(self.device)
        found = [torch.empty_like(mine) for _ in range(self.world)]
        distributed.all_gather(found, mine)
        return found

    def summed(self, value: float) -> float:
        """The sum of a number over all processes."""
        if self.world == 1:
            return value
        found = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.all_reduce(found)
        return float(found)

    def agreed(self, value: float) -> float:
        """The first process's number, on all: decisions that follow from it are the same everywhere."""
        if self.world == 1:
            return value
        found = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(found, 0)
        return float(found)

    def memory_mib(self) -> float:
        """Largest memory so far: of the GPU where there is one, else of this process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    def free(self) -> None:
        """Give cached memory back before a smaller try."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
