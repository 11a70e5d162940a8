"""The Profile contract: what one GPU really does, as tidy rows with their provenance.

A profile is what crosses from the profiler to the simulator. Every row says where it comes from: `measured`
on the GPU named in the provenance, `scaled` from another profile by a stated rule, or `roofline`, computed
from a datasheet. No torch here.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from profiler.files import InputError, read_text, validated, write_atomic
from profiler.units import Amount, Count, Positive

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 2
PROFILES = Path(__file__).parent / "profiles"

Origin = Literal["measured", "scaled", "roofline"]
Status = Literal["ok", "oom", "error"]
Execution = Literal["eager", "compiled"]
Precision = Literal["fp32", "fp16", "bf16", "fp8"]
Recompute = Literal["none", "selective", "full"]
Workload = Literal[
    "block",  # one transformer block, whole
    "qkv",  # query, key and value projections
    "attention",  # rotary embedding, scores, softmax, weighted sum
    "attention_out",  # output projection
    "mlp",
    "norms",  # both RMSNorms and residual additions of a block
    "embedding",
    "head_loss",  # final norm, output projection, vocabulary-parallel cross entropy
    "optimizer",  # AdamW over `size` parameters on one rank, conversions to and from fp32 included
    "grad_norm",  # norm of `size` fp32 gradients, and their clipping
    "launch",  # host time of launching one empty kernel
    "matmul",  # the matmul ceiling: square, `size` wide
    "copy",  # the copy ceiling: `size` bytes read and written
]
DISAGREEING = "METERS DISAGREE"
"""How `power_source` begins where two meters of one window do not agree."""

CollectiveOp = Literal["all_reduce", "all_gather", "reduce_scatter", "send_recv", "all_to_all"]


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One measured point. Times are seconds; `None` means not measured, never zero.

    One tensor-parallel rank's share is measured: FLOPs, bytes and `size` are per GPU.
    """

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    workload: Workload
    model: str
    origin: Origin
    status: Status = "ok"
    message: str = ""
    """Why `status` is not ok, or the rule by which the row was scaled."""
    tp: Count = 1
    micro_batch: Count = 1
    seq_len: Count = 1
    context_len: Count | None = None
    """Tokens of the whole sequence, where a context-parallel rank holds `seq_len` of its queries: it attends to
    the gathered keys and values of all of them, and the causal mask leaves half of `seq_len` × `context_len`."""
    precision: Precision = "bf16"
    recompute: Recompute = "none"
    execution: Execution = "eager"
    attention_backend: str = ""
    collective_layout: Literal["", "reference", "shared"] = ""
    optimizer_kernels: Literal["", "fused", "foreach"] = ""
    accumulates: bool = False
    """Backward adds to gradients that exist, as every micro-batch after a step's first does."""
    size: int | None = None
    forward_s: Positive | None = None
    forward_p10_s: Positive | None = None
    forward_p90_s: Positive | None = None
    backward_s: Positive | None = None
    backward_p10_s: Positive | None = None
    backward_p90_s: Positive | None = None
    repetitions: int = 0
    forward_flops: Amount = 0.0
    backward_flops: Amount = 0.0
    forward_bytes: Amount = 0.0
    backward_bytes: Amount = 0.0
    resident_bytes: int | None = None
    """Allocated before a pass: weights, inputs, the output's gradient, an optimizer's state."""
    kept_bytes: int | None = None
    """What the forward pass leaves allocated for the backward pass, its output included, its input not."""
    peak_bytes: int | None = None
    """Highest allocation during a pass, `resident_bytes` included."""
    power_mean_w: Amount | None = None
    power_p95_w: Amount | None = None
    energy_j: Amount | None = None
    power_source: str = ""
    sm_clock_mhz: Amount | None = None
    temperature_c: float | None = None
    throttle_reasons: str = ""

    @property
    def tokens(self) -> int:
        """Tokens that one rank's pass holds."""
        return self.micro_batch * self.seq_len

    @property
    def meters_agree(self) -> bool:
        """False where two meters read different powers over one window."""
        return not self.power_source.startswith(DISAGREEING)


@dataclass(frozen=True, kw_only=True)
class CollectiveRow:
    """One collective at one size. `size_bytes` follows nccl-tests: the buffer (all_reduce, all_to_all,
    send_recv), the gathered total (all_gather), the total input (reduce_scatter)."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    op: CollectiveOp
    size_bytes: Count
    ranks: Count
    scope: Literal["node", "fabric"]
    time_s: Positive
    time_p10_s: Positive | None = None
    time_p90_s: Positive | None = None
    repetitions: int = 0
    backend: str = ""
    origin: Origin = "measured"

    @property
    def bus_bandwidth_bytes_per_s(self) -> float:
        """Bus bandwidth as nccl-tests defines it: size/time × 2(n-1)/n, (n-1)/n or 1."""
        share = (self.ranks - 1) / self.ranks
        factor = {"all_reduce": 2 * share, "send_recv": 1.0}.get(self.op, share)
        return self.size_bytes / self.time_s * factor


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where, when, with what and how a profile was taken."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    device: str
    """Name the driver gives, or the catalogue's name for a roofline."""
    gpu: str
    """Name in herdplan's hardware catalogue; empty for a device it does not know."""
    origin: Origin
    method: str
    """One sentence: how the numbers came to be."""
    taken_at: str = ""
    command: str = ""
    herdplan: str = ""
    host: str = ""
    driver: str = ""
    cuda: str = ""
    torch: str = ""
    fairscale: str = ""
    nccl: str = ""
    python: str = ""
    ranks: Count = 1
    power_limit_w: Amount | None = None
    sm_clock_max_mhz: Amount | None = None
    memory_clock_mhz: Amount | None = None
    idle_power_w: Amount | None = None
    memory_bytes: Amount | None = None
    peak_matmul_flops: Amount | None = None
    """The measured (or datasheet) matmul ceiling at 16 or 32 bits, FLOP/s."""
    peak_fp8_matmul_flops: Amount | None = None
    """The measured fp8 matmul ceiling (scaled per tensor), FLOP/s."""
    copy_bytes_per_s: Amount | None = None
    """The measured (or datasheet) copy ceiling, bytes read plus written per second."""
    scaled_from: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Rows of layers and collectives with their provenance."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    name: str
    provenance: Provenance
    layers: tuple[LayerRow, ...] = ()
    collectives: tuple[CollectiveRow, ...] = ()
    schema_version: int = field(default=SCHEMA_VERSION)

    def __hash__(self) -> int:
        """Of what tells profiles apart, not of their thousands of rows; equal ones have equal hashes."""
        return hash((self.name, self.provenance, len(self.layers), len(self.collectives)))

    @cached_property
    def digest(self) -> str:
        """Tells this profile from any other: the start of the SHA-256 of its content, as its file has it."""
        return _digest(asdict(validated(asdict(self), Profile, source=f"profile '{self.name}'")))[:12]

    def to_frame(self) -> "pd.DataFrame":
        """The layer rows as a table, one column per field."""
        import pandas as pd

        columns = [f.name for f in fields(LayerRow)]
        return pd.DataFrame([asdict(row) for row in self.layers], columns=columns)

    def to_json(self) -> str:
        """The whole profile as JSON, with digests of its content that `read_profile` checks."""
        content = asdict(validated(asdict(self), Profile, source=f"profile '{self.name}'"))  # as it will be read
        digests = {"sha256": _digest(content), "digests": _digests(content)}
        return json.dumps({**content, **digests}, indent=1, sort_keys=True, allow_nan=False)

    def write(self, path: Path) -> None:
        """Write the profile to `path`, whole or not at all."""
        write_atomic(path, self.to_json() + "\n")


def _digest(content: object) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _digests(content: Mapping[str, Any]) -> dict[str, str]:
    """A short digest of every row, every column and every key of the provenance, to say where a file was edited."""
    found = {f"provenance.{key}": _digest(value) for key, value in content["provenance"].items()}
    for table in ("layers", "collectives"):
        rows = content[table]
        found |= {f"{table}.{i}": _digest(row) for i, row in enumerate(rows)}
        found |= {f"{table}.{key}": _digest([row[key] for row in rows]) for key in (rows[0] if rows else ())}
    return {place: digest[:8] for place, digest in found.items()}


def _edited_places(content: Mapping[str, Any], stated: object) -> str:
    """Where the content is not what its digests say: rows and columns by name; empty where they do not tell."""
    if not isinstance(stated, dict):
        return ""
    found = _digests(content)
    places = sorted(place for place in found.keys() | stated.keys() if found.get(place) != stated.get(place))
    rows = [place for place in places if place.split(".")[-1].isdigit()]
    columns = [place.split(".", 1)[-1] for place in places if place not in rows]
    return " ".join([*(f"row '{row}'" for row in rows[:1]), *(f"column '{column}'" for column in columns[:1])])


def read_profile(path: Path) -> Profile:
    """Read and check a profile.

    Raises:
        InputError: truncated, edited, of another schema, or with a value that cannot be; names row and column.
    """
    try:
        data = json.loads(read_text(path), parse_constant=lambda word: _refuse(path, word))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not a whole JSON file (line {error.lineno}: {error.msg}).") from None
    except InputError:
        raise
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        raise InputError(f"{path}: not a herdplan profile (a number too long or values nested too deep).") from None
    if not isinstance(data, dict) or "provenance" not in data or "layers" not in data:
        raise InputError(f"{path}: not a herdplan profile (keys 'provenance' and 'layers' are needed).")
    if data.get("schema_version") != SCHEMA_VERSION:
        given = data.get("schema_version")
        raise InputError(f"{path}: schema version {given}; this herdplan reads {SCHEMA_VERSION}.")
    stated, places = data.pop("sha256", None), data.pop("digests", None)
    profile = validated(data, Profile, source=str(path))
    if stated != _digest(asdict(profile)):
        where = _edited_places(asdict(profile), places)
        at = f" at {where}" if where else ""
        raise InputError(f"{path}: its content does not match its digest{at}; it was edited after it was measured.")
    return profile


def _refuse(path: Path, word: str) -> None:
    raise InputError(f"{path}: contains {word}; a profile holds finite numbers only.")
