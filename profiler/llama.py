"""A trainable Llama 3.1 on FairScale's tensor-parallel layers.

Written from the paper (arXiv:2407.21783) and the papers it builds on: grouped-query attention
(arXiv:2305.13245), rotary embeddings (arXiv:2104.09864), RMSNorm (arXiv:1910.07467) and SwiGLU
(arXiv:2002.05202).

Shape suffixes on tensors: B micro-batch, S sequence, D hidden, H query heads and K key/value heads of this
rank, E head dimension, V vocabulary of this rank.

Rotary pairs are (i, i + E/2), "rotate-half". A checkpoint that pairs (2i, 2i + 1) needs the rows of its wq
and wk permuted; the arithmetic, and so what is measured, is the same.
"""

# ruff: noqa: N803, N806  (shape suffixes are capitals)
# torch is untyped to mypy here, so nn.Module is Any:
# mypy: allow-subclassing-any

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from fairscale.nn.model_parallel import cross_entropy, layers, mappings
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right
from torch.utils.checkpoint import checkpoint

from profiler.architecture import ModelArchitecture, RopeScaling
from profiler.files import InputError

AttentionBackend = Literal["flash", "cudnn", "math"]
CollectiveLayout = Literal["reference", "shared"]
Recompute = Literal["none", "selective", "full"]

_KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
_INIT_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class LlamaSettings:
    """How the model runs; what it is comes from `ModelArchitecture`."""

    attention_backend: AttentionBackend = "flash"
    """The SDPA kernel, forced: a kernel that cannot run raises instead of falling back in silence."""
    collective_layout: CollectiveLayout = "shared"
    """`reference`: wq, wk, wv, w1, w3 copy their input to the ranks each: 5 all-reduces in backward.
    `shared`: one copy feeds q/k/v and one feeds w1/w3: 2."""
    recompute: Recompute = "none"
    """`selective` recomputes rotary embedding and attention (arXiv:2205.05198), `full` the whole block."""


def refuse_unsupported(architecture: ModelArchitecture) -> None:
    """Raise `InputError` for a shape this model cannot express (GPT-like norms, biases, positions)."""
    plain = architecture.norm == "rmsnorm" and architecture.gated_mlp and not architecture.biases
    if not plain or architecture.learned_positions or architecture.tied_embeddings:
        raise InputError(
            f"{architecture.name} cannot be measured: the profiler builds Llama-like models only "
            "(RMSNorm, gated MLP, no biases, rotary positions, untied embeddings)."
        )


def rope_frequencies(
    head_dim: int, theta: float, scaling: RopeScaling | None, device: torch.device | None = None
) -> Tensor:
    """Rotary angular frequencies, fp64 of shape (head_dim / 2,), in radians per position.

    Llama 3.1 divides the frequencies of long wavelengths by `factor`, keeps short ones, and interpolates
    linearly in wavelengths-per-context between (arXiv:2407.21783 §3.4 and the published configuration).
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float64, device=device) / head_dim
    frequencies = theta**-exponents
    if scaling is None:
        return frequencies
    turns = scaling.original_context * frequencies / (2 * math.pi)
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    keep = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    return frequencies * (keep + (1.0 - keep) / scaling.factor)


def rope_tables(architecture: ModelArchitecture, seq_len: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every position, fp32 or the default dtype if wider, each (S, E)."""
    frequencies = rope_frequencies(architecture.head_dim, architecture.rope_theta, architecture.rope_scaling, device)
    angles = torch.outer(torch.arange(seq_len, dtype=torch.float64, device=device), frequencies)
    angles = torch.cat((angles, angles), dim=-1)
    dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x_BSHE: Tensor, cos_SE: Tensor, sin_SE: Tensor) -> Tensor:
    """Rotate each head's pairs by its position's angle; result in the input's dtype."""
    first, second = x_BSHE.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    rotated: Tensor = x_BSHE * cos_SE[:, None, :] + turned * sin_SE[:, None, :]
    return rotated.to(x_BSHE.dtype)


def causal_attention(q: Tensor, k: Tensor, v: Tensor, backend: AttentionBackend) -> Tensor:
    """Grouped-query causal attention by one kernel: (B, S, H, E) from (B, S, H, E) and twice (B, T, K, E).

    Where there are more keys than queries (T > S), the queries are those of the last S positions.

    Raises:
        RuntimeError: the kernel cannot run here, or on this dtype; there is no silent other choice.
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    grouped = q.shape[1] != k.shape[1]
    square = q.shape[2] == k.shape[2]
    mask = None if square else _mask_to_the_last_key(q.shape[2], k.shape[2], q.device)
    with sdpa_kernel(_KERNELS[backend]):
        y: Tensor = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=square, enable_gqa=grouped)
    return y.transpose(1, 2)


def _mask_to_the_last_key(queries: int, keys: int, device: torch.device) -> Tensor:
    """The causal mask of the last `queries` of `keys` positions: a name for the GPU's flash kernel, a matrix else."""
    if device.type == "cuda":
        return causal_lower_right(queries, keys)
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


def context_parallel_attention(q: Tensor, k: Tensor, v: Tensor, backend: AttentionBackend) -> Tensor:
    """Attention of one context-parallel rank: (B, S, H, E) from its queries and all gathered keys and values.

    Every rank holds two of 2·CP chunks of the sequence, the i-th and the i-th last, so that all do the same
    work (arXiv:2407.21783 section 3.3.2); this is the first rank. The causal mask leaves half of queries × keys.
    """
    near, far = q.chunk(2, dim=1)
    seen = near.shape[1]
    first = causal_attention(near, k[:, :seen], v[:, :seen], backend)
    return torch.cat((first, causal_attention(far, k, v, backend)), dim=1)


class RmsNorm(nn.Module):
    """x / rms(x) · weight, computed in fp32 or wider (arXiv:1910.07467, eq. 4)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scaled = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + self.eps)
        return scaled.to(x.dtype) * self.weight


def _untouched(weight: Tensor) -> Tensor:
    # FairScale initialises the full matrix on every rank; shards are initialised afterwards instead.
    return weight


def _column(inputs: int, outputs: int) -> nn.Module:
    # gather_output would all-gather activations (B·S·V for the head); everything downstream works on shards.
    layer: nn.Module = layers.ColumnParallelLinear(
        inputs, outputs, bias=False, gather_output=False, init_method=_untouched
    )
    return layer


def _row(inputs: int, outputs: int) -> nn.Module:
    layer: nn.Module = layers.RowParallelLinear(
        inputs, outputs, bias=False, input_is_parallel=True, init_method=_untouched
    )
    return layer


def _fan_out(x: Tensor, columns: list[nn.Module], layout: CollectiveLayout) -> list[Tensor]:
    """Feed one input to several column-parallel layers: one backward all-reduce, or one for each layer."""
    if layout == "reference":
        return [column(x) for column in columns]
    shared = mappings.copy_to_model_parallel_region(x)
    return [F.linear(shared, column.weight) for column in columns]


class Attention(nn.Module):
    """Grouped-query causal self-attention; its three stages can be called, and measured, alone."""

    def __init__(self, architecture: ModelArchitecture, settings: LlamaSettings) -> None:
        super().__init__()
        self.head_dim = architecture.head_dim
        self.settings = settings
        hidden, width, kv_width = architecture.hidden, architecture.attention_width, architecture.kv_width
        self.wq = _column(hidden, width)
        self.wk = _column(hidden, kv_width)
        self.wv = _column(hidden, kv_width)
        self.wo = _row(width, hidden)

    def project(self, x_BSD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, S, H, E), keys and values (B, S, K, E) of this rank."""
        q, k, v = (
            y.unflatten(-1, (-1, self.head_dim))
            for y in _fan_out(x_BSD, [self.wq, self.wk, self.wv], self.settings.collective_layout)
        )
        return q, k, v

    def attend(self, q: Tensor, k: Tensor, v: Tensor, cos_SE: Tensor, sin_SE: Tensor) -> Tensor:
        """Rotary embedding, causal attention; returns (B, S, H·E)."""
        q, k = rotate(q, cos_SE, sin_SE), rotate(k, cos_SE, sin_SE)
        return causal_attention(q, k, v, self.settings.attention_backend).flatten(2)

    def attend_context(
        self, q: Tensor, k: Tensor, all_k: Tensor, all_v: Tensor, cos_SE: Tensor, sin_SE: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A context-parallel rank's share: rotates its own q and k, attends to `all_k` and `all_v` (B, T, K, E).

        Returns the attention's output (B, S, H·E) and the rotated k, which the other ranks gather.
        """
        q, k = rotate(q, cos_SE, sin_SE), rotate(k, cos_SE, sin_SE)
        return context_parallel_attention(q, all_k, all_v, self.settings.attention_backend).flatten(2), k

    def forward(self, x_BSD: Tensor, cos_SE: Tensor, sin_SE: Tensor) -> Tensor:
        """Attention over this rank's heads, summed over the ranks: (B, S, D)."""
        q, k, v = self.project(x_BSD)
        if self.settings.recompute == "selective":
            y = checkpoint(self.attend, q, k, v, cos_SE, sin_SE, use_reentrant=False, preserve_rng_state=False)
        else:
            y = self.attend(q, k, v, cos_SE, sin_SE)
        output: Tensor = self.wo(y)
        return output


class Mlp(nn.Module):
    """SwiGLU: w2(silu(w1 x) · w3 x) (arXiv:2002.05202, eq. 6)."""

    def __init__(self, architecture: ModelArchitecture, settings: LlamaSettings) -> None:
        super().__init__()
        self.settings = settings
        self.w1 = _column(architecture.hidden, architecture.ffn)
        self.w3 = _column(architecture.hidden, architecture.ffn)
        self.w2 = _row(architecture.ffn, architecture.hidden)

    def forward(self, x_BSD: Tensor) -> Tensor:
        """The MLP over this rank's hidden units, summed over the ranks: (B, S, D)."""
        gate, up = _fan_out(x_BSD, [self.w1, self.w3], self.settings.collective_layout)
        output: Tensor = self.w2(F.silu(gate) * up)
        return output


class Block(nn.Module):
    """One pre-norm transformer block; `full` recompute keeps only its input for the backward pass."""

    def __init__(self, architecture: ModelArchitecture, settings: LlamaSettings) -> None:
        super().__init__()
        self.settings = settings
        self.attention_norm = RmsNorm(architecture.hidden, architecture.norm_eps)
        self.attention = Attention(architecture, settings)
        self.mlp_norm = RmsNorm(architecture.hidden, architecture.norm_eps)
        self.mlp = Mlp(architecture, settings)

    def _forward(self, x_BSD: Tensor, cos_SE: Tensor, sin_SE: Tensor) -> Tensor:
        h = x_BSD + self.attention(self.attention_norm(x_BSD), cos_SE, sin_SE)
        return h + self.mlp(self.mlp_norm(h))

    def forward(self, x_BSD: Tensor, cos_SE: Tensor, sin_SE: Tensor) -> Tensor:
        """Return (B, S, D) from (B, S, D)."""
        if self.settings.recompute != "full":
            return self._forward(x_BSD, cos_SE, sin_SE)
        y: Tensor = checkpoint(self._forward, x_BSD, cos_SE, sin_SE, use_reentrant=False, preserve_rng_state=False)
        return y


class Head(nn.Module):
    """Final norm, vocabulary-parallel output projection and cross entropy."""

    def __init__(self, architecture: ModelArchitecture) -> None:
        super().__init__()
        self.norm = RmsNorm(architecture.hidden, architecture.norm_eps)
        self.output = _column(architecture.hidden, architecture.vocab)

    def forward(self, x_BSD: Tensor, targets_BS: Tensor) -> Tensor:
        """Mean cross entropy over all tokens, a scalar in fp32 or wider."""
        logits_BSV = self.output(self.norm(x_BSD))
        # Half precision is too coarse for the sums. FairScale overwrites these logits; none else reads them.
        wide = logits_BSV.to(torch.promote_types(logits_BSV.dtype, torch.float32))
        loss: Tensor = cross_entropy.vocab_parallel_cross_entropy(wide, targets_BS).mean()
        return loss


class Llama(nn.Module):
    """The whole model: tokens and targets in, mean loss out.

    Needs FairScale's model-parallel groups (see `profiler.world`). Built on the CPU in torch's default dtype,
    because FairScale ignores device contexts; move it afterwards.
    """

    def __init__(self, architecture: ModelArchitecture, settings: LlamaSettings, max_seq_len: int) -> None:
        super().__init__()
        refuse_unsupported(architecture)
        self.embedding = embedding(architecture)
        self.blocks = nn.ModuleList(Block(architecture, settings) for _ in range(architecture.layers))
        self.head = Head(architecture)
        cos_SE, sin_SE = rope_tables(architecture, max_seq_len, torch.device("cpu"))
        self.register_buffer("cos_SE", cos_SE, persistent=False)
        self.register_buffer("sin_SE", sin_SE, persistent=False)

    def forward(self, tokens_BS: Tensor, targets_BS: Tensor) -> Tensor:
        """Mean cross entropy of predicting `targets_BS` (already shifted) from `tokens_BS`."""
        x_BSD = self.embedding(tokens_BS)
        length = tokens_BS.shape[1]
        for block in self.blocks:
            x_BSD = block(x_BSD, self.cos_SE[:length], self.sin_SE[:length])
        loss: Tensor = self.head(x_BSD, targets_BS)
        return loss


def embedding(architecture: ModelArchitecture) -> nn.Module:
    """The vocabulary-parallel token embedding, its weights not yet initialised."""
    module: nn.Module = layers.VocabParallelEmbedding(architecture.vocab, architecture.hidden, init_method=_untouched)
    return module


def initialise(module: nn.Module, seed: int) -> None:
    """Draw this rank's matrices from N(0, 0.02²); norms are ones, equal on every rank."""
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            if parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                generator = torch.Generator(parameter.device).manual_seed(seed * 100_003 + i)
                parameter.normal_(0.0, _INIT_STD, generator=generator)
