"""Bytes per GPU: they add up, shards divide, and tensor parallelism scales as Korthikanti et al. say."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.runs.estimate import estimate_runs
from planner.runs.rows import published_runs
from planner.runs.training_run import TrainingRun
from profiler.architecture import load_architecture
from sim.case import StepCase, concatenate
from sim.layout import ParallelLayout, Sharding
from sim.memory import ERROR_P95, MemoryUse, block_activation_bytes, fit, largest_kind, memory_use
from tests.sim.steps import Situation, situations

KINDS = [f.name for f in fields(MemoryUse) if f.name != "total"]
few = settings(max_examples=60, deadline=None)


def kind(case: StepCase, name: str) -> float:
    return float(np.max(getattr(memory_use(case), name)))


@few
@given(situations())
def test_kinds_add_up_and_none_is_negative(s: Situation) -> None:
    parts = [kind(s.case(), name) for name in KINDS]
    assert sum(parts) == pytest.approx(kind(s.case(), "total"))
    assert min(parts) >= 0
    assert kind(s.case(), largest_kind(memory_use(s.case()))) == max(parts)


def test_mixed_precision_adam_is_sixteen_bytes_per_parameter() -> None:
    """ZeRO, arXiv:1910.02054 section 3.1: 2 weights, 2 gradients, 12 optimizer, before anything is sharded."""
    case = Situation(layout=ParallelLayout(sharding="none"), global_batch=1).case()
    state = [kind(case, name) / 8_030_261_248 for name in ("weights", "gradients", "optimizer")]
    assert state == pytest.approx([2, 2, 12], rel=1e-5)


@pytest.mark.parametrize(
    ("sharding", "divided"),
    [
        ("none", set()),
        ("ddp", set()),
        ("zero1", {"optimizer"}),
        ("zero2", {"optimizer", "gradients"}),
        ("fsdp", {"optimizer", "gradients", "weights"}),
    ],
)
def test_zero_divides_what_it_shards(sharding: str, divided: set[str]) -> None:
    """ZeRO's stages 1, 2 and 3: optimizer state; gradients too; weights too, but for the blocks gathered."""
    s = Situation(layout=ParallelLayout(dp=8, sharding=sharding), global_batch=64)  # type: ignore[arg-type]
    few_ranks, many_ranks = s.case(), s.case(dp=64)
    for name in ("optimizer", "gradients", "weights"):
        before, after = kind(few_ranks, name), kind(many_ranks, name)
        if name not in divided:
            assert after == before
        elif name == "optimizer":
            assert after == pytest.approx(before / 8)
        else:  # what is gathered to compute a block, and what is on its way, stays
            assert after < before
            gathered = (8 * after - before) / 7
            assert 0 <= gathered < 0.2 * 4 * 8_030_261_248


def test_a_shard_group_holds_what_its_size_says() -> None:
    s = Situation(layout=ParallelLayout(dp=64, sharding="hsdp", shard_degree=8), global_batch=64)
    assert kind(s.case(), "optimizer") == pytest.approx(8 * kind(s.case(shard_degree=64), "optimizer"))


def test_activations_over_tensor_parallel_ranks() -> None:
    """arXiv:2205.05198: with sequence parallelism all of a block is divided (eq. 4); without, the norms' inputs and
    outputs stay whole (eq. 2), so that each halving saves half of the halving before."""
    s = Situation(layout=ParallelLayout(), global_batch=8)

    def block(tp: int, sequence_parallel: bool) -> float:
        return float(block_activation_bytes(s.case(tp=tp, sequence_parallel=sequence_parallel))[0])

    assert block(8, True) == pytest.approx(block(1, True) / 8)
    first, second = block(1, False) - block(2, False), block(2, False) - block(4, False)
    assert first == pytest.approx(2 * second)
    whole = block(1, False) - 2 * first  # the limit of many ranks
    assert whole == pytest.approx(2 * 8192 * 4 * 4096)  # four tensors of s x h in 16 bits


def test_scores_grow_with_the_square_of_the_sequence_only_where_they_are_kept() -> None:
    """arXiv:2205.05198 eq. 1: 5·a·s²·b bytes beside 34·s·b·h; FlashAttention keeps none (arXiv:2205.14135)."""

    def per_token(stack: str, seq_len: int) -> float:
        case = Situation(layout=ParallelLayout(), stack=stack, seq_len=seq_len, global_batch=1).case()
        return float(block_activation_bytes(case)[0]) / seq_len

    assert per_token("megatron-core", 8192) == per_token("megatron-core", 2048)
    unfused = [per_token("megatron-2021", s) for s in (2048, 4096, 8192)]
    assert unfused[2] - unfused[1] == pytest.approx(2 * (unfused[1] - unfused[0]))
    assert unfused[1] - unfused[0] == pytest.approx(5 * 32 * 2048)


@few
@given(situations())
def test_full_recompute_never_needs_more_than_a_block_input_beyond_none(s: Situation) -> None:
    """It keeps block inputs; where one block is all there is, that input is beside the block itself."""
    full, none = (kind(s.case(recompute=r), "total") for r in ("full", "none"))
    tokens = s.layout.micro_batch * s.seq_len / s.layout.cp
    block_input = 2 * tokens * s.architecture.hidden
    assert full <= none + 1.1 * block_input
    if s.architecture.layers / s.layout.pp >= 4:
        assert full < none


@few
@given(situations())
def test_larger_micro_batches_never_need_less(s: Situation) -> None:
    twice = replace(s, global_batch=2 * s.global_batch)
    assert kind(twice.case(micro_batch=2 * s.layout.micro_batch), "total") >= kind(s.case(), "total")


@few
@given(situations())
def test_context_parallel_ranks_share_the_activations(s: Situation) -> None:
    """All but the others' keys and values, which the block at work holds."""
    one, eight = (block_activation_bytes(s.case(cp=cp)) for cp in (1, 8))
    assert eight == pytest.approx(one / 8)
    if s.layout.pp == 1:  # elsewhere another stage may become the fullest
        case = s.case(cp=8)
        width = case.attention_width if case.repeats_heads[0] else case.kv_width
        others = float((7 * case.tokens_per_pass * 2 * 2 * width / case.tp)[0])
        shared = kind(s.case(cp=1), "activations") / 8
        assert shared * (1 - 1e-9) <= kind(case, "activations") <= (shared + others) * (1 + 1e-9)


@few
@given(st.lists(situations(), min_size=1, max_size=5))
def test_many_at_once_are_as_one_by_one(several: list[Situation]) -> None:
    together = memory_use(concatenate([s.case() for s in several]))
    alone = [kind(s.case(), "total") for s in several]
    assert together.total.tolist() == pytest.approx(alone)


def gpt3_block(tp: int, *, sequence_parallel: bool = False) -> float:
    """Bytes one GPT-3 block keeps over a micro-batch of one sequence under Megatron-LM of 2021."""
    layout = ParallelLayout(tp=tp, sequence_parallel=sequence_parallel)
    llama = Situation(layout=layout, stack="megatron-2021", seq_len=2048, global_batch=1).case()
    shape = {"hidden": 12288, "attention_width": 12288, "kv_width": 12288, "ffn": 49152, "heads": 96, "gated": 0}
    case = replace(llama, **{name: np.full(1, float(value)) for name, value in shape.items()})
    return float(block_activation_bytes(case)[0])


@pytest.mark.parametrize("tp", [1, 8])
def test_a_gpt_block_keeps_what_korthikanti_count(tp: int) -> None:
    """arXiv:2205.05198, per block and micro-batch: eq. 1 (s·b·h·(34 + 5·a·s/h)), eq. 2 (10 and 24/t) and eq. 4."""
    s, h, a = 2048, 12288, 96
    assert gpt3_block(tp) == pytest.approx(s * h * (10 + 24 / tp + 5 * a * s / (h * tp)))
    assert gpt3_block(tp, sequence_parallel=True) == pytest.approx(s * h * (34 + 5 * a * s / h) / tp)


def test_an_eager_block_keeps_what_torch_saves() -> None:
    """Another implementation: the tensors that autograd saves in the profiler's own FairScale block, weights and
    rotary tables aside, to within the norms' scales and the attention's logsumexp."""
    torch = pytest.importorskip("torch")
    from profiler.llama import Block, LlamaSettings, initialise, rope_tables
    from profiler.world import open_world, use_tensor_parallel

    seq_len = 256
    a = replace(load_architecture("llama3.1-8b"), hidden=512, ffn=1536, heads=8, kv_heads=2, head_dim=64)
    saved: dict[int, int] = {}
    with open_world("cpu"):
        use_tensor_parallel(1)
        block = Block(a, LlamaSettings())
        initialise(block, 0)
        block = block.to(torch.bfloat16)
        tables = rope_tables(a, seq_len, torch.device("cpu"))
        x = torch.randn(1, seq_len, a.hidden, dtype=torch.bfloat16, requires_grad=True)

        def note(tensor: Any) -> Any:
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            block(x, *tables)
        for known in (*block.parameters(), *tables):
            saved.pop(known.untyped_storage().data_ptr(), None)
    layout = ParallelLayout()
    case = Situation(layout=layout, stack="fairscale-eager", seq_len=seq_len, global_batch=1).case()
    shape = {"hidden": 512, "ffn": 1536, "attention_width": 512, "kv_width": 128, "heads": 8}
    case = replace(case, **{name: np.full(1, float(value)) for name, value in shape.items()})
    assert float(block_activation_bytes(case)[0]) == pytest.approx(sum(saved.values()), rel=0.01)


def test_interleaving_keeps_what_korthikanti_count_on_the_first_stage() -> None:
    """arXiv:2205.05198 section 4.2.3: interleaving keeps L·(1 + (p-1)/(p·m)) blocks' activations on the first stage
    where plain 1F1B keeps L. Megatron's warm-up is one chunk less on every stage after the first."""
    s = Situation(layout=ParallelLayout(pp=16, sharding="none"), model="llama3.1-70b", global_batch=256)

    def held(vp: int) -> float:
        case = s.case(vp=vp)
        return kind(case, "activations") / float(block_activation_bytes(case)[0])

    for vp in (1, 5):
        interleaved = 80 * (1 + (15 / (16 * vp) if vp > 1 else 0))
        assert held(vp) == pytest.approx(interleaved, abs=0.6)  # beside them, the backward pass under way


@few
@given(situations(pipelined=True))
def test_deeper_in_the_schedule_never_holds_more_than_all_micro_batches(s: Situation) -> None:
    case = s.case()
    whole = float(np.max(block_activation_bytes(s.case(recompute="none"))))
    stage = np.ceil((s.architecture.layers + 2) / s.layout.pp)
    assert kind(case, "activations") <= whole * (stage * float(case.micro_batches[0]) + 3) * 1.2


@few
@given(situations())
def test_zero_stages_in_order(s: Situation) -> None:
    """Each stage of ZeRO shares out one thing more (arXiv:1910.02054 figure 1): state never grows with the stage, but
    where stage 2 is FSDP that keeps its weights, whose whole gradients are of another width than its stack's own."""

    def state(sharding: Sharding) -> float:
        case = s.case(sharding=sharding, shard_degree=None)
        return sum(kind(case, name) for name in ("weights", "gradients", "optimizer"))

    assert state("none") == state("ddp") >= state("zero1")
    assert state("zero1") >= state("zero2") or s.case(sharding="zero2").zero2_by_block[0]
    if s.layout.pp == 1 and s.layout.dp * s.layout.cp >= 8 and s.architecture.layers >= 16:
        bf16 = replace(s, stack="torchtitan")
        sharded = bf16.case(sharding="fsdp", shard_degree=None)
        assert kind(sharded, "optimizer") < kind(bf16.case(sharding="zero1"), "optimizer")


@pytest.mark.parametrize("stack", ["kempnerforge", "llm-foundry", "fms-fsdp", "torchtitan"])
def test_fsdp_that_keeps_its_weights_holds_them_whole_beside_its_shards(stack: str) -> None:
    """torch's SHARD_GRAD_OP against FULL_SHARD: all of the weights in 16 bits and not two blocks of them; the rest,
    also whole gradients where the stack sums these, is the same."""
    s = Situation(layout=ParallelLayout(dp=8, sharding="zero2"), stack=stack, global_batch=64)
    kept, again = s.case(), s.case(sharding="fsdp")
    for name in ("gradients", "optimizer", "activations", "logits"):
        assert kind(kept, name) == kind(again, name)
    blocks = s.architecture.layers - 2
    assert kind(kept, "weights") - kind(again, "weights") == pytest.approx(
        2 * blocks * s.architecture.layer_parameters, rel=1e-6
    )


@few
@given(situations())
def test_recompute_in_order(s: Situation) -> None:
    """More recompute keeps less: none, the stack's selective policy, full, but for the block that is run again."""
    kept = [kind(s.case(recompute=r), "activations") for r in ("none", "selective", "full")]
    block = float(np.max(block_activation_bytes(s.case())))
    assert kept[1] <= kept[0] + 2 * block
    assert kept[2] <= kept[1] + 2 * block


@few
@given(situations())
def test_more_tensor_parallel_ranks_never_hold_more(s: Situation) -> None:
    """With sequence parallelism everything that one GPU holds is divided (arXiv:2205.05198 eq. 4)."""
    s = replace(s, layout=replace(s.layout, sequence_parallel=True, tp=1))
    totals = [kind(s.case(tp=tp), "total") for tp in (1, 2, 4, 8)]
    assert totals == sorted(totals, reverse=True)


def test_a_log_counts_less_than_the_device() -> None:
    memory = memory_use(Situation(layout=ParallelLayout(dp=64, sharding="fsdp"), global_batch=64).case())
    allocated, reserved, device = (float(memory.logged(log)[0]) for log in ("allocated", "reserved", "device"))
    assert allocated < reserved < device == float(memory.total[0])
    live = sum(float(np.max(getattr(memory, name))) for name in KINDS if name != "buffers")
    assert allocated == pytest.approx(live)


def test_fp8_products_keep_their_inputs_in_half() -> None:
    """Transformer Engine: four inputs in one byte, of which the attention's output stays in 16 bits besides."""
    s = Situation(layout=ParallelLayout(), model="llama3.1-8b", global_batch=1)
    bf16, fp8 = (float(block_activation_bytes(replace(s, precision=p).case())[0]) for p in ("bf16", "fp8"))
    assert bf16 - fp8 == pytest.approx(8192 * (4096 + 4096 - 4096 + 14336))


@pytest.mark.parametrize(
    ("total_gib", "verdict"), [(40, "fits"), (75, "tight"), (85, "tight"), (80 * 1.3, "does not fit")]
)
def test_a_peak_is_refused_only_beyond_the_models_error(total_gib: float, verdict: str) -> None:
    assert fit(total_gib, 80) == verdict


def test_llama3_405b_did_not_fit_without_pipeline() -> None:
    """405 B parameters at 18 bytes are 7.3 TB: TP 8 alone leaves 913 GB to each of eight ranks."""
    case = Situation(layout=ParallelLayout(tp=8), model="llama3.1-405b", global_batch=1).case()
    assert kind(case, "total") > 10 * 80 * 2**30


def published() -> list[TrainingRun]:
    return published_runs("scored")


def test_published_peaks_are_met_as_their_logs_count_them() -> None:
    """Median within 8 %, and nineteen in twenty within the error that a verdict of tight allows for."""
    runs = [run for run in published() if run.observed_peak_mem_gib]
    errors = [
        abs((p.peak_mem_gib or 0) / (run.observed_peak_mem_gib or 1) - 1)
        for run, p in zip(runs, estimate_runs(runs), strict=True)
    ]
    assert len(errors) > 80
    assert np.median(errors) < 0.08
    assert np.quantile(errors, 0.95) < ERROR_P95


def test_no_run_that_was_made_is_refused() -> None:
    refused = [p.id for p in estimate_runs(published()) if not p.fits]
    assert refused == []


def test_a_run_that_does_not_say_recomputed_what_it_had_to() -> None:
    """Six sequences of GPT-3 175B per GPU over 256 GPUs (NVIDIA JAX-Toolbox) leave no room for more than inputs."""
    [run] = [run for run in published() if run.id == "jaxtb-gpt3-175b-h100-bf16-te"]
    assert run.layout.recompute == "full"
    assert any("would not fit" in note for note in run.notes)


@pytest.mark.parametrize("stack", ["meta-internal", "torchtitan", "megatron-core"])
def test_a_context_parallel_rank_holds_the_whole_sequences_keys_and_values(stack: str) -> None:
    """Llama 2 13B's 40 heads of 128 at a million tokens: 20 GiB of keys and values for the block at work, on top of
    what an A100 of 40 GB holds without them."""
    cp, tokens, width = 32, 2**20, 5120
    layout = ParallelLayout(cp=cp, sharding="fsdp", recompute="full")
    case = Situation(layout=layout, model="llama3.1-8b", stack=stack, seq_len=tokens).case()
    of_13b = replace(case, hidden=np.full(1, 5120.0), attention_width=np.full(1, 5120.0), kv_width=np.full(1, 5120.0))
    of_13b = replace(of_13b, vocab=np.full(1, 32_000.0), ffn=np.full(1, 13_824.0), heads=np.full(1, 40.0))
    narrow = replace(of_13b, kv_width=np.full(1, 1.0), repeats_heads=np.zeros(1))
    more = float((memory_use(of_13b).activations - memory_use(narrow).activations)[0])
    assert more > 0.95 * 2 * 2 * tokens * width
    assert more < 1.25 * 2 * 2 * tokens * width  # with what a block keeps of its own
