"""FLOPs and bytes of the workloads: against the model's own arithmetic and against what torch counts."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from profiler.architecture import ModelArchitecture, load_architecture
from profiler.arithmetic import BLOCK_PARTS, grad_norm_work, layer_work, matmul_work, optimizer_work
from profiler.budget import ENERGY_SHARE, LONGEST_TIME_WINDOW_S, MEASURING_SHARE, windows_s
from profiler.files import InputError
from profiler.options import Options
from profiler.points import Point, Request, point_of, points, work_of
from profiler.power import PowerMeter
from profiler.profile import LayerRow
from profiler.sharding import rank_share
from profiler.workloads import Bench, prepare
from profiler.world import open_world, use_tensor_parallel


@pytest.mark.parametrize("name", ["llama3.1-8b", "llama3.1-70b", "llama3.1-405b"])
@pytest.mark.parametrize("tp", [1, 8])
def test_blocks_and_head_on_all_ranks_are_the_models_flops(name: str, tp: int) -> None:
    model, batch, seq_len = load_architecture(name), 2, 8192
    share = rank_share(model, tp)
    block = layer_work("block", share, batch, seq_len, "bf16")
    head = layer_work("head_loss", share, batch, seq_len, "bf16")
    ranks = tp * (
        model.layers * (block.forward_flops + block.backward_flops) + head.forward_flops + head.backward_flops
    )
    assert ranks == pytest.approx(model.flops_per_token(seq_len, "causal") * batch * seq_len)


@given(
    micro_batch=st.integers(1, 8),
    seq_len=st.integers(1, 131_072),
    tp=st.sampled_from([1, 2, 4, 8]),
    precision=st.sampled_from(["bf16", "fp32"]),
)
def test_work_grows_with_the_batch_and_backward_exceeds_forward(
    micro_batch: int, seq_len: int, tp: int, precision: str
) -> None:
    share = rank_share(load_architecture("llama3.1-8b"), tp)
    for workload in ("block", *BLOCK_PARTS, "head_loss", "embedding"):
        work = layer_work(workload, share, micro_batch, seq_len, precision)
        double = layer_work(workload, share, 2 * micro_batch, seq_len, precision)
        assert double.forward_flops == pytest.approx(2 * work.forward_flops)
        assert work.backward_flops == pytest.approx(2 * work.forward_flops)
        assert work.forward_bytes < double.forward_bytes < 2.0001 * work.forward_bytes
        assert work.backward_bytes >= work.forward_bytes


def test_a_decode_like_product_is_bound_by_its_weights() -> None:
    work = layer_work("attention_out", load_architecture("llama3.1-8b"), 1, 1, "bf16")
    assert work.forward_bytes == pytest.approx(2 * 4096 * 4096, rel=1e-3)


def test_known_bytes() -> None:
    assert optimizer_work(1000, "fp32").forward_bytes == 28_000  # read w, g, m, v; write w, m, v
    assert optimizer_work(1000, "bf16").forward_bytes == 40_000  # g from bf16 to fp32 first, w to bf16 last
    assert grad_norm_work(1000).forward_bytes == 12_000  # read g; read and write g
    assert matmul_work(1024, "fp8").forward_bytes == 1024**2 * (1 + 1 + 2)  # the result is bf16
    assert matmul_work(1024, "bf16").forward_flops == 2 * 1024**3


def _counted(point: Point, architecture: ModelArchitecture) -> tuple[int, int]:
    """Forward and backward FLOPs as torch counts them while the prepared workload really runs."""
    with open_world("cpu") as world:
        use_tensor_parallel(1)
        bench = Bench(architectures=(architecture,), world=world, meter=PowerMeter(None))
        runnable = prepare(point, bench)
        with FlopCounterMode(display=False) as forward:
            output = runnable.forward(0)
        with FlopCounterMode(display=False) as backward:
            assert runnable.backward is not None
            runnable.backward(output)
    return forward.get_total_flops(), backward.get_total_flops()


@pytest.mark.parametrize("tp", [1, 2, 4])
@pytest.mark.parametrize("workload", ["qkv", "attention_out", "mlp", "head_loss"])
def test_a_rank_runs_the_flops_its_row_states(tiny: ModelArchitecture, workload: str, tp: int) -> None:
    point = Point(workload=workload, model="tiny", tp=tp, micro_batch=2, seq_len=32, precision="fp32")
    stated = work_of(point, tiny)
    assert _counted(point, tiny) == (stated.forward_flops, stated.backward_flops)


@pytest.mark.parametrize("tp", [1, 4])
def test_attention_states_the_causal_half_of_the_products_that_run(tiny: ModelArchitecture, tp: int) -> None:
    point = Point(
        workload="attention",
        model="tiny",
        tp=tp,
        micro_batch=2,
        seq_len=32,
        precision="fp32",
        attention_backend="math",
    )
    stated = work_of(point, tiny)
    assert _counted(point, tiny) == (2 * stated.forward_flops, 2 * stated.backward_flops)


@given(cp=st.sampled_from([2, 4, 16]), tp=st.sampled_from([1, 8]))
def test_context_parallel_ranks_share_the_attention_of_the_whole_sequence(cp: int, tp: int) -> None:
    share = rank_share(load_architecture("llama3.1-405b"), tp)
    whole = layer_work("attention", share, 1, 131_072, "bf16")
    part = layer_work("attention", share, 1, 131_072 // cp, "bf16", context_len=131_072)
    assert cp * part.forward_flops == pytest.approx(whole.forward_flops)
    assert cp * part.backward_flops == pytest.approx(whole.backward_flops)
    assert cp * part.forward_bytes > whole.forward_bytes  # every rank reads all keys and values


def _request(**changes: object) -> Request:
    words = Options(
        model="llama3.1-8b,llama3.1-70b",
        tensor_parallel="8,1",
        seq_lens="8192,4096",
        context_lens="16384,131072",
        executions="eager,compiled",
        recomputes="none,full",
        attention="flash,cudnn",
    )
    return replace(words.request("cuda", 1), **changes)


def test_ceilings_come_first_then_blocks_of_the_first_shape_and_nothing_twice() -> None:
    ordered = points(_request())
    assert [p.workload for p in ordered[:6]] == ["matmul", "copy", *["block"] * 4]
    assert [(p.tp, p.model) for p in ordered[2:6]] == [
        (8, "llama3.1-8b"), (8, "llama3.1-70b"), (1, "llama3.1-8b"), (1, "llama3.1-70b"),
    ]  # fmt: skip
    assert len(set(ordered)) == len(ordered)
    first_of = {}
    for i, point in enumerate(ordered):
        first_of.setdefault((point.workload, point.seq_len), i)
    order = [("block", 8192), ("head_loss", 8192), ("optimizer", 1), ("qkv", 8192), ("block", 4096), ("qkv", 4096)]
    assert sorted(order, key=first_of.__getitem__) == order


def test_a_hopper_profile_holds_all_that_a_plan_asks_of_it() -> None:
    """What a shipped GPU profile is to hold, for every model, degree and shape."""
    found = points(_request(micro_batches=(1, 2, 4)))
    blocks = {
        (p.model, p.tp, p.seq_len, p.micro_batch, p.execution, p.recompute) for p in found if p.workload == "block"
    }
    assert len(blocks) == 2 * 2 * 2 * 3 * 2 * 2
    assert {p.precision for p in found if p.workload == "matmul"} == {"bf16", "fp8"}
    assert {p.optimizer_kernels for p in found if p.workload == "optimizer"} == {"fused", "foreach"}
    long = [p for p in found if p.context_len]
    assert [p.context_len for p in long[:1]] == [131_072]  # the longest says most
    assert {(p.model, p.tp, p.context_len) for p in long} >= {
        ("llama3.1-70b", 8, 16_384),
        ("llama3.1-8b", 1, 131_072),
    }
    assert {p.attention_backend for p in found if p.workload == "attention"} == {"flash", "cudnn"}
    assert any(p.accumulates for p in found)


def test_every_workload_is_measured() -> None:
    from typing import get_args

    from profiler.profile import Workload

    assert {p.workload for p in points(_request())} == set(get_args(Workload))


def test_a_row_knows_its_point() -> None:
    for point in points(_request()):
        row = LayerRow(**{f: getattr(point, f) for f in point.__dataclass_fields__}, origin="measured")
        assert point_of(row) == point


@given(budget_s=st.floats(1.0, 1e5), meter=st.booleans())
def test_windows_keep_to_the_budget_and_favour_what_is_worth_most(budget_s: float, meter: bool) -> None:
    todo = points(_request())
    energy_window_s = 10.5 if meter else None
    windows = windows_s(todo, budget_s, shortest_s=0.1, energy_window_s=energy_window_s)
    assert list(windows) == list(todo)
    assert sum(windows.values()) <= MEASURING_SHARE * budget_s + 0.1 * len(todo)
    long = [point for point, window in windows.items() if window > LONGEST_TIME_WINDOW_S]
    if not meter:
        assert not long
        return
    assert 10.5 * len(long) <= ENERGY_SHARE * MEASURING_SHARE * budget_s
    # the ceilings are also the compute-bound and memory-bound power, so they come before all others
    assert [point.workload for point in long[:2]] == ["matmul", "copy"][: len(long)]
    assert all(windows[p] == 10.5 for p in long)  # long enough for the meter, or not long at all


def test_ten_minutes_give_ceilings_and_blocks_with_their_energy() -> None:
    todo = points(_request())
    windows = windows_s(todo, 480.0, shortest_s=1.0, energy_window_s=10.5)
    assert {p.workload for p, window in windows.items() if window > 10} >= {"matmul", "copy", "block", "head_loss"}


def test_a_sequence_beyond_the_context_is_refused() -> None:
    with pytest.raises(InputError, match=r"beyond llama3\.1-8b's context of 131072"):
        _request(seq_lens=(131_073,))


@pytest.mark.parametrize(("seq_len", "context_len"), [(8192, 8192), (8192, 12_288), (4095, 8190)])
def test_a_context_that_no_rank_could_share_is_refused(seq_len: int, context_len: int) -> None:
    with pytest.raises(InputError, match=f"--context-len is {context_len}"):
        _request(seq_lens=(seq_len,), context_lens=(context_len,))


def test_running_out_of_memory_is_a_row(tiny: ModelArchitecture) -> None:
    from profiler.measure import measure

    with open_world("cpu") as world:
        bench = Bench(architectures=(tiny,), world=world, meter=PowerMeter(None))
        row = measure(Point(workload="copy", precision="fp32", size=2**50), bench, 0.1)
        after = measure(Point(workload="copy", precision="fp32", size=2**10), bench, 0.01)
    assert (row.status, row.forward_s) == ("oom", None)
    assert "memory" in row.message
    assert after.status == "ok"


def test_a_kernel_that_cannot_run_is_a_row_not_another_kernel(tiny: ModelArchitecture) -> None:
    from profiler.measure import measure

    if torch.cuda.is_available():
        pytest.skip("cuDNN attention may run here")
    point = Point(workload="attention", model="tiny", seq_len=32, precision="fp32", attention_backend="cudnn")
    with open_world("cpu") as world:
        row = measure(point, Bench(architectures=(tiny,), world=world, meter=PowerMeter(None)), 0.1)
    assert row.status == "error"
    assert row.message
