"""The shape of a dense decoder and everything that follows from it: parameters, FLOPs and what a block keeps.

No torch here: planning needs the arithmetic, not the model.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from profiler.files import InputError, nearest, read_toml
from profiler.units import Count, Positive

MODELS = Path(__file__).parent / "models"

AttentionConvention = Literal["causal", "noncausal"]
"""Which half of the attention matrix a FLOP count includes.

`noncausal` counts all s² scores (the convention of PaLM, arXiv:2204.02311 appendix B, and of Megatron-LM);
`causal` counts the half that a causal mask leaves. Published MFUs use either: name the one used.
"""


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """Llama 3.1's frequency scaling of rotary embeddings (arXiv:2407.21783 §3.4 and the published code)."""

    factor: Positive
    low_frequency_factor: Positive
    high_frequency_factor: Positive
    original_context: Count


@dataclass(frozen=True, kw_only=True)
class ModelArchitecture:
    """A Llama-like dense decoder: pre-norm blocks of grouped-query attention and an MLP.

    Raises:
        InputError: where the shape is impossible (heads that the key/value heads do not divide).
    """

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    name: str
    layers: Count
    hidden: Count
    ffn: Count
    heads: Count
    kv_heads: Count
    vocab: Count
    source: str
    head_dim: Count = 128
    gated_mlp: bool = True
    """SwiGLU-like (three matrices) when true, a plain two-matrix MLP otherwise."""
    tied_embeddings: bool = False
    learned_positions: int = 0
    """Rows of a learned position table; 0 for rotary positions."""
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    biases: bool = False
    """Bias vectors on every linear layer (GPT-like)."""
    norm_eps: Positive = 1e-5
    rope_theta: Positive = 500_000.0
    rope_scaling: RopeScaling | None = None
    context: Count = 131_072

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise InputError(f"kv_heads {self.kv_heads} must divide heads {self.heads}.")

    @property
    def positions(self) -> int:
        """Tokens of the longest sequence that it was made for: its context, or a shorter table of positions."""
        return min(self.context, self.learned_positions or self.context)

    @property
    def attention_width(self) -> int:
        """Width of the concatenated query heads."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of the concatenated key (or value) heads."""
        return self.kv_heads * self.head_dim

    @property
    def mlp_matrices(self) -> int:
        """Matrices of hidden × ffn in one MLP: three when gated, two otherwise."""
        return 3 if self.gated_mlp else 2

    @property
    def layer_matmul_parameters(self) -> int:
        """Weights of one block that take part in a matrix product."""
        attention = self.hidden * (2 * self.attention_width + 2 * self.kv_width)
        return attention + self.mlp_matrices * self.hidden * self.ffn

    @property
    def layer_parameters(self) -> int:
        """All weights of one block, norms and biases included."""
        norms = 2 * self.hidden * (2 if self.norm == "layernorm" else 1)
        biases = 0
        if self.biases:
            up = (self.mlp_matrices - 1) * self.ffn
            biases = self.attention_width + 2 * self.kv_width + self.hidden + up + self.hidden
        return self.layer_matmul_parameters + norms + biases

    @property
    def embedding_parameters(self) -> int:
        """Token (and learned position) embeddings."""
        return (self.vocab + self.learned_positions) * self.hidden

    @property
    def head_parameters(self) -> int:
        """The output projection's own weights: none when it shares the embedding."""
        return 0 if self.tied_embeddings else self.vocab * self.hidden

    @property
    def parameters(self) -> int:
        """Every trainable weight of the model."""
        final_norm = self.hidden * (2 if self.norm == "layernorm" else 1)
        return self.layers * self.layer_parameters + self.embedding_parameters + self.head_parameters + final_norm

    @property
    def matmul_parameters(self) -> int:
        """Weights multiplied by every token: the blocks' matrices and the output projection."""
        return self.layers * self.layer_matmul_parameters + self.vocab * self.hidden

    def attention_flops_per_token(self, seq_len: int, convention: AttentionConvention) -> float:
        """Forward and backward FLOPs of the scores and the weighted sum, per token, over all layers.

        12·L·(heads·head_dim)·s (PaLM, arXiv:2204.02311 appendix B), halved for a causal count.
        """
        full = 12.0 * self.layers * self.attention_width * seq_len
        return full / 2 if convention == "causal" else full

    def flops_per_token(self, seq_len: int, convention: AttentionConvention) -> float:
        """Model FLOPs of one token's forward and backward pass: 6·(matmul parameters) + attention."""
        return 6.0 * self.matmul_parameters + self.attention_flops_per_token(seq_len, convention)


Number = TypeVar("Number", float, Any)


def kept_elements(
    hidden: Number,
    attention_width: Number,
    kv_width: Number,
    ffn: Number,
    mlp_tensors: Number,
    tp: Number,
    over_sequence: Number,
) -> Number:
    """Elements that one block keeps per token for its backward pass; numbers or arrays alike.

    After Korthikanti et al. (arXiv:2205.05198 section 4.1), without dropout and without the scores: inputs and
    outputs of both norms over the sequence-parallel ranks; queries, keys, values and the attention's output, and
    the MLP's `mlp_tensors` intermediate tensors (three when gated, two otherwise), over the tensor-parallel ranks.
    """
    residual = 4 * hidden / over_sequence
    attention = (2 * attention_width + 2 * kv_width) / tp
    return residual + attention + mlp_tensors * ffn / tp


def available_models() -> tuple[str, ...]:
    """Names of the models that ship."""
    return tuple(sorted(path.stem for path in MODELS.glob("*.toml")))


@cache
def load_architecture(name: str) -> ModelArchitecture:
    """Return a model by its name, or from the path of a TOML file of the same form.

    Raises:
        InputError: no such model, or a file that does not describe one.
    """
    if name.endswith(".toml"):
        return read_toml(Path(name), ModelArchitecture)
    key = name.lower()
    if key not in available_models():
        raise InputError(f"model '{name}' is not known; {nearest(key, available_models())} (or a .toml file).")
    return read_toml(MODELS / f"{key}.toml", ModelArchitecture)
