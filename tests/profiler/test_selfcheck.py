"""The sum of the parts against the whole: the sum by hand, and a real step on this CPU."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from fairscale.nn.model_parallel import initialize as groups
from hypothesis import given
from hypothesis import strategies as st

from profiler.architecture import ModelArchitecture, load_architecture
from profiler.files import InputError
from profiler.options import SelfCheckOptions
from profiler.points import Point
from profiler.profile import LayerRow
from profiler.selfcheck import Trial, predict
from profiler.training import check_self, training_step
from profiler.world import World, join, open_world, use_tensor_parallel
from tests.profiler.ranks import run_ranks

BLOCK = Point(workload="block", model="tiny", seq_len=64, precision="fp32", attention_backend="flash")


def trial_of(architecture: ModelArchitecture, layers: int = 3, **changes: object) -> Trial:
    return Trial(architecture=architecture, layers=layers, point=replace(BLOCK, **changes))  # type: ignore[arg-type]


def rows_of(trial: Trial, energy_j: float | None = 1.0) -> dict[str, LayerRow]:
    return {
        workload: LayerRow(
            workload=point.workload, model="tiny", origin="measured", forward_s=1.0, energy_j=energy_j,
            backward_s=None if point.size else 2.0,
        )
        for workload, point in trial.parts().items()
    }  # fmt: skip


@given(layers=st.integers(1, 200))
def test_a_step_is_its_layers_its_ends_and_its_update(layers: int) -> None:
    trial = trial_of(load_architecture("llama3.1-8b"), layers)
    cost = predict(trial, rows_of(trial))
    assert cost.forward_s == layers + 2
    assert cost.backward_and_update_s == 2 * (layers + 2) + 2
    assert cost.step_s == 3 * (layers + 2) + 2
    assert cost.energy_j == layers + 2 + 2


def test_what_one_part_lacks_the_sum_lacks() -> None:
    trial = trial_of(load_architecture("llama3.1-8b"))
    rows = rows_of(trial)
    rows["grad_norm"] = replace(rows["grad_norm"], energy_j=None)
    cost = predict(trial, rows)
    assert cost.energy_j is None
    assert cost.peak_bytes is None


def test_the_update_covers_every_weight_of_the_rank() -> None:
    model = load_architecture("llama3.1-8b")
    sizes = [trial_of(model, 32, tp=tp).parts()["optimizer"].size for tp in (1, 8)]
    assert sizes[0] == model.parameters
    assert sizes[1] == trial_of(model, 32, tp=8).share.parameters < model.parameters / 7


@pytest.fixture
def world() -> Iterator[World]:
    with open_world("cpu") as one:
        yield one


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tp": 4},
        {"micro_batch": 2, "recompute": "full"},
        {"recompute": "selective", "attention_backend": "math"},
        {"precision": "bf16", "attention_backend": "math"},
    ],
)
def test_the_predicted_peak_is_that_of_the_real_step(
    world: World, tiny: ModelArchitecture, changes: dict[str, object]
) -> None:
    """Bytes are counted, not timed, so the goal for a GPU (5 %) holds on any machine."""
    found = check_self(trial_of(tiny, 4, **changes), world, 0.01, lambda _: None)
    error = found.errors()["peak_bytes"]
    assert error is not None
    assert abs(error) < 0.05
    assert found.measured.step_s > 0
    assert found.predicted.step_s == pytest.approx(found.predicted.forward_s + found.predicted.backward_and_update_s)


def loss_and_gradients(kind: str, architecture: ModelArchitecture) -> list[float]:
    """Of the first step of two layers in a world of one, as one on a device of `kind` joins it."""
    assert join(kind) == ("fake" if kind == "cuda" else "gloo")
    try:
        use_tensor_parallel(1)
        step = training_step(trial_of(architecture, 2), torch.device("cpu"))
        loss = step.forward(0)
        weights = [leaf for leaf in _leaves(loss.grad_fn) if leaf.requires_grad]
        loss.backward()
        return [loss.item(), *(float(weight.grad.double().norm()) for weight in weights if weight.grad is not None)]
    finally:
        groups.destroy_model_parallel()
        dist.destroy_process_group()


def _leaves(node: Any) -> list[torch.Tensor]:
    """The weights under a node of autograd's graph."""
    found, seen, todo = [], set(), [node]
    while todo:
        at = todo.pop()
        if at is None or at in seen:
            continue
        seen.add(at)
        found += [at.variable] if hasattr(at, "variable") else []
        todo += [below for below, _ in at.next_functions]
    return sorted(found, key=lambda weight: (weight.numel(), float(weight.detach().double().sum())))


def test_a_gpu_alone_trains_without_a_network_as_any_other_world_of_one(tiny: ModelArchitecture) -> None:
    """FairScale's cross entropy sums over its ranks even where there is one: a backend that moves nothing gives the
    loss and the gradients that gloo gives."""
    alone, known = (loss_and_gradients(kind, tiny) for kind in ("cuda", "cpu"))
    assert len(known) > 10
    assert alone == pytest.approx(known, rel=1e-6)


def test_more_layers_cost_more(world: World, tiny: ModelArchitecture) -> None:
    two, six = (check_self(trial_of(tiny, layers), world, 0.01, lambda _: None) for layers in (2, 6))
    assert two.measured.peak_bytes is not None
    assert six.measured.peak_bytes is not None
    assert six.measured.peak_bytes > two.measured.peak_bytes + 4 * 16 * tiny.layer_parameters


def test_the_command_says_what_it_did_not_measure(tmp_path: Path, tiny_file: Path) -> None:
    out = tmp_path / "check.json"
    words = ["selfcheck", "--model", str(tiny_file), "--device", "cpu", "--seconds", "0.01", "--json"]
    shown = run_ranks(1, "-m", "profiler", *words, str(out))
    assert "whole step" in shown
    assert "energy: " in shown
    found = json.loads(out.read_text())
    for key, error in found["relative_error"].items():
        predicted, measured = found["predicted"][key], found["measured"][key]
        if measured is None:
            assert error is None
            assert found["power_source"].startswith("not measured: ")
        else:
            assert error == pytest.approx(predicted / measured - 1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (SelfCheckOptions(layers=0), "--layers is 0"),
        (SelfCheckOptions(tensor_parallel=3), "nearest valid: 2 or 4"),
        (SelfCheckOptions(window_s=float("inf")), "--seconds is inf"),
        (SelfCheckOptions(recompute="ful"), "did you mean 'full'"),
        (SelfCheckOptions(seq_len=200_000), "context is 131072 tokens"),
    ],
)
def test_a_mistake_is_one_sentence(options: SelfCheckOptions, says: str) -> None:
    with pytest.raises(InputError, match=says):
        options.check()
