"""Memory of a pass: exact where it can be counted by hand, and what recompute, accumulation and context do to it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from profiler.architecture import ModelArchitecture
from profiler.memory import TensorMemory, memory_of_pass
from profiler.points import Point
from profiler.power import PowerMeter
from profiler.timing import Runnable
from profiler.workloads import Bench, prepare
from profiler.world import open_world, use_tensor_parallel

FP32 = 4


@pytest.fixture
def bench(tiny: ModelArchitecture) -> Iterator[Bench]:
    with open_world("cpu") as world:
        use_tensor_parallel(1)
        yield Bench(architectures=(tiny,), world=world, meter=PowerMeter(None))


def test_one_linear_layer_by_hand() -> None:
    meter = TensorMemory()
    with meter.building():
        weight = torch.randn(30, 20, requires_grad=True)
        x = torch.randn(10, 30, requires_grad=True)
        gradient = torch.randn(10, 20)

    def reset() -> None:
        weight.grad = x.grad = None

    linear = Runnable(forward=lambda _: x @ weight, backward=lambda y: y.backward(gradient), reset=reset)
    use = memory_of_pass(linear, meter)
    assert use.resident_bytes == FP32 * (30 * 20 + 10 * 30 + 10 * 20)
    assert use.kept_bytes == FP32 * 10 * 20  # the output; the input and the weight were there
    assert use.peak_bytes == use.resident_bytes + use.kept_bytes + FP32 * (30 * 20 + 10 * 30)  # and both gradients
    assert memory_of_pass(linear, meter) == use


def _use(bench: Bench, point: Point) -> "tuple[int, int, int]":
    meter = TensorMemory()
    with meter.building():
        runnable = prepare(point, bench)
    first = memory_of_pass(runnable, meter)
    use = memory_of_pass(runnable, meter)  # the first left accumulated gradients behind
    assert use.peak_bytes >= first.resident_bytes
    return use.resident_bytes, use.kept_bytes, use.peak_bytes


BLOCK = Point(workload="block", model="tiny", micro_batch=2, seq_len=64, precision="fp32", attention_backend="flash")


def test_full_recompute_keeps_a_blocks_output_alone(bench: Bench, tiny: ModelArchitecture) -> None:
    kept = {r: _use(bench, replace(BLOCK, recompute=r))[1] for r in ("none", "selective", "full")}  # type: ignore[arg-type]
    assert kept["full"] == FP32 * 2 * 64 * tiny.hidden
    assert kept["full"] < kept["selective"] < kept["none"]


def test_a_tensor_parallel_share_keeps_its_part_of_all_but_the_residual(bench: Bench) -> None:
    whole, half, quarter = (_use(bench, replace(BLOCK, tp=tp))[1] for tp in (1, 2, 4))
    assert half - quarter == pytest.approx((whole - half) / 2, rel=0.01)


def test_accumulated_gradients_are_resident(bench: Bench, tiny: ModelArchitecture) -> None:
    fresh, added = _use(bench, BLOCK), _use(bench, replace(BLOCK, accumulates=True))
    assert added[0] - fresh[0] == FP32 * tiny.layer_parameters
    assert added[2] >= fresh[2]


def test_keys_of_the_whole_context_are_resident_and_nothing_quadratic_is_kept(
    bench: Bench, tiny: ModelArchitecture
) -> None:
    attention = replace(BLOCK, workload="attention", micro_batch=1, seq_len=32)
    short, long = (_use(bench, replace(attention, context_len=context))[0] for context in (64, 256))
    assert long - short == 2 * 2 * FP32 * (256 - 64) * tiny.kv_width  # two alternating inputs, keys and values
