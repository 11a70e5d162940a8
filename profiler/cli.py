"""herdplan-profile: measure what this machine does with a Llama layer. Heavy imports wait until needed."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from profiler.files import InputError

if TYPE_CHECKING:
    from profiler.profile import Profile

app = typer.Typer(
    name="herdplan-profile",
    help="Measure time, memory and power of Llama 3.1 layers on FairScale's tensor parallelism.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

FileArgument = Annotated[Path, typer.Argument(help="A profile (JSON).", show_default=False)]


def main() -> None:
    """Run the command line; what a person got wrong is one sentence on stderr and exit code 2."""
    try:
        app()
    except InputError as error:
        if os.environ.get("RANK", "0") == "0":  # under torchrun every rank finds the same fault
            print(error, file=sys.stderr)
        sys.exit(2)


@app.command()
def doctor() -> None:
    """Say what can be measured on this machine, and why not what cannot."""
    from profiler.doctor import examine
    from profiler.tables import print_findings

    findings = examine()
    print_findings(findings)
    missing = next((f.detail for f in findings if f.needed and not f.works), None)
    if missing is not None:
        raise InputError(missing)


@app.command()
def run(
    model: Annotated[
        str,
        typer.Option(help="Models' names or .toml files; of every list the first is worth most."),
    ] = "llama3.1-8b",
    tp: Annotated[
        str | None, typer.Option(help="Tensor-parallel degrees, such as 8,4,2,1 [default: by device]")
    ] = None,
    micro_batch: Annotated[str, typer.Option(help="Sequences in a micro-batch, such as 1,2")] = "1",
    seq_len: Annotated[
        str | None, typer.Option(help="Tokens in a sequence, such as 8192,4096 [default: 8192; 128 on a CPU]")
    ] = None,
    context_len: Annotated[
        str | None,
        typer.Option(help="Whole sequences, of which a context-parallel rank holds --seq-len, or none"),
    ] = None,
    execution: Annotated[str, typer.Option(help="eager, compiled or eager,compiled")] = "eager",
    recompute: Annotated[str, typer.Option(help="Of none, selective, full")] = "none",
    precision: Annotated[str | None, typer.Option(help="bf16, fp16 or fp32 [default: bf16; fp32 on a CPU]")] = None,
    attention: Annotated[str, typer.Option(help="Of flash, cudnn, math; the first for blocks")] = "flash",
    collectives: Annotated[
        str, typer.Option(help="Tensor-parallel layout: shared (2 all-reduces in backward) or reference (5)")
    ] = "shared",
    device: Annotated[str | None, typer.Option(help="cuda or cpu [default: a GPU if there is one]")] = None,
    budget_minutes: Annotated[float, typer.Option(help="Stop starting new points after this long.")] = 8.0,
    out: Annotated[Path, typer.Option(help="The profile to write.")] = Path("profile.json"),
    resume: Annotated[bool, typer.Option("--resume", help="Add what is missing to OUT.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Half a minute at TP 8 and 64 tokens, to see it run anywhere.")
    ] = False,
) -> None:
    """Measure and write a profile. Ctrl-C keeps what was measured; --resume goes on from there."""
    from profiler.options import Options, require_torch

    options = Options(
        model=model,
        tensor_parallel=tp,
        micro_batches=micro_batch,
        seq_lens=seq_len,
        context_lens=context_len,
        executions=execution,
        recomputes=recompute,
        precision=precision,
        attention=attention,
        collectives=collectives,
        device=device,
        budget_minutes=budget_minutes,
        quick=quick,
    )
    options.check()
    if out.exists() and not (resume or overwrite):
        raise InputError(f"{out}: exists already; add --resume to go on with it or --overwrite to replace it.")
    require_torch()
    from profiler.progress import run_with_progress

    if code := run_with_progress(options, out, resume=resume and not overwrite):
        raise typer.Exit(code)


@app.command()
def selfcheck(
    model: Annotated[str, typer.Option(help="A model's name, or a .toml file of the same form.")] = "llama3.1-8b",
    layers: Annotated[int | None, typer.Option(min=1, help="Blocks of the model [default: 4; 2 on a CPU]")] = None,
    tp: Annotated[
        int | None, typer.Option(min=1, help="Take one rank's share at this degree [default: 1; 8 on a CPU]")
    ] = None,
    micro_batch: Annotated[int, typer.Option(min=1, help="Sequences in a micro-batch.")] = 1,
    seq_len: Annotated[
        int | None, typer.Option(min=1, help="Tokens in a sequence [default: 8192; 64 on a CPU]")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="bf16, fp16 or fp32 [default: bf16; fp32 on a CPU]")] = None,
    execution: Annotated[str, typer.Option(help="eager or compiled")] = "eager",
    recompute: Annotated[str, typer.Option(help="none, selective or full")] = "none",
    attention: Annotated[str, typer.Option(help="flash, cudnn or math")] = "flash",
    device: Annotated[str | None, typer.Option(help="cuda or cpu [default: a GPU if there is one]")] = None,
    seconds: Annotated[float, typer.Option(help="Measure each part this long; longer for an energy meter.")] = 2.0,
    json_to: Annotated[str, typer.Option("--json", metavar="FILE", help="Also write JSON; - is the terminal.")] = "",
) -> None:
    """Predict a small model's training step from its layers, run it for real, and print the error."""
    from profiler.options import SelfCheckOptions, require_torch

    options = SelfCheckOptions(
        model=model,
        layers=layers,
        tensor_parallel=tp,
        micro_batch=micro_batch,
        seq_len=seq_len,
        precision=precision,
        execution=execution,
        recompute=recompute,
        attention=attention,
        device=device,
        window_s=seconds,
    )
    options.check()
    require_torch()
    from profiler.progress import selfcheck_with_progress

    selfcheck_with_progress(options, json_to)


@app.command()
def show(file: FileArgument) -> None:
    """Print a profile: where it is from, every row, and how near each came to the measured ceilings."""
    from profiler.profile import read_profile
    from profiler.tables import print_profile

    print_profile(read_profile(file))


@app.command()
def compare(before: FileArgument, after: FileArgument) -> None:
    """Print the points that two profiles share and how their times and power differ."""
    from profiler.profile import read_profile
    from profiler.tables import print_comparison

    print_comparison(read_profile(before), read_profile(after))


@app.command()
def validate(
    file: FileArgument,
    needs: Annotated[str, typer.Option(help="Workloads of which a row must be ok, such as matmul,block")] = "",
) -> None:
    """Check that a profile is whole, unedited and usable; exit code 2 if not."""
    from profiler.files import nearest
    from profiler.profile import Workload, read_profile

    wanted = [name for name in needs.split(",") if name]
    for name in wanted:
        if name not in get_args(Workload):
            raise InputError(f"--needs holds '{name}'; {nearest(name, get_args(Workload))}.")
    profile = read_profile(file)
    measured = {row.workload for row in profile.layers if row.status == "ok"}
    missing = [name for name in wanted if name not in measured]
    if missing:
        failed = [f"{row.workload}: {row.message}" for row in profile.layers if row.workload in missing]
        raise InputError(f"{file}: no {' and no '.join(missing)} was measured ({'; '.join(failed) or 'no row'}).")
    print(_summary(file, profile))


def _summary(file: Path, profile: "Profile") -> str:
    ok = sum(row.status == "ok" for row in profile.layers)
    counts = f"{len(profile.layers)} rows ({ok} ok), {len(profile.collectives)} collectives"
    came = profile.provenance
    if not ok:
        raise InputError(f"{file}: whole, but it holds no row that was measured ({counts}).")
    scaled = f", scaled from {came.scaled_from}" if came.scaled_from else ""
    return f"{file}: a whole, unedited profile of {came.device}{scaled}: {counts}."


if __name__ == "__main__":
    main()
