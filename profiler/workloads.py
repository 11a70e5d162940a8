"""The workloads of a profile as things that run, and one measured point as a `LayerRow`."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from profiler.architecture import ModelArchitecture
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
from profiler.points import SHAPELESS, Point, work_of
from profiler.power import PowerMeter, PowerReading
from profiler.profile import LayerRow, Status
from profiler.sharding import rank_share
from profiler.timing import HostClock, Runnable, Timing, clock_for, time_runnable
from profiler.world import World, use_tensor_parallel

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ROTATING_INPUTS = 2
"""Inputs alternate, so that one repetition does not find the last one's input in cache."""
LAUNCHES = 500
"""Below the depth of a GPU's launch queue (1,024), so that the host never waits for it."""
_TENSOR_ELEMENTS = 2**24
"""Parameters come in tensors about as large as a model's own."""
_SEED = 20_240_731


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every measurement of a run shares."""

    architecture: ModelArchitecture
    world: World
    meter: PowerMeter

    def built(self, tp: int) -> ModelArchitecture:
        """What to build: FairScale divides it among several ranks; a world of one builds one rank's share."""
        return self.architecture if self.world.ranks > 1 else rank_share(self.architecture, tp)


def measure(point: Point, bench: Bench, window_s: float) -> LayerRow:
    """Measure one point for about `window_s` seconds; what fails becomes a row that says how."""
    work = asdict(work_of(point, bench.architecture))
    try:
        timing, reading, peak_bytes = _measure(point, bench, window_s)
    except Exception as error:
        status: Status = "oom" if _is_out_of_memory(error) else "error"
        message = " ".join(str(error).split())[:300] or type(error).__name__
        return LayerRow(**asdict(point), **work, origin="measured", status=status, message=message)
    finally:
        _release(point, bench.world.device)
    return LayerRow(
        **asdict(point),
        **work,
        **_times(timing),
        **_power(reading, timing, point),
        origin="measured",
        peak_bytes=peak_bytes,
    )


def _measure(point: Point, bench: Bench, window_s: float) -> tuple[Timing, PowerReading, int | None]:
    device = bench.world.device
    use_tensor_parallel(point.tp if bench.world.ranks > 1 else 1)
    torch.manual_seed(_SEED + bench.world.rank)
    runnable = prepare(point, bench)
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    # launches are the host's work, whatever the device
    clock = HostClock() if point.workload == "launch" else clock_for(device)
    timing = time_runnable(runnable, clock, window_s, watching=bench.meter.watch, agree=bench.world.agree)
    return timing, bench.meter.last, torch.cuda.max_memory_allocated(device) if on_gpu else None


def _times(timing: Timing) -> dict[str, Any]:
    backward = timing.backward
    return {
        "forward_s": timing.forward.median_s,
        "forward_p10_s": timing.forward.p10_s,
        "forward_p90_s": timing.forward.p90_s,
        "backward_s": backward.median_s if backward else None,
        "backward_p10_s": backward.p10_s if backward else None,
        "backward_p90_s": backward.p90_s if backward else None,
        "repetitions": timing.repetitions,
    }


def _power(reading: PowerReading, timing: Timing, point: Point) -> dict[str, Any]:
    """Power of the window, and the energy of one repetition (forward with its backward)."""
    passes = timing.repetitions * (LAUNCHES if point.workload == "launch" else 1)
    return {
        "power_mean_w": reading.mean_w,
        "power_p95_w": reading.p95_w,
        "energy_j": None if reading.energy_j is None else reading.energy_j / passes,
        "power_source": reading.source,
        "sm_clock_mhz": reading.sm_clock_mhz,
        "temperature_c": reading.temperature_c,
        "throttle_reasons": ", ".join(reading.throttle_reasons),
    }


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "can't allocate memory" in str(error)  # torch's CPU allocator


def _release(point: Point, device: torch.device) -> None:
    if point.execution == "compiled":
        torch.compiler.reset()  # this point's compiled shapes would count against the next one's limit
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def prepare(point: Point, bench: Bench) -> Runnable:
    """Build a point's modules and inputs on the device, ready to repeat."""
    device, dtype = bench.world.device, DTYPES[point.precision]
    if point.workload in SHAPELESS:
        return _SHAPELESS[point.workload](point, device, dtype)
    built = bench.built(point.tp)
    with _default_dtype(dtype):
        return _LAYERS[point.workload](point, built, bench)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """FairScale's layers take torch's default dtype and nothing else."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _place(module: nn.Module, bench: Bench) -> nn.Module:
    module.to(bench.world.device)
    initialise(module, seed=_SEED + bench.world.rank)
    return module


def _settings(point: Point) -> LlamaSettings:
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
    leaves = [t for group in inputs for t in group if t.requires_grad]
    parameters = [] if module is None else list(module.parameters())
    with torch.no_grad():  # for the outputs' shapes
        outputs = _as_tuple(function(*inputs[0]))
    gradients = tuple(torch.ones_like(y) if y.dim() == 0 else torch.randn_like(y) for y in outputs)
    del outputs

    def reset() -> None:
        for tensor in (*leaves, *parameters):
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


def _rotating(make: Callable[[], tuple[Tensor, ...]]) -> list[tuple[Tensor, ...]]:
    return [make() for _ in range(ROTATING_INPUTS)]


def _tokens(point: Point, bench: Bench) -> Tensor:
    """Token numbers (B, S), the same on every rank, over the vocabulary that this world's ranks hold."""
    shape = (point.micro_batch, point.seq_len)
    generator = torch.Generator().manual_seed(_SEED)
    vocab = bench.built(point.tp).vocab
    return torch.randint(vocab, shape, generator=generator).to(bench.world.device)


def _block(point: Point, built: ModelArchitecture, bench: Bench) -> Runnable:
    block = _place(Block(built, _settings(point)), bench)
    tables = rope_tables(built, point.seq_len, bench.world.device)
    inputs = _rotating(lambda: (_random(point, bench, built.hidden), *tables))
    return _differentiable(point, block, inputs, block)


def _qkv(point: Point, built: ModelArchitecture, bench: Bench) -> Runnable:
    attention = Attention(built, _settings(point))
    del attention.wo  # its weight would count as memory of this part
    _place(attention, bench)
    inputs = _rotating(lambda: (_random(point, bench, built.hidden),))
    return _differentiable(point, attention.project, inputs, attention)


def _attention(point: Point, built: ModelArchitecture, bench: Bench) -> Runnable:
    attention = Attention(built, _settings(point))  # its weights, unused here, stay off the device
    share = rank_share(bench.architecture, point.tp)
    heads, kv_heads, width = share.heads, share.kv_heads, share.head_dim
    tables = rope_tables(built, point.seq_len, bench.world.device)

    def heads_of(count: int) -> Tensor:
        return _random(point, bench, count, width)

    inputs = _rotating(lambda: (heads_of(heads), heads_of(kv_heads), heads_of(kv_heads), *tables))
    return _differentiable(point, attention.attend, inputs)


def _attention_out(point: Point, built: ModelArchitecture, bench: Bench) -> Runnable:
    output = _place(Attention(built, _settings(point)).wo, bench)
    width = rank_share(bench.architecture, point.tp).attention_width
    inputs = _rotating(lambda: (_random(point, bench, width),))
    return _differentiable(point, output, inputs, output)


def _mlp(point: Point, built: ModelArchitecture, bench: Bench) -> Runnable:
    mlp = _place(Mlp(built, _settings(point)), bench)
    inputs = _rotating(lambda: (_random(point, bench, built.hidden),))
    return _differentiable(point, mlp, inputs, mlp)


def _norms(point: Point, built: ModelArchitecture, bench: Bench) -> Runnable:
    norms = nn.ModuleList(RmsNorm(built.hidden, built.norm_eps) for _ in range(2))
    _place(norms, bench)

    def both(x: Tensor) -> Tensor:
        h = x + norms[0](x)
        y: Tensor = h + norms[1](h)
        return y

    inputs = _rotating(lambda: (_random(point, bench, built.hidden),))
    return _differentiable(point, both, inputs, norms)


def _embedding(point: Point, built: ModelArchitecture, bench: Bench) -> Runnable:
    module = _place(embedding(built), bench)
    return _differentiable(point, module, [(_tokens(point, bench),)], module)


def _head_loss(point: Point, built: ModelArchitecture, bench: Bench) -> Runnable:
    head = _place(Head(built), bench)
    targets = _tokens(point, bench)
    inputs = _rotating(lambda: (_random(point, bench, built.hidden), targets))
    return _differentiable(point, head, inputs, head)


def _parameters(count: int, device: torch.device) -> list[Tensor]:
    sizes = [_TENSOR_ELEMENTS] * (count // _TENSOR_ELEMENTS)
    sizes += [count % _TENSOR_ELEMENTS] if count % _TENSOR_ELEMENTS else []
    return [torch.randn(size, device=device, dtype=torch.float32) for size in sizes]


def _optimizer(point: Point, device: torch.device, dtype: torch.dtype) -> Runnable:
    """Fused AdamW on fp32 master weights, then their copy in the precision that the model computes in."""
    masters = [tensor.requires_grad_() for tensor in _parameters(point.size or 1, device)]
    for master in masters:
        master.grad = torch.randn_like(master)
    working = [] if dtype == torch.float32 else [master.detach().to(dtype) for master in masters]
    optimizer = torch.optim.AdamW(masters, lr=1e-5, fused=True)

    def step(_: int) -> None:
        optimizer.step()
        for copy, master in zip(working, masters, strict=False):
            copy.copy_(master.detach())

    return Runnable(forward=step)


def _grad_norm(point: Point, device: torch.device, _dtype: torch.dtype) -> Runnable:
    gradients = _parameters(point.size or 1, device)

    def norm(_: int) -> Tensor:
        each = [torch.linalg.vector_norm(gradient) for gradient in gradients]
        total: Tensor = torch.linalg.vector_norm(torch.stack(each))
        return total

    return Runnable(forward=norm)


def _launch(_point: Point, device: torch.device, _dtype: torch.dtype) -> Runnable:
    one = torch.zeros(1, device=device)

    def launch(_: int) -> None:
        for _ in range(LAUNCHES):
            one.zero_()

    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    return Runnable(forward=launch, reset=wait, calls=LAUNCHES)


def _matmul(point: Point, device: torch.device, dtype: torch.dtype) -> Runnable:
    size = point.size or 1
    pairs = [
        tuple(torch.randn(size, size, device=device, dtype=dtype) for _ in range(2)) for _ in range(ROTATING_INPUTS)
    ]
    output = torch.empty(size, size, device=device, dtype=dtype)
    return Runnable(forward=lambda i: torch.matmul(*pairs[i % ROTATING_INPUTS], out=output))


def _copy(point: Point, device: torch.device, _dtype: torch.dtype) -> Runnable:
    source = torch.ones(point.size or 1, device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    return Runnable(forward=lambda _: target.copy_(source))


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
_SHAPELESS: dict[str, Callable[[Point, torch.device, torch.dtype], Runnable]] = {
    "optimizer": _optimizer,
    "grad_norm": _grad_norm,
    "launch": _launch,
    "matmul": _matmul,
    "copy": _copy,
}
