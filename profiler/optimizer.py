"""AdamW on fp32 master weights of a model that may compute in less (mixed precision, arXiv:1710.03740 §3.1)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

LEARNING_RATE = 1e-5
CLIP_NORM = 1.0
"""Largest gradient norm, as usual in training Llama-like models."""


class MasterOptimizer:
    """Keeps fp32 copies of narrower weights, and fp32 gradients; weights that are fp32 are their own masters."""

    def __init__(self, weights: Sequence[Tensor], *, kernels: Literal["fused", "foreach"]) -> None:
        """`kernels`: one kernel for the whole update, or one for each of its operations, over many tensors."""
        self._weights = list(weights)
        self._narrow = self._weights[0].dtype != torch.float32
        self.masters = self._weights
        if self._narrow:
            self.masters = [weight.detach().float().requires_grad_() for weight in self._weights]
            for master in self.masters:
                master.grad = torch.zeros_like(master)
        self._adam = torch.optim.AdamW(
            self.masters, lr=LEARNING_RATE, fused=kernels == "fused", foreach=kernels == "foreach"
        )

    def collect_gradients(self) -> list[Tensor]:
        """Bring the weights' gradients to fp32; returns the masters' gradients."""
        gradients = [master.grad for master in self.masters]
        if self._narrow:
            torch._foreach_copy_(gradients, [weight.grad for weight in self._weights])
        return gradients

    def step(self) -> None:
        """Update the masters, and the weights after them."""
        self._adam.step()
        if self._narrow:
            with torch.no_grad():
                torch._foreach_copy_(self._weights, self.masters)


def clip(gradients: Sequence[Tensor]) -> Tensor:
    """Scale `gradients` of one rank to a norm of at most `CLIP_NORM`, without the host waiting; return their norm.

    Under tensor parallelism the squares would have to be summed over the ranks first.
    """
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))
    scale = (CLIP_NORM / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(list(gradients), scale)
    return norm
