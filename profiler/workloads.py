"""The workloads of a model's layers as things that run, ready to repeat."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from profiler.architecture import ModelArchitecture
from profiler.device_workloads import DTYPES, SEED, prepare_shapeless
from profiler.llama import (
    Attention,
    Block,
    Head,
    LlamaSettings,
    Mlp,
    RmsNorm,
    embedding,
    initialise,
    rope_tables,
)
from profiler.points import SHAPELESS, Point
from profiler.power import PowerMeter
from profiler.sharding import rank_share
from profiler.timing import Runnable
from profiler.world import World

ROTATING_INPUTS = 2
"""Inputs alternate, so that one repetition does not find the last one's input in cache."""
MOST_ROTATING_INPUTS = 16


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every measurement of a run shares."""

    architectures: tuple[ModelArchitecture, ...]
    world: World
    meter: PowerMeter

    def __post_init__(self) -> None:
        # After every point unreachable tensors are looked for; what torch itself consists of need not be searched.
        gc.freeze()

    def architecture(self, point: Point) -> ModelArchitecture | None:
        """The whole model that a point belongs to, if it belongs to one."""
        return next((a for a in self.architectures if a.name == point.model), None)

    def share(self, point: Point) -> ModelArchitecture:
        """One rank's share of the point's model."""
        return rank_share(self._model(point), point.tp)

    def built(self, point: Point) -> ModelArchitecture:
        """What to build: FairScale divides it among several ranks; a world of one builds one rank's share."""
        return self._model(point) if self.world.ranks > 1 else self.share(point)

    def _model(self, point: Point) -> ModelArchitecture:
        found = self.architecture(point)
        assert found is not None, f"{point.workload} of an unknown model"
        return found


def prepare(point: Point, bench: Bench) -> Runnable:
    """Build a point's modules and inputs on the device, ready to repeat."""
    if point.workload in SHAPELESS:
        return prepare_shapeless(point, bench.world.device)
    with default_dtype(DTYPES[point.precision]):
        return _LAYERS[point.workload](point, bench.built(point), bench)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """FairScale's layers take torch's default dtype and nothing else."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _place(module: nn.Module, bench: Bench) -> nn.Module:
    module.to_empty(device=bench.world.device)  # weights are drawn there: no need to carry what FairScale left
    initialise(module, seed=SEED + bench.world.rank)
    return module


def settings_of(point: Point) -> LlamaSettings:
    return LlamaSettings(
        attention_backend=point.attention_backend or "math",  # type: ignore[arg-type]
        collective_layout=point.collective_layout or "shared",  # type: ignore[arg-type]
        recompute=point.recompute,
    )


def _differentiable(
    point: Point,
    function: Callable[..., Any],
    inputs: list[tuple[Tensor, ...]],
    module: nn.Module | None = None,
) -> Runnable:
    """Repeat `function` on rotating inputs and its backward pass from gradients of ones' size."""
    run = torch.compile(function, fullgraph=True, dynamic=False) if point.execution == "compiled" else function
    dropped = [t for group in inputs for t in group if t.requires_grad]
    if module is not None and not point.accumulates:
        dropped += module.parameters()
    with torch.no_grad():  # for the outputs' shapes
        outputs = _as_tuple(function(*inputs[0]))
    gradients = tuple(torch.ones_like(y) if y.dim() == 0 else torch.randn_like(y) for y in outputs)
    del outputs

    def reset() -> None:
        for tensor in dropped:
            tensor.grad = None

    return Runnable(
        forward=lambda i: _as_tuple(run(*inputs[i % len(inputs)])),
        backward=lambda ys: torch.autograd.backward(ys, gradients),
        reset=reset,
    )


def _as_tuple(value: Any) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


def _random(point: Point, bench: Bench, *last: int) -> Tensor:
    """An activation (B, S, *last) that wants a gradient."""
    shape = (point.micro_batch, point.seq_len, *last)
    return torch.randn(shape, device=bench.world.device, requires_grad=True)


def _rotating(bench: Bench, make: Callable[[], tuple[Tensor, ...]]) -> list[tuple[Tensor, ...]]:
    """As many inputs as overflow a GPU's cache, within reason."""
    first = make()
    count = ROTATING_INPUTS
    if bench.world.device.type == "cuda":
        cache = getattr(torch.cuda.get_device_properties(bench.world.device), "L2_cache_size", 0)
        one = sum(tensor.nbytes for tensor in first if tensor.requires_grad)
        count = min(max(ceil(2 * cache / one), ROTATING_INPUTS), MOST_ROTATING_INPUTS)
    return [first, *(make() for _ in range(count - 1))]


def _tokens(point: Point, bench: Bench, number: int = 0) -> Tensor:
    """Token numbers (B, S), the same on every rank, over the vocabulary that this world's ranks hold."""
    shape = (point.micro_batch, point.seq_len)
    generator = torch.Generator().manual_seed(SEED + number)
    vocab = bench.built(point).vocab
    return torch.randint(vocab, shape, generator=generator).to(bench.world.device)


def _block(point: Point, built: ModelArchitecture, bench: Bench) -> Runnable:
    block = _place(Block(built, settings_of(point)), bench)
    tables = rope_tables(built, point.seq_len, bench.world.device)
    inputs = _rotating(bench, lambda: (_random(point, bench, built.hidden), *tables))
    return _differentiable(point, block, inputs, block)


def _qkv(point: Point, built: ModelArchitecture, bench: Bench) -> Runnable:
    attention = Attention(built, settings_of(point))
    del attention.wo  # its weight would count as memory of this part
    _place(attention, bench)
    inputs = _rotating(bench, lambda: (_random(point, bench, built.hidden),))
    return _differentiable(point, attention.project, inputs, attention)


def _attention(point: Point, built: ModelArchitecture, bench: Bench) -> Runnable:
    attention = Attention(built, settings_of(point))  # its weights, unused here, stay off the device
    share = bench.share(point)
    heads, kv_heads, width = share.heads, share.kv_heads, share.head_dim
    tables = rope_tables(built, point.seq_len, bench.world.device)

    def heads_of(count: int) -> Tensor:
        return _random(point, bench, count, width)

    def gathered() -> Tensor:
        shape = (point.micro_batch, point.context_len or 0, kv_heads, width)
        return torch.randn(shape, device=bench.world.device, requires_grad=True)

    if point.context_len:
        inputs = _rotating(bench, lambda: (heads_of(heads), heads_of(kv_heads), gathered(), gathered(), *tables))
        return _differentiable(point, attention.attend_context, inputs)
    inputs = _rotating(bench, lambda: (heads_of(heads), heads_of(kv_heads), heads_of(kv_heads), *tables))
    return _differentiable(point, attention.attend, inputs)


def _attention_out(point: Point, built: ModelArchitecture, bench: Bench) -> Runnable:
    output = _place(Attention(built, settings_of(point)).wo, bench)
    width = bench.share(point).attention_width
    inputs = _rotating(bench, lambda: (_random(point, bench, width),))
    return _differentiable(point, output, inputs, output)


def _mlp(point: Point, built: ModelArchitecture, bench: Bench) -> Runnable:
    mlp = _place(Mlp(built, settings_of(point)), bench)
    inputs = _rotating(bench, lambda: (_random(point, bench, built.hidden),))
    return _differentiable(point, mlp, inputs, mlp)


def _norms(point: Point, built: ModelArchitecture, bench: Bench) -> Runnable:
    norms = nn.ModuleList(RmsNorm(built.hidden, built.norm_eps) for _ in range(2))
    _place(norms, bench)

    def both(x: Tensor) -> Tensor:
        h = x + norms[0](x)
        y: Tensor = h + norms[1](h)
        return y

    inputs = _rotating(bench, lambda: (_random(point, bench, built.hidden),))
    return _differentiable(point, both, inputs, norms)


def _embedding(point: Point, built: ModelArchitecture, bench: Bench) -> Runnable:
    module = _place(embedding(built), bench)
    inputs = [(_tokens(point, bench, i),) for i in range(ROTATING_INPUTS)]
    return _differentiable(point, module, inputs, module)


def _head_loss(point: Point, built: ModelArchitecture, bench: Bench) -> Runnable:
    head = _place(Head(built), bench)
    targets = _tokens(point, bench)
    inputs = _rotating(bench, lambda: (_random(point, bench, built.hidden), targets))
    return _differentiable(point, head, inputs, head)


_LAYERS: dict[str, Callable[[Point, ModelArchitecture, Bench], Runnable]] = {
    "block": _block,
    "qkv": _qkv,
    "attention": _attention,
    "attention_out": _attention_out,
    "mlp": _mlp,
    "norms": _norms,
    "embedding": _embedding,
    "head_loss": _head_loss,
}
