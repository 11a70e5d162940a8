"""The parity test: our model against transformers' LlamaForCausalLM in fp64 on gloo ranks, as JSON lines.

`python -m tests.profiler.parity_worker 1 2 4` forks one, two and four ranks after importing torch once; rank 0
of each world prints the worst over its ranks. With `inductor` instead, one rank runs the model as machine code.
"""

import itertools
import json
import sys
from dataclasses import replace
from typing import NamedTuple

import torch
import torch._inductor.config
import torch.distributed as dist
from fairscale.nn.model_parallel import initialize as groups
from transformers import LlamaConfig, LlamaForCausalLM

from profiler.architecture import ModelArchitecture, RopeScaling
from profiler.llama import Block, Llama, LlamaSettings, rope_tables
from profiler.world import open_world, use_tensor_parallel
from tests.profiler.ranks import fork_ranks

TINY = ModelArchitecture(
    name="tiny",
    source="test",
    layers=2,
    hidden=48,
    ffn=64,
    heads=8,
    kv_heads=4,
    head_dim=8,
    vocab=96,
    rope_scaling=RopeScaling(factor=8.0, low_frequency_factor=1.0, high_frequency_factor=4.0, original_context=16),
)
BATCH, SEQUENCE = 2, 24
RECOMPUTES_COMPILED = {1: ("none", "full"), 2: ("none", "full"), 4: ("full",)}
COLUMN_SHARDED = ("wq", "wk", "wv", "w1", "w3", "output", "embedding")
ROW_SHARDED = ("wo", "w2")
NAMES = {
    "embedding.weight": "model.embed_tokens.weight",
    "head.norm.weight": "model.norm.weight",
    "head.output.weight": "lm_head.weight",
    "attention_norm.weight": "input_layernorm.weight",
    "mlp_norm.weight": "post_attention_layernorm.weight",
    "attention.wq.weight": "self_attn.q_proj.weight",
    "attention.wk.weight": "self_attn.k_proj.weight",
    "attention.wv.weight": "self_attn.v_proj.weight",
    "attention.wo.weight": "self_attn.o_proj.weight",
    "mlp.w1.weight": "mlp.gate_proj.weight",
    "mlp.w2.weight": "mlp.down_proj.weight",
    "mlp.w3.weight": "mlp.up_proj.weight",
}


def reference_model(layers: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        hidden_size=TINY.hidden,
        intermediate_size=TINY.ffn,
        num_hidden_layers=layers,
        num_attention_heads=TINY.heads,
        num_key_value_heads=TINY.kv_heads,
        head_dim=TINY.head_dim,
        vocab_size=TINY.vocab,
        rms_norm_eps=TINY.norm_eps,
        max_position_embeddings=TINY.context,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": TINY.rope_theta,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
        tie_word_embeddings=False,
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config).to(torch.float64)


def theirs(name: str) -> str:
    """Name of one of our parameters in transformers' model."""
    if name.startswith("blocks."):
        _, layer, rest = name.split(".", 2)
        return f"model.layers.{layer}.{NAMES[rest]}"
    return NAMES[name]


def shard(name: str, full: torch.Tensor) -> torch.Tensor:
    """This rank's part of a full matrix (or of its gradient)."""
    layer = name.split(".")[-2]
    size, rank = groups.get_model_parallel_world_size(), groups.get_model_parallel_rank()
    if layer in COLUMN_SHARDED:
        return full.chunk(size, dim=0)[rank]
    return full.chunk(size, dim=1)[rank] if layer in ROW_SHARDED else full


class Case(NamedTuple):
    layout: str
    recompute: str
    backend: str
    compiler: str = ""
    """torch.compile's back end; empty runs eagerly."""

    @property
    def settings(self) -> LlamaSettings:
        return LlamaSettings(attention_backend=self.backend, collective_layout=self.layout, recompute=self.recompute)


def cases(ranks: int) -> list[Case]:
    """Every layout × recompute × kernel; compiled ahead of time with and without recompute."""
    eager = [
        Case(*c) for c in itertools.product(("reference", "shared"), ("none", "selective", "full"), ("flash", "math"))
    ]
    return eager + [Case("shared", recompute, "math", "aot_eager") for recompute in RECOMPUTES_COMPILED[ranks]]


def compare(case: Case, reference: LlamaForCausalLM) -> tuple[float, float]:
    """Loss difference, and the worst gradient difference relative to that gradient's norm."""
    tokens = torch.randint(TINY.vocab, (BATCH, SEQUENCE), generator=torch.Generator().manual_seed(1))
    targets = torch.randint(TINY.vocab, (BATCH, SEQUENCE), generator=torch.Generator().manual_seed(2))
    parameters = dict(reference.named_parameters())
    architecture = replace(TINY, layers=reference.config.num_hidden_layers)
    model = Llama(architecture, case.settings, SEQUENCE)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(shard(name, parameters[theirs(name)]))
    run = torch.compile(model, backend=case.compiler, fullgraph=True) if case.compiler else model
    loss = run(tokens, targets)
    loss.backward()

    reference.zero_grad()
    logits = reference(tokens).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    expected.backward()
    worst = 0.0
    for name, parameter in model.named_parameters():
        wanted = shard(name, parameters[theirs(name)].grad)
        worst = max(worst, float((parameter.grad - wanted).norm() / wanted.norm()))
    return abs(loss.item() - expected.item()), worst


def count_all_reduces(settings: LlamaSettings) -> tuple[int, int]:
    """All-reduces of one block's forward and backward pass."""
    calls = []
    original = dist.all_reduce

    def counted(*args: object, **kwargs: object) -> object:
        calls.append(None)
        return original(*args, **kwargs)

    block = Block(TINY, settings)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(BATCH, SEQUENCE, TINY.hidden, requires_grad=True)
    dist.all_reduce = counted
    try:
        y = block(x, *rope_tables(TINY, SEQUENCE, torch.device("cpu")))
        forward = len(calls)
        y.sum().backward()
    finally:
        dist.all_reduce = original
    return forward, len(calls) - forward


def run_rank(inductor: bool = False) -> None:
    """Print what every case gives. Compiled ones have one layer: a second makes the same graph, only longer."""
    torch.manual_seed(0)
    with open_world("cpu") as world:
        use_tensor_parallel(world.ranks)
        references = {"": reference_model(TINY.layers), "compiled": reference_model(1)}
        for case in [Case("shared", "none", "math", "inductor")] if inductor else cases(world.ranks):
            reference = references["compiled" if case.compiler else ""]
            loss, gradient = (world.agree(error) for error in compare(case, reference))
            torch.compiler.reset()
            forward, backward = count_all_reduces(case.settings)
            if world.leads:
                found = {"loss": loss, "gradient": gradient, "forward": forward, "backward": backward}
                print(json.dumps({"ranks": world.ranks, **case._asdict(), **found}), flush=True)


def main() -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    if sys.argv[1:] == ["inductor"]:
        torch._inductor.config.cpp.simdlen = 1  # plain loops: half the time to compile them
        run_rank(inductor=True)
        return
    for ranks in sys.argv[1:]:
        assert not any(fork_ranks(int(ranks), run_rank)), f"a rank of {ranks} failed"


if __name__ == "__main__":
    main()
