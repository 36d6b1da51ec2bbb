"""A batch in equal parts on as many cores, one thread each.

Inside one operation, threads wait for each other some hundred times a step, and a busy machine makes the slowest of
them the pace; here they meet once a step. Gradients are averaged; the norms' statistics are the first part's.
"""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Generator, Tensor

from models.face_mt.network import FaceNetwork

Loss = Callable[[FaceNetwork, Tensor, int, Generator], Tensor]


def _begin(device: str) -> None:
    """Of each thread: chance and grids are made where the pictures are."""
    torch.set_num_threads(1)
    if device != "cpu":  # where it would only slow every call down
        torch.set_default_device(device)


class Replicas:
    """`networks[0]` is the one that is trained; the others follow it."""

    def __init__(self, network: FaceNetwork, count: int, device: str = "cpu") -> None:
        self.networks = [network, *(copy.deepcopy(network) for _ in range(count - 1))]
        self._pool = ThreadPoolExecutor(count, initializer=_begin, initargs=(device,))

    def train(self) -> None:
        """Training mode."""
        for network in self.networks:
            network.train()

    def backward(self, loss: Loss, rows: Tensor, size: int, generators: list[Generator]) -> Tensor:
        """Gradients of the summed losses into the first network; returns the losses of the tasks, averaged."""

        def one(network: FaceNetwork, part: Tensor, generator: Generator) -> Tensor:
            network.zero_grad()
            parts = loss(network, part, size, generator)
            parts.sum().backward()  # type: ignore[no-untyped-call]
            return parts.detach()

        results = list(self._pool.map(one, self.networks, rows.chunk(len(self.networks)), generators))
        first = [p.grad for p in self.networks[0].parameters() if p.grad is not None]
        for network in self.networks[1:]:
            torch._foreach_add_(first, [p.grad for p in network.parameters() if p.grad is not None])
        torch._foreach_div_(first, float(len(self.networks)))
        return torch.stack(results).mean(0)

    @torch.no_grad()
    def follow(self) -> None:
        """Gives all networks the weights of the first, after its step."""
        for network in self.networks[1:]:
            torch._foreach_copy_(list(network.parameters()), list(self.networks[0].parameters()))
