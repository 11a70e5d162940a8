"""A small model's whole training step, run for real, beside its prediction from the layers' rows."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from profiler.device_workloads import DTYPES, SEED
from profiler.files import InputError
from profiler.llama import Llama, initialise
from profiler.measure import Observation, is_out_of_memory, measure, observe, release
from profiler.optimizer import MasterOptimizer, clip
from profiler.profile import LayerRow
from profiler.provenance import device_name, open_meter
from profiler.selfcheck import SelfCheck, StepCost, Trial, predict
from profiler.timing import Runnable, clock_for
from profiler.workloads import ROTATING_INPUTS, Bench, default_dtype, settings_of
from profiler.world import World, use_tensor_parallel


def check_self(
    trial: Trial,
    world: World,
    window_s: float,
    tell: Callable[[str], None],
    show: Callable[[LayerRow], None] = lambda _: None,
) -> SelfCheck:
    """Measure the parts of `trial`'s step, then the step itself, each for about `window_s` seconds or what the
    energy meter needs; `tell` hears what is measured now, `show` sees each part's row.

    Raises:
        InputError: several ranks, or a part or the whole that cannot run here (memory, say).
    """
    if world.ranks > 1:
        raise InputError("selfcheck measures one rank's share on one device; start it without torchrun.")
    bench = Bench(architectures=(trial.architecture,), world=world, meter=open_meter(world.device))
    window_s = max(window_s, bench.meter.window_s or 0.0)
    rows = {}
    for workload, point in trial.parts().items():
        tell(point.label())
        rows[workload] = measure(point, bench, window_s)
        if rows[workload].status != "ok":
            raise InputError(f"{point.label()} cannot be measured here: {rows[workload].message}")
        show(rows[workload])
    tell("the whole step")
    whole = _observe_step(trial, bench, window_s)
    return SelfCheck(
        device=device_name(world.device),
        trial=trial,
        parts=tuple(rows.values()),
        predicted=predict(trial, rows),
        measured=_cost(whole),
        repetitions=whole.timing.repetitions,
        power_source=whole.power.source,
        memory_source=_memory_source(world.device, rows["block"]),
    )


def _observe_step(trial: Trial, bench: Bench, window_s: float) -> Observation:
    """The step's time, memory and power."""
    compiled = trial.point.execution == "compiled"
    use_tensor_parallel(1)
    try:
        return observe(
            lambda: training_step(trial, bench.world.device),
            bench,
            window_s,
            clock=clock_for(bench.world.device),
            compiled=compiled,
        )
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    finally:
        release(trial.point, bench.world.device)
    raise InputError(
        f"{trial.layers} layers with their optimizer do not fit this device's memory: give fewer --layers."
    )


def training_step(trial: Trial, device: torch.device) -> Runnable:
    """Forward pass; backward pass, gradients to fp32, clipping, AdamW; gradients dropped between steps.

    Compiled execution compiles what the rows measured: each block, the embedding and the head.
    """
    point, share = trial.point, trial.share
    with default_dtype(DTYPES[point.precision]):
        model = Llama(share, settings_of(point), point.seq_len).to(device)
    initialise(model, seed=SEED)
    optimizer = MasterOptimizer(list(model.parameters()), kernels="fused")
    if point.execution == "compiled":
        for module in (model.embedding, *model.blocks, model.head):
            module.compile(fullgraph=True, dynamic=False)
    batches = [_batch(trial, device, number) for number in range(ROTATING_INPUTS)]

    def update(loss: Any) -> None:
        loss.backward()
        clip(optimizer.collect_gradients())
        optimizer.step()

    def reset() -> None:
        for parameter in model.parameters():
            parameter.grad = None

    return Runnable(forward=lambda i: model(*batches[i % len(batches)]), backward=update, reset=reset)


def _batch(trial: Trial, device: torch.device, number: int) -> tuple[Tensor, Tensor]:
    """Random tokens and targets (B, S)."""
    shape = (2, trial.point.micro_batch, trial.point.seq_len)
    generator = torch.Generator().manual_seed(SEED + number)
    tokens, targets = torch.randint(trial.share.vocab, shape, generator=generator).to(device)
    return tokens, targets


def _cost(whole: Observation) -> StepCost:
    assert whole.timing.backward is not None
    return StepCost(
        forward_s=whole.timing.forward.median_s,
        backward_and_update_s=whole.timing.backward.median_s,
        peak_bytes=whole.memory.peak_bytes if whole.memory else None,
        energy_j=whole.energy_j,
    )


def _memory_source(device: torch.device, row: LayerRow) -> str:
    if device.type == "cuda":
        return "the caching allocator's peak"
    if row.peak_bytes is None:
        return "not measured: nothing counts the memory of compiled code on a CPU"
    return "bytes of live tensors; what kernels take and free inside themselves is not seen"
