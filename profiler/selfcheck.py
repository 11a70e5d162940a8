"""Does the sum of the parts make the whole? A small model's training step, predicted from its layers' rows.

No torch here: `profiler.training` runs the step for real.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from profiler.architecture import ModelArchitecture
from profiler.arithmetic import ELEMENT_BYTES
from profiler.files import InputError
from profiler.points import Point
from profiler.profile import LayerRow
from profiler.sharding import rank_share

TIME_GOAL = 0.03
"""Relative error of the time that a GPU should keep to."""
MEMORY_GOAL = 0.05
ENERGY_GOAL = 0.05


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """One training step; `None` is not measured."""

    forward_s: float
    backward_and_update_s: float
    peak_bytes: float | None
    energy_j: float | None

    @property
    def step_s(self) -> float:
        """Seconds of the whole step."""
        return self.forward_s + self.backward_and_update_s


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The step to predict and run: one rank's share of `layers` blocks and the model's two ends."""

    architecture: ModelArchitecture
    layers: int
    point: Point
    """A block of the step: its shape, precision, execution and so on hold for the whole of it."""

    def __post_init__(self) -> None:
        if self.point.seq_len > self.architecture.context:
            raise InputError(
                f"--seq-len is {self.point.seq_len}; {self.architecture.name}'s context is "
                f"{self.architecture.context} tokens."
            )
        rank_share(self.architecture, self.point.tp)

    @property
    def share(self) -> ModelArchitecture:
        """What one rank holds."""
        return rank_share(replace(self.architecture, layers=self.layers), self.point.tp)

    def parts(self) -> dict[str, Point]:
        """What to measure, by workload."""
        plain = replace(self.point, recompute="none", attention_backend="")
        update = Point(workload="grad_norm", precision=self.point.precision, size=self.share.parameters)
        return {
            "block": self.point,
            "embedding": replace(plain, workload="embedding"),
            "head_loss": replace(plain, workload="head_loss"),
            "optimizer": replace(update, workload="optimizer", optimizer_kernels="fused"),
            "grad_norm": update,
        }


def predict(trial: Trial, rows: Mapping[str, LayerRow]) -> StepCost:
    """The step's cost from the rows of `trial.parts()`.

    Times and energies add up. Memory is followed through the step: see `_peak_bytes`.
    """
    layered = {"block": trial.layers, "embedding": 1, "head_loss": 1}
    energies = [_energy_j(rows[part], count) for part, count in (layered | {"optimizer": 1, "grad_norm": 1}).items()]
    forward_s = sum(count * (rows[part].forward_s or 0.0) for part, count in layered.items())
    backward_s = sum(count * (rows[part].backward_s or 0.0) for part, count in layered.items())
    update_s = sum(rows[part].forward_s or 0.0 for part in ("optimizer", "grad_norm"))
    return StepCost(
        forward_s=forward_s,
        backward_and_update_s=backward_s + update_s,
        peak_bytes=_peak_bytes(trial, rows),
        energy_j=None if None in energies else sum(energy for energy in energies if energy is not None),
    )


def _energy_j(row: LayerRow, count: int) -> float | None:
    return None if row.energy_j is None else count * row.energy_j


def _peak_bytes(trial: Trial, rows: Mapping[str, LayerRow]) -> float | None:
    """The most that is allocated at once: in the head, in the first or last block's backward pass, in the update.

    Weights and the optimizer's state are always there, gradients from their layer's backward pass on, and what a
    layer kept from its forward to its backward pass. A row's own peak holds its gradients and what it kept.
    """
    if any(row.peak_bytes is None or row.resident_bytes is None for row in rows.values()):
        return None
    share, element = trial.share, ELEMENT_BYTES[trial.point.precision]
    gradients = share.parameters * element
    state = (rows["optimizer"].resident_bytes or 0) - gradients
    activation = trial.point.micro_batch * trial.point.seq_len * share.hidden * element
    block_gradients = share.layer_parameters * element
    head_gradients = (share.head_parameters + share.hidden) * element
    kept_first, kept = rows["embedding"].kept_bytes or 0, rows["block"].kept_bytes or 0
    in_block = state + head_gradients + kept_first + activation + _own(rows["block"])
    others = trial.layers - 1
    return max(
        state + kept_first + trial.layers * kept + _own(rows["head_loss"]),
        in_block + others * kept,  # the last block's backward pass comes first
        in_block + others * block_gradients,
        state + head_gradients + trial.layers * block_gradients + activation + _own(rows["embedding"]),
        state + gradients + max(_own(rows["optimizer"]), _own(rows["grad_norm"])),
    )


def _own(row: LayerRow) -> int:
    """What a pass allocates beyond what was there before."""
    return (row.peak_bytes or 0) - (row.resident_bytes or 0)


@dataclass(frozen=True, kw_only=True)
class SelfCheck:
    """Prediction and measurement of one step on the same device."""

    device: str
    trial: Trial
    parts: tuple[LayerRow, ...]
    predicted: StepCost
    measured: StepCost
    repetitions: int
    power_source: str
    """Which meter gave the energy of the measured step, or why there is none."""
    memory_source: str

    def errors(self) -> dict[str, float | None]:
        """(predicted - measured) / measured, None where one of them is missing."""
        pairs = {
            name: (getattr(self.predicted, name), getattr(self.measured, name))
            for name in ("forward_s", "backward_and_update_s", "step_s", "peak_bytes", "energy_j")
        }
        return {name: None if p is None or not m else p / m - 1.0 for name, (p, m) in pairs.items()}

    def to_json(self) -> str:
        """Everything, keys with their units."""
        point = self.trial.point
        content = {
            "device": self.device,
            "model": self.trial.architecture.name,
            "layers": self.trial.layers,
            "parameters": self.trial.share.parameters,
            "tp": point.tp,
            "micro_batch": point.micro_batch,
            "seq_len": point.seq_len,
            "precision": point.precision,
            "execution": point.execution,
            "recompute": point.recompute,
            "attention_backend": point.attention_backend,
            "predicted": asdict(self.predicted) | {"step_s": self.predicted.step_s},
            "measured": asdict(self.measured) | {"step_s": self.measured.step_s},
            "relative_error": self.errors(),
            "goal": {"step_s": TIME_GOAL, "peak_bytes": MEMORY_GOAL, "energy_j": ENERGY_GOAL},
            "repetitions": self.repetitions,
            "power_source": self.power_source,
            "memory_source": self.memory_source,
            "parts": [asdict(row) for row in self.parts],
        }
        return json.dumps(content, indent=1, allow_nan=False)
