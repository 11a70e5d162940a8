"""The workloads that belong to a device and no model: its ceilings, a step's update of weights, kernel launches."""

from collections.abc import Callable

import torch
from torch import Tensor

from profiler.files import InputError
from profiler.optimizer import MasterOptimizer, clip
from profiler.points import Point
from profiler.timing import Runnable

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ROTATING_PAIRS = 2
"""Operands alternate, so that one product does not find the last one's in cache."""
LAUNCHES = 500
"""Below the depth of a GPU's launch queue (1,024), so that the host never waits for it."""
SEED = 20_240_731
_TENSOR_ELEMENTS = 2**24
"""Parameters come in tensors about as large as a model's own."""


def prepare_shapeless(point: Point, device: torch.device) -> Runnable:
    """Build one of `profiler.points.SHAPELESS` on `device`, ready to repeat."""
    return _WORKLOADS[point.workload](point, device)


def _tensors(count: int, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """`count` random elements in tensors of a model's usual size."""
    sizes = [_TENSOR_ELEMENTS] * (count // _TENSOR_ELEMENTS)
    sizes += [count % _TENSOR_ELEMENTS] if count % _TENSOR_ELEMENTS else []
    return [torch.randn(size, device=device, dtype=dtype) for size in sizes]


def _optimizer(point: Point, device: torch.device) -> Runnable:
    """One AdamW step as training takes it: gradients to fp32, the update, masters back to the model's precision."""
    weights = [tensor.requires_grad_() for tensor in _tensors(point.size or 1, device, DTYPES[point.precision])]
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    optimizer = MasterOptimizer(weights, kernels=point.optimizer_kernels or "fused")

    def step(_: int) -> None:
        optimizer.collect_gradients()
        optimizer.step()

    return Runnable(forward=step)


def _grad_norm(point: Point, device: torch.device) -> Runnable:
    gradients = _tensors(point.size or 1, device, torch.float32)
    return Runnable(forward=lambda _: clip(gradients))


def _launch(_point: Point, device: torch.device) -> Runnable:
    one = torch.zeros(1, device=device)

    def launch(_: int) -> None:
        for _ in range(LAUNCHES):
            one.zero_()

    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    return Runnable(forward=launch, reset=wait, calls=LAUNCHES)


def _matmul(point: Point, device: torch.device) -> Runnable:
    size = point.size or 1
    if point.precision == "fp8":
        return _fp8_matmul(size, device)
    dtype = DTYPES[point.precision]
    pairs = [
        tuple(torch.randn(size, size, device=device, dtype=dtype) for _ in range(2)) for _ in range(ROTATING_PAIRS)
    ]
    output = torch.empty(size, size, device=device, dtype=dtype)
    return Runnable(forward=lambda i: torch.matmul(*pairs[i % ROTATING_PAIRS], out=output))


def _fp8_matmul(size: int, device: torch.device) -> Runnable:
    """A product of e4m3 matrices scaled per tensor, its result bf16, partial sums in the tensor cores' own width.

    That is how fp8 training runs its forward products (arXiv:2209.05433); operands are cast beforehand.
    """
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 9):
        raise InputError("this device has no fp8 tensor cores (Hopper and Ada have).")

    def operand() -> Tensor:
        return torch.randn(size, size, device=device, dtype=torch.bfloat16).to(torch.float8_e4m3fn)

    pairs = [(operand(), operand().t()) for _ in range(ROTATING_PAIRS)]  # cuBLAS takes the second by columns
    one = torch.ones((), device=device, dtype=torch.float32)

    def product(i: int) -> Tensor:
        a, b = pairs[i % ROTATING_PAIRS]
        y: Tensor = torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=True)
        return y

    return Runnable(forward=product)


def _copy(point: Point, device: torch.device) -> Runnable:
    # random: constants toggle no wires, and draw less power than a step's numbers do
    source = torch.randint(0, 256, (point.size or 1,), device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    return Runnable(forward=lambda _: target.copy_(source))


_WORKLOADS: dict[str, Callable[[Point, torch.device], Runnable]] = {
    "optimizer": _optimizer,
    "grad_norm": _grad_norm,
    "launch": _launch,
    "matmul": _matmul,
    "copy": _copy,
}
