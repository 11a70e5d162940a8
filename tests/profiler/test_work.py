"""FLOPs and bytes of the workloads: against the model's own arithmetic and against what torch counts."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from profiler.architecture import ModelArchitecture, load_architecture
from profiler.arithmetic import BLOCK_PARTS, layer_work, matmul_work, optimizer_work
from profiler.files import InputError
from profiler.options import Options
from profiler.points import MEASURING_SHARE, Point, Request, point_of, points, windows_s, work_of
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
    assert optimizer_work(1000, "bf16").forward_bytes == 34_000  # and copy w to bf16
    assert matmul_work(1024, "bf16").forward_flops == 2 * 1024**3


def _counted(point: Point, architecture: ModelArchitecture) -> tuple[int, int]:
    """Forward and backward FLOPs as torch counts them while the prepared workload really runs."""
    with open_world("cpu") as world:
        use_tensor_parallel(1)
        bench = Bench(architecture=architecture, world=world, meter=PowerMeter(None))
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


def _request(**changes: object) -> Request:
    return replace(Options(tensor_parallel="1,2", executions="eager,compiled").request("cuda", 1), **changes)


def test_ceilings_come_first_then_blocks_and_nothing_twice() -> None:
    ordered = points(_request(recomputes=("none", "full")))
    assert [p.workload for p in ordered[:6]] == ["matmul", "copy", *["block"] * 4]
    assert len(set(ordered)) == len(ordered)
    first_part = next(i for i, p in enumerate(ordered) if p.workload == "qkv")
    assert all(i < first_part for i, p in enumerate(ordered) if p.workload in ("head_loss", "optimizer"))


def test_every_workload_is_measured() -> None:
    from typing import get_args

    from profiler.profile import Workload

    assert {p.workload for p in points(_request())} == set(get_args(Workload))


def test_a_row_knows_its_point() -> None:
    for point in points(_request()):
        row = LayerRow(**{f: getattr(point, f) for f in point.__dataclass_fields__}, origin="measured")
        assert point_of(row) == point


@given(budget_s=st.floats(1.0, 1e5))
def test_windows_keep_to_the_budget_and_favour_blocks(budget_s: float) -> None:
    todo = points(_request())
    windows = windows_s(todo, budget_s, 10.0)
    floor = 0.1 * len(todo)
    assert sum(windows.values()) <= MEASURING_SHARE * budget_s + floor
    blocks = [w for p, w in windows.items() if p.workload == "block"]
    assert min(blocks) == max(windows.values()) <= 10.0


def test_a_sequence_beyond_the_context_is_refused() -> None:
    with pytest.raises(InputError, match=r"beyond llama3\.1-8b's context of 131072"):
        _request(seq_lens=(131_073,))


def test_running_out_of_memory_is_a_row(tiny: ModelArchitecture) -> None:
    from profiler.workloads import measure

    with open_world("cpu") as world:
        bench = Bench(architecture=tiny, world=world, meter=PowerMeter(None))
        row = measure(Point(workload="copy", precision="fp32", size=2**50), bench, 0.1)
        after = measure(Point(workload="copy", precision="fp32", size=2**10), bench, 0.01)
    assert (row.status, row.forward_s) == ("oom", None)
    assert "memory" in row.message
    assert after.status == "ok"


def test_a_kernel_that_cannot_run_is_a_row_not_another_kernel(tiny: ModelArchitecture) -> None:
    from profiler.workloads import measure

    if torch.cuda.is_available():
        pytest.skip("cuDNN attention may run here")
    point = Point(workload="attention", model="tiny", seq_len=32, precision="fp32", attention_backend="cudnn")
    with open_world("cpu") as world:
        row = measure(point, Bench(architecture=tiny, world=world, meter=PowerMeter(None)), 0.1)
    assert row.status == "error"
    assert row.message
