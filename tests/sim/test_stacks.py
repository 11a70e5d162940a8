"""Software stacks: named habits, each with its source."""

from pathlib import Path

import pytest

from planner.runs.rows import PUBLISHED_RUNS, read_runs
from planner.runs.training_run import TrainingRun
from profiler.files import InputError
from sim.stacks.stack import DEFAULT_STACK, available_stacks, load_stack, stack_of_framework


@pytest.mark.parametrize("name", available_stacks())
def test_every_stack_names_itself_and_its_source(name: str) -> None:
    stack = load_stack(name)
    assert stack.name == name
    assert stack.label
    assert len(stack.source) > 20
    assert all(prefix == prefix.lower() for prefix in stack.frameworks)


def test_no_framework_is_claimed_twice() -> None:
    claimed = [prefix for name in available_stacks() for prefix in load_stack(name).frameworks]
    assert len(claimed) == len(set(claimed))


@pytest.mark.parametrize(
    ("framework", "stack"),
    [
        ("NeMo 25.02", "megatron-core"),
        ("NeMo 24.03", "nemo-early-2024"),  # the longest beginning wins
        ("NeMo 24.05", "nemo-early-2024"),
        ("NeMo 24.07 (Megatron-Core)", "nemo-mid-2024"),
        ("NeMo 24.09", "megatron-core"),
        ("Megatron-Core r0.8.0", "megatron-lm"),
        ("Megatron-Core", "megatron-core"),
        ("Megatron-DeepSpeed", "megatron-deepspeed"),
        ("Megatron-LM (NGC 20.12, PyTorch)", "megatron-2021"),
        ("Megatron-LM", "megatron-2022"),
        ("Megatron-LM (commit 285068c8)", "megatron-early-2023"),  # before FlashAttention-2
        ("torchtitan (commit abc)", "torchtitan"),
        ("FairScale 0.4.13", "fairscale-eager"),
    ],
)
def test_a_framework_means_the_stack_of_its_time(framework: str, stack: str) -> None:
    found = stack_of_framework(framework)
    assert found is not None
    assert found.name == stack


def test_unknown_frameworks_have_no_stack() -> None:
    assert stack_of_framework("Paddle") is None
    assert stack_of_framework("  ") is None


def test_fairscale_has_five_backward_all_reduces_no_pipeline_and_no_sequence_parallelism() -> None:
    """FairScale 0.4.13: each ColumnParallelLinear reduces its own input gradient; q, k, v, w1 and w3 make five."""
    eager, compiled = load_stack("fairscale-eager"), load_stack("fairscale-compiled")
    assert (eager.backward_all_reduces, compiled.backward_all_reduces) == (5, 2)
    for stack in (eager, compiled):
        assert not stack.has_pipeline
        assert not stack.has_context_parallel
        assert not stack.sequence_parallel


def test_the_default_stack_and_every_published_framework_are_known() -> None:
    assert DEFAULT_STACK in available_stacks()
    runs = [run for run in read_runs(PUBLISHED_RUNS) if isinstance(run, TrainingRun) and run.scored]
    unknown = [run.id for run in runs if any("has no stack of its own" in note for note in run.notes)]
    assert len(unknown) < 0.05 * len(runs), unknown


def test_an_unknown_stack_names_the_known_and_a_file_can_be_added(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'megatron-core'"):
        load_stack("megatron-cor")
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nlabel = "Mine"\nsource = "me"\nattention = "flash3"\n')
    assert load_stack(str(path)).attention == "flash3"
    path = tmp_path / "bad.toml"
    path.write_text('name = "mine"\nlabel = "Mine"\nsource = "me"\nattention = "flash9"\n')
    with pytest.raises(InputError, match=r"key 'attention' is 'flash9'"):
        load_stack(str(path))
