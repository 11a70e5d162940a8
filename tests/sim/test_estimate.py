"""The StepEstimate contract: one step as a person reads it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from profiler.architecture import load_architecture
from profiler.files import InputError
from sim.estimate import StepEstimate, estimate_step, step_case
from sim.hardware import build_cluster, load_gpu, load_node
from sim.kernels.measured import NOT_MEASURED
from sim.layout import ParallelLayout
from sim.stacks.stack import load_stack
from sim.step import step_times
from tests.sim.steps import Situation, situations


def estimate(layout: ParallelLayout, **changes: Any) -> StepEstimate:
    known: dict[str, Any] = {
        "architecture": load_architecture("llama3.1-8b"),
        "stack": load_stack("megatron-core"),
        "seq_len": 8192,
        "global_batch": 128,
        **changes,
    }
    if "cluster" not in known:
        known["cluster"] = build_cluster("h100-sxm", layout.gpus)
    return estimate_step(layout=layout, **known)


FSDP = ParallelLayout(dp=64, sharding="fsdp")


@settings(max_examples=40, deadline=None)
@given(situations())
def test_an_estimate_is_the_step_in_units_of_people(s: Situation) -> None:
    gpu = load_gpu(s.gpu)
    per_node = load_node(gpu.node).gpus_per_node
    if s.layout.gpus > per_node and s.layout.gpus % per_node:
        return
    found = estimate(
        s.layout,
        architecture=s.architecture,
        cluster=build_cluster(s.gpu, s.layout.gpus),
        stack=load_stack(s.stack),
        seq_len=s.seq_len,
        global_batch=s.global_batch,
    )
    assert found.step_time_s == pytest.approx(float(np.max(s.times().total)))
    assert sum(found.parts_s.values()) == pytest.approx(found.step_time_s)
    assert sum(found.memory_bytes.values()) == pytest.approx(found.peak_memory_bytes)
    assert found.tokens == s.global_batch * s.seq_len
    assert found.floor_s <= found.step_time_s
    causal = s.architecture.flops_per_token(s.seq_len, "causal") * found.tokens
    assert causal < found.model_flops
    assert causal / found.step_time_s / found.gpus < found.peak_flops
    assert found.capacity_bytes == gpu.memory_gib * 2**30
    used = min(per_node, s.layout.gpus)
    assert found.node_power_w == pytest.approx(used * found.gpu_power_w + load_node(gpu.node).host_load_power_w)


def test_mfu_by_hand() -> None:
    """PaLM, arXiv:2204.02311 appendix B: observed tokens/s over peak over FLOPs per token."""
    found = estimate(FSDP)
    per_token = 6 * (32 * 218_103_808 + 128_256 * 4096) + 12 * 32 * 4096 * 8192
    rate = 128 * 8192 / found.step_time_s / 64
    assert found.mfu() == pytest.approx(per_token * rate / 989.4e12)


def test_the_case_is_what_the_estimate_evaluates() -> None:
    case, measured = step_case(
        architecture=load_architecture("llama3.1-8b"),
        cluster=build_cluster("h100-sxm", 64),
        layout=FSDP,
        stack=load_stack("megatron-core"),
        seq_len=8192,
        global_batch=128,
    )
    assert measured == NOT_MEASURED
    assert float(step_times(case).total[0]) == estimate(FSDP).step_time_s


def test_fp8_is_faster_and_its_mfu_is_against_its_own_peak() -> None:
    bf16, fp8 = estimate(FSDP), estimate(FSDP, precision="fp8")
    assert fp8.step_time_s < bf16.step_time_s
    assert fp8.peak_flops == pytest.approx(2 * bf16.peak_flops, rel=1e-3)
    done = [one.mfu() * one.peak_flops * one.step_time_s for one in (bf16, fp8)]
    assert done[0] == pytest.approx(done[1])  # the same work


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"precision": "fp8", "cluster": build_cluster("a100-80gb", 64)}, "A100 SXM 80 GB has no fp8 matrix units"),
        ({"global_batch": 100}, "global_batch is 100, not a multiple of dp 64"),
        ({"cluster": build_cluster("h100-sxm", 128)}, "is 64 GPUs, not 128"),
    ],
)
def test_a_step_that_cannot_run_is_one_sentence(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as error:
        estimate(FSDP, **changes)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_too_large_says_by_what() -> None:
    found = estimate(ParallelLayout(tp=8), architecture=load_architecture("llama3.1-405b"), global_batch=1)
    assert found.memory_fit == "does not fit"
    assert found.largest_memory in found.memory_bytes
    assert found.peak_memory_bytes > found.capacity_bytes


def test_without_a_profile_the_origin_says_so() -> None:
    assert estimate(FSDP).origin == "calibrated"


def test_half_a_node_still_pays_for_its_host() -> None:
    cluster = build_cluster("h100-sxm", 4)
    found = estimate(replace(FSDP, dp=4), cluster=cluster)
    assert found.node_power_w == pytest.approx(4 * found.gpu_power_w + cluster.node.host_load_power_w)
