"""What a person may ask of `herdplan-profile run`, checked, and turned into a `Request`. No torch here."""

import math
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, get_args

from profiler.architecture import ModelArchitecture, load_architecture
from profiler.files import InputError, nearest
from profiler.points import Point, Request
from profiler.profile import Execution, Recompute
from profiler.selfcheck import Trial
from profiler.sharding import rank_share, tensor_parallel_degrees

INSTALL = "pip install 'herdplan[profiler]'"
ATTENTION = ("flash", "cudnn", "math")
LAYOUTS = ("shared", "reference")
PRECISIONS = ("bf16", "fp16", "fp32")
DEVICES = ("cuda", "cpu")
QUICK_BUDGET_MINUTES = 0.5
QUICK_SEQ_LEN = "64"
QUICK_TENSOR_PARALLEL = 8
"""One rank's eighth of a layer is small enough for a laptop, and still a row that a plan can use."""


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What suits a kind of device when nothing is said."""

    seq_lens: str
    context_lens: str
    precision: str
    matmul_sizes: tuple[int, ...]
    copy_bytes: int
    parameter_counts: tuple[int, ...]


DEFAULTS = {
    "cuda": Defaults(
        seq_lens="8192",
        context_lens="131072",
        precision="bf16",
        matmul_sizes=(8192, 4096, 16384),
        copy_bytes=2**31,
        parameter_counts=(2**28, 2**26, 2**24),
    ),
    "cpu": Defaults(
        seq_lens="128",
        context_lens="512",
        precision="fp32",
        matmul_sizes=(1024,),
        copy_bytes=2**26,
        parameter_counts=(2**24, 2**22),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The words of the command line; `None` means by device."""

    model: str = "llama3.1-8b"
    tensor_parallel: str | None = None
    micro_batches: str = "1"
    seq_lens: str | None = None
    context_lens: str | None = None
    executions: str = "eager"
    recomputes: str = "none"
    precision: str | None = None
    attention: str = "flash"
    collectives: str = "shared"
    device: str | None = None
    budget_minutes: float = 8.0
    quick: bool = False

    @property
    def budget_s(self) -> float:
        """Seconds after which no new point is started."""
        minutes = min(self.budget_minutes, QUICK_BUDGET_MINUTES) if self.quick else self.budget_minutes
        return 60.0 * minutes

    def check(self) -> None:
        """Refuse what is wrong whatever the device, before anything slow is imported.

        Raises:
            InputError: one sentence that names the option, what was given and what is allowed.
        """
        if not (math.isfinite(self.budget_minutes) and self.budget_minutes > 0):
            raise InputError(f"--budget-minutes is {self.budget_minutes}; a number above 0 is needed.")
        if self.device is not None:
            _choice("--device", self.device, DEVICES)
        device = self.device or "cuda"
        self.request(device, ranks=1)

    def request(self, device: str, ranks: int) -> Request:
        """What to measure on `device` ("cuda" or "cpu") with this many ranks."""
        defaults = DEFAULTS[device]
        architectures = tuple(load_architecture(name.strip()) for name in self.model.split(","))
        usual = int(QUICK_SEQ_LEN if self.quick else defaults.seq_lens)
        seq_len = min(usual, *(architecture.context for architecture in architectures))
        options = replace(self, seq_lens=self.seq_lens or str(seq_len))
        return Request(
            architectures=tuple(dict.fromkeys(architectures)),
            tensor_parallel=options.degrees(architectures, device, ranks),
            micro_batches=_counts("--micro-batch", options.micro_batches),
            seq_lens=_counts("--seq-len", options.seq_lens or ""),
            context_lens=options.contexts(architectures, defaults),
            executions=_choices("--execution", options.executions, get_args(Execution)),
            recomputes=_choices("--recompute", options.recomputes, get_args(Recompute)),
            precision=_choice("--precision", options.precision or defaults.precision, PRECISIONS),
            attention_backends=_choices("--attention", options.attention, ATTENTION),
            collective_layout=_choice("--collectives", options.collectives, LAYOUTS) if ranks > 1 else "",
            matmul_sizes=defaults.matmul_sizes,
            fp8=device == "cuda",
            copy_bytes=defaults.copy_bytes,
            parameter_counts=defaults.parameter_counts,
        )

    def contexts(self, architectures: tuple[ModelArchitecture, ...], defaults: Defaults) -> tuple[int, ...]:
        """The whole sequences asked for, or the default where every model and the query block allow it."""
        if self.context_lens == "none":
            return ()
        if self.context_lens is not None:
            return _counts("--context-len", self.context_lens)
        block = max(_counts("--seq-len", self.seq_lens or ""))
        longest = min(architecture.context for architecture in architectures)
        usual = _counts("--context-len", defaults.context_lens)
        return tuple(s for s in usual if block < s <= longest and s % block == 0 and block % 2 == 0)

    def degrees(self, architectures: tuple[ModelArchitecture, ...], device: str, ranks: int) -> tuple[int, ...]:
        """The degrees asked for, or by default all ranks together; alone, all on a GPU and 1 on a CPU."""
        if self.tensor_parallel is not None:
            return _counts("--tp", self.tensor_parallel)
        if ranks > 1:
            for architecture in architectures:
                rank_share(architecture, ranks)
            return (ranks,)
        shared = set.intersection(*(set(tensor_parallel_degrees(a)) for a in architectures))
        descending = sorted(shared, reverse=True)  # large models, which matter most, run at high degrees
        if self.quick:
            return (next(degree for degree in descending if degree <= QUICK_TENSOR_PARALLEL),)
        return tuple(descending) if device == "cuda" else (1,)


@dataclass(frozen=True, kw_only=True)
class SelfCheckOptions:
    """The words of `herdplan-profile selfcheck`; `None` means by device."""

    model: str = "llama3.1-8b"
    layers: int | None = None
    tensor_parallel: int | None = None
    micro_batch: int = 1
    seq_len: int | None = None
    precision: str | None = None
    execution: str = "eager"
    recompute: str = "none"
    attention: str = "flash"
    device: str | None = None
    window_s: float = 2.0

    def check(self) -> None:
        """Refuse what is wrong before anything slow is imported. Raises `InputError`."""
        if not (math.isfinite(self.window_s) and self.window_s > 0):
            raise InputError(f"--seconds is {self.window_s}; a number above 0 is needed.")
        if self.device is not None:
            _choice("--device", self.device, DEVICES)
        self.trial(self.device or "cuda")

    def trial(self, device: str) -> Trial:
        """The step to check on `device`: by default one that a laptop can hold, or a few whole blocks on a GPU."""
        architecture = load_architecture(self.model)
        on_gpu = device == "cuda"
        degrees = [degree for degree in tensor_parallel_degrees(architecture) if degree <= QUICK_TENSOR_PARALLEL]
        usual = int(DEFAULTS[device].seq_lens if on_gpu else QUICK_SEQ_LEN)
        point = Point(
            workload="block",
            model=architecture.name,
            tp=self.tensor_parallel or (1 if on_gpu else max(degrees)),
            micro_batch=_at_least_one("--micro-batch", self.micro_batch),
            seq_len=_at_least_one("--seq-len", self.seq_len or min(usual, architecture.context)),
            precision=_choice("--precision", self.precision or DEFAULTS[device].precision, PRECISIONS),
            execution=_choice("--execution", self.execution, get_args(Execution)),
            recompute=_choice("--recompute", self.recompute, get_args(Recompute)),
            attention_backend=_choice("--attention", self.attention, ATTENTION),
        )
        layers = _at_least_one("--layers", (4 if on_gpu else 2) if self.layers is None else self.layers)
        return Trial(architecture=architecture, layers=layers, point=point)


def _at_least_one(option: str, value: int) -> int:
    if value < 1:
        raise InputError(f"{option} is {value}; 1 or more is needed.")
    return value


def require_torch() -> None:
    """Raise the one sentence that a machine without PyTorch or FairScale needs."""
    missing = [name for module, name in _NEEDED if not _installed(module)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise InputError(f"measuring needs {' and '.join(missing)}, which {verb} not installed here: {INSTALL}")


_NEEDED = (("torch", "PyTorch"), ("fairscale", "FairScale"))


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # a module that was set to None on purpose
        return False


def _counts(option: str, words: str) -> tuple[int, ...]:
    try:
        values = tuple(int(word) for word in words.split(","))
    except ValueError:
        raise InputError(f"{option} is '{words}'; whole numbers divided by commas are needed.") from None
    if min(values) < 1:
        raise InputError(f"{option} is '{words}'; every number must be 1 or more.")
    return tuple(dict.fromkeys(values))


def _choices(option: str, words: str, allowed: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(_choice(option, word.strip(), allowed) for word in words.split(",")))


def _choice(option: str, word: str, allowed: tuple[str, ...]) -> Any:
    if word not in allowed:
        raise InputError(f"{option} is '{word}'; {nearest(word, allowed)}.")
    return word
