"""What a stack's kernels move over memory: counted bytes against published pairs of runs, and their limits."""

from dataclasses import fields, replace

import numpy as np
import pytest

from planner.runs.estimate import estimate_runs
from planner.runs.rows import published_runs
from sim.calibration import load_calibration
from sim.case_columns import rate_columns
from sim.hardware import load_fabric, load_gpu, load_node
from sim.layout import ParallelLayout
from sim.passes import block_elementwise_s, block_matmul_s, head_s, tensor_parallel_s
from sim.sharding import accumulate_s, fsdp_layer_s
from sim.stacks.kernel_habits import USUAL, ElementwisePasses, KernelHabits
from sim.stacks.stack import available_stacks, load_stack
from tests.sim.steps import Situation

OPERATIONS = [f.name for f in fields(ElementwisePasses)]


@pytest.mark.parametrize("gpus", [8, 128])
def test_eager_kernels_cost_what_torchtitan_published(gpus: int) -> None:
    """The same run eager and compiled: 2.843 and 2.457 s on 8 GPUs, 2.923 and 2.515 s on 128 (torchtitan, December
    2024). No constant tells the two apart, the counted passes alone do."""
    runs = {run.id: run for run in published_runs()}
    pair = [runs[f"titan-8b-fsdp{gpus}-{name}"] for name in ("fsdp", "fsdpcompile")]
    eager, compiled = (p.step_time_s for p in estimate_runs(pair))
    observed = [run.observed_step_time_s for run in pair]
    assert observed[0]
    assert observed[1]
    assert eager / compiled == pytest.approx(observed[0] / observed[1], rel=0.04)


def test_eager_code_never_passes_less_often_and_nothing_is_read_without_being_written() -> None:
    """The least a norm, an addition or an activation can do is to read its inputs and write its output."""
    least = {"norm": 2, "residual": 2, "gated": 3, "plain": 2, "rotary": 2, "copies": 0}
    for kind, passes in USUAL.items():
        for name in OPERATIONS:
            forward, backward = getattr(passes, name)
            assert forward >= least[name], (kind, name)
            assert backward >= forward, (kind, name)
            assert KernelHabits().passes("eager")[name][0] >= forward


@pytest.mark.parametrize("name", available_stacks())
def test_what_a_stack_says_of_its_kernels_has_a_source(name: str) -> None:
    habits = load_stack(name).kernels
    said = [f.name for f in fields(KernelHabits) if getattr(habits, f.name) != f.default and f.name != "source"]
    assert not said or habits.source != KernelHabits().source


def test_twice_the_passes_take_twice_as_long_and_sequence_parallelism_shares_norms() -> None:
    case = Situation(layout=ParallelLayout(tp=8), stack="megatron-core").case()
    twice = replace(case, **{f"{name}_forward": 2 * getattr(case, f"{name}_forward") for name in OPERATIONS})
    assert float(block_elementwise_s(twice)[0]) == pytest.approx(2 * float(block_elementwise_s(case)[0]))
    alone = replace(case, sequence_parallel=np.zeros(1))
    assert float(block_elementwise_s(alone)[0]) > float(block_elementwise_s(case)[0])


def test_internlm_of_2023_ran_its_norms_again_where_it_kept_the_rest() -> None:
    """dropout_selective_checkpoint of modeling_internlm.py (fa7337b), on where checkpoint is off: two norms and the
    addition between them, 6 + 6 + 3 passes over a hidden state of 16-bit numbers."""
    case, whole = (
        Situation(layout=ParallelLayout(recompute=kind), stack="internevo").case() for kind in ("none", "full")
    )
    once = replace(case, norms_again=np.zeros(1))
    more_s, kept_s, again_s = (float(block_elementwise_s(c, backward=True)[0]) for c in (case, once, whole))
    numbers = 15 * case.tokens_per_pass * case.hidden
    assert more_s - kept_s == pytest.approx(float((2 * numbers / case.memory_bytes_per_s)[0]))
    assert again_s == kept_s


def test_five_inputs_gathered_apart_cost_seven_collectives_for_four() -> None:
    """KempnerForge's q, k, v, gate and up each gather their own input: 5 gathers and 2 scatters where 2 and 2 do.
    Compiled, the gathers of one input are one (AOTAutograd drops common subexpressions); backward the five scatters
    of their gradients stay apart."""
    case = Situation(layout=ParallelLayout(tp=4), stack="kempnerforge").case()
    apart, shared = (tensor_parallel_s(replace(case, forward_gathers=np.full(1, n)))[0].item() for n in (7.0, 4.0))
    assert apart == pytest.approx(7 / 4 * shared)
    assert (float(case.forward_gathers[0]), float(case.backward_gathers[0])) == (4, 7)
    gpu = load_gpu("h200-sxm")
    eager = replace(load_stack("kempnerforge"), elementwise="eager")
    rates = rate_columns(gpu, load_node(gpu.node), 4, load_fabric("400g"), eager, "bf16", load_calibration().values())
    assert rates["forward_gathers"] == 7


def test_fp8_gathers_move_half_the_bytes_and_scatters_all() -> None:
    """torchao casts before it gathers; what a scatter adds up stays in 16 bits, and rows' own scales are not sent."""
    layout, stack = ParallelLayout(tp=8, micro_batch=12), load_stack("torchtitan")
    fp8 = Situation(layout=layout, stack="torchtitan", precision="fp8").case()
    assert float(fp8.fp8_gathers[0]) == 1
    sent, in_16_bits = (tensor_parallel_s(replace(fp8, fp8_gathers=np.full(1, n))) for n in (1.0, 0.0))
    for some, whole in zip(sent, in_16_bits, strict=True):
        assert some.item() == pytest.approx(0.75 * whole.item(), rel=0.05)
    gpu = load_gpu("h100-sxm")
    rows = replace(stack, fp8_rowwise=True)
    args = gpu, load_node(gpu.node), 8, load_fabric("400g"), rows, "fp8", load_calibration().values()
    assert not rate_columns(*args)["fp8_gathers"]


def test_weights_in_16_bits_are_quantised_in_every_pass() -> None:
    """8.03 billion weights of Llama 3.1 8B, less embedding and head: 4 bytes each and forward pass by the counted
    kernels, however few tokens there are; nothing in 16 bits."""
    layout = ParallelLayout(dp=8, sharding="fsdp")
    fp8 = Situation(layout=layout, stack="llm-foundry", precision="fp8", global_batch=8)
    case = fp8.case()
    gathered_fp8 = replace(case, quantised_forward=np.zeros(1), quantised_backward=np.zeros(1))
    added_s = 32 * float(block_matmul_s(case)[0] - block_matmul_s(gathered_fp8)[0])
    memory = case.memory_bytes_per_s.item()
    assert added_s == pytest.approx(4 * 6.98e9 * case.quantise.item() / memory, rel=0.01)
    few = replace(case, micro_batch=case.micro_batch / 8)
    without = replace(gathered_fp8, micro_batch=few.micro_batch)
    assert 32 * float(block_matmul_s(few)[0] - block_matmul_s(without)[0]) == pytest.approx(added_s)
    sixteen_bit = replace(fp8, precision="bf16").case()
    assert block_matmul_s(sixteen_bit) == block_matmul_s(replace(sixteen_bit, quantised_forward=np.zeros(1)))


def test_gathered_logits_cost_every_rank_the_whole_loss() -> None:
    case = Situation(layout=ParallelLayout(tp=4), stack="megatron-core").case()
    whole = replace(case, splits_vocabulary=np.zeros(1))
    tokens = float(case.micro_batch[0] * case.seq_len[0])
    more_s = 0.75 * float(case.loss_bytes[0] * case.vocab[0]) * tokens / float(case.memory_bytes_per_s[0])
    assert float(head_s(whole)[0]) > float(head_s(case)[0]) + more_s
    alone = replace(case, tp=np.ones(1))
    assert float(head_s(replace(alone, splits_vocabulary=np.zeros(1)))[0]) == float(head_s(alone)[0])


def test_a_head_that_is_not_split_costs_what_it_costs_alone() -> None:
    case = Situation(layout=ParallelLayout(tp=4), stack="megatron-core").case()
    whole = replace(case, splits_vocabulary=np.zeros(1), splits_head=np.zeros(1))
    assert float(head_s(whole)[0]) == pytest.approx(float(head_s(replace(case, tp=np.ones(1)))[0]))


def test_gradients_kept_whole_are_scattered_once_and_added_whole() -> None:
    """FSDP2 without synchronisation: one scatter a step, and sums of all of a rank's gradients, not of its shard."""
    layout = ParallelLayout(dp=8, sharding="fsdp")
    case = Situation(layout=layout, stack="torchtitan", global_batch=64).case()
    kept = replace(case, accumulates_whole=np.ones(1))
    nothing, parameters = np.zeros(1), np.full(1, 8e9)
    gather, both = (seconds.item() for seconds in fsdp_layer_s(case, nothing, nothing))
    once = fsdp_layer_s(kept, nothing, nothing)[1].item()
    assert once - gather == pytest.approx((both - gather) / 8)
    assert float(accumulate_s(kept, parameters)[0]) == pytest.approx(8 * float(accumulate_s(case, parameters)[0]))


def test_one_gpu_alone_adds_16_bit_gradients_to_those_of_the_first_micro_batch() -> None:
    """Eight micro-batches make seven sums (read both, write one: 6 bytes a parameter); two ranks of FSDP make fp32
    ones."""
    layout = ParallelLayout(micro_batch=1)
    alone = Situation(layout=layout, stack="kempnerforge", global_batch=8).case()
    parameters = np.full(1, 8e9)
    sums_s = 7 * 6 * parameters / alone.memory_bytes_per_s
    assert float(8 * accumulate_s(alone, parameters)[0]) == pytest.approx(float(sums_s[0]))
    for several in (replace(alone, dp=np.full(1, 2.0)), replace(alone, tp=np.full(1, 2.0))):
        assert float(accumulate_s(several, parameters)[0]) > float(accumulate_s(alone, parameters)[0])
