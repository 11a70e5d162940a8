"""`herdplan`: plan, estimate, validate, simulate, search, report, dashboard.

Everything heavy is imported where it is used, so that `--help` answers at once.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from profiler.files import InputError, write_atomic

if TYPE_CHECKING:
    from planner.plan import Plan
    from planner.plan_file import PlanRequest

UsageError: Any = typer.BadParameter.__bases__[0]
"""What typer raises for a mistyped command, option or value."""


class Commands(TyperGroup):
    """The commands; a mistyped one, or a mistyped option, is one sentence like any other mistake."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            typer.echo(f"herdplan: {error.format_message().rstrip('.')}; see --help.", err=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=Commands,
    help="Plan what it takes to train Llama 3.1: months, dollars and megawatt-hours.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

JsonOption = Annotated[
    str, typer.Option("--json", metavar="FILE|-", help="Write JSON to a file, or - for the screen.")
]


@contextmanager
def sentences() -> Iterator[None]:
    """Turn bad input into one sentence on stderr and exit code 2."""
    try:
        yield
    except InputError as error:
        text = str(error).removesuffix(".")
        typer.echo(f"herdplan: {text}{'' if text.endswith('?') else '.'}", err=True)
        raise typer.Exit(2) from None


def write_json(target: str, data: object) -> None:
    """JSON to a file or, for `-`, to the screen. Same data, same bytes."""
    import json

    text = json.dumps(data, indent=2, allow_nan=False, default=float) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        write_atomic(Path(target), text)


@app.command()
def plan(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Plan files (TOML); several are set side by side.")
    ] = None,
    model: Annotated[str, typer.Option(help="Model name or TOML file.")] = "",
    gpu: Annotated[str, typer.Option(help="GPU name or TOML file.")] = "",
    gpus: Annotated[int | None, typer.Option(help="How many GPUs.")] = None,
    tokens: Annotated[str, typer.Option(help="Training tokens, such as 15.6T.")] = "",
    price: Annotated[float | None, typer.Option(help="USD per GPU-hour, replacing the catalogue's range.")] = None,
    own: Annotated[bool, typer.Option("--own", help="Own the cluster instead of renting it.")] = False,
    grid: Annotated[str, typer.Option(help="Country, ISO code or provider:region.")] = "",
    electricity: Annotated[float | None, typer.Option(help="USD per kWh, replacing the tariff.")] = None,
    tflops_per_gpu: Annotated[float | None, typer.Option(help="Stated model TFLOP/s per GPU; no prediction.")] = None,
    effective_time: Annotated[float | None, typer.Option(help="Stated productive share of the time.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override any key, such as cluster.gpus=8192."),
    ] = None,
    json_to: JsonOption = "",
    report: Annotated[Path | None, typer.Option(help="Write an HTML report here.")] = None,
) -> None:
    """Plan a training run: days, dollars, megawatt-hours, and what they stand on."""
    with sentences():
        overrides = _overrides(
            {
                "model": model,
                "cluster.gpu": gpu,
                "cluster.gpus": gpus,
                "tokens": tokens,
                "money.price_usd_per_gpu_hour": price,
                "money.mode": "own" if own else None,
                "site.grid": grid,
                "site.electricity_usd_per_kwh": electricity,
                "stated.tflops_per_gpu": tflops_per_gpu,
                "stated.effective_time_ratio": effective_time,
            },
            settings or [],
        )
        plans = _make_plans(_requests(files or [], overrides))
        if json_to:
            data = [one.to_dict() for one in plans]
            write_json(json_to, data[0] if len(data) == 1 else data)
        if report:
            _write_report(report, plans)
        if json_to != "-":
            from planner.terminal import print_plans

            print_plans(plans, report)


def _overrides(named: dict[str, object], settings: list[str]) -> list[tuple[str, object]]:
    from planner.plan_file import parse_override

    given = [(key, value) for key, value in named.items() if value not in (None, "")]
    return [*given, *(parse_override(text) for text in settings)]


def _requests(files: list[Path], overrides: list[tuple[str, object]]) -> "list[PlanRequest]":
    from planner.plan_file import plan_request, read_plan_request

    if files:
        return [read_plan_request(path, overrides) for path in files]
    if "model" not in dict(overrides):
        raise InputError(
            "nothing to plan: give a plan file, such as examples/llama3.1-405b.toml, or --model and --tokens."
        )
    return [plan_request({}, overrides, source="command line")]


def _make_plans(requests: "list[PlanRequest]") -> "list[Plan]":
    from planner.plan import make_plan

    return [make_plan(request) for request in requests]


def _write_report(path: Path, plans: "list[Plan]") -> None:
    from planner.report.html import render_html

    write_atomic(path, render_html(plans))


@app.command()
def estimate(
    runs: Annotated[Path, typer.Option(help="Runs file (CSV), columns as in planner/published_runs.csv.")],
    out: Annotated[Path, typer.Option(help="Predictions file (CSV) to write.")],
    json_to: JsonOption = "",
) -> None:
    """Predict one optimizer step for every row of a runs file."""
    with sentences():
        from planner.estimate import estimate_runs, predictions_csv
        from planner.runs import read_runs

        predictions = estimate_runs(list(read_runs(runs)))
        write_atomic(out, predictions_csv(predictions))
        if json_to:
            write_json(json_to, [p.row() for p in predictions])
        unread = sum(p.step_time_s is None for p in predictions)
        if json_to != "-":
            typer.echo(
                f"{len(predictions) - unread} of {len(predictions)} rows predicted, written to {out}"
                + (f"; {unread} could not be, see their notes." if unread else ".")
            )


@app.command()
def validate(
    runs: Annotated[
        Path | None, typer.Option(help="Runs file (CSV); the published runs that ship if not given.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the whole comparison as Markdown here.")] = None,
    json_to: JsonOption = "",
) -> None:
    """Compare predictions with published runs: error overall, by regime and by source."""
    with sentences():
        from planner.runs import TrainingRun, published_runs, read_runs
        from planner.validation import validate_runs

        if runs is None:
            chosen = published_runs("scored")
        else:
            chosen = [run for run in read_runs(runs) if isinstance(run, TrainingRun)]
        result = validate_runs(chosen)
        if json_to:
            write_json(json_to, result.to_dict())
        if markdown:
            from planner.validation_text import markdown_text

            write_atomic(markdown, markdown_text(result))
        if json_to != "-":
            from planner.terminal import print_validation

            print_validation(result)


@app.command()
def simulate(
    file: Annotated[Path, typer.Argument(help="Plan file (TOML).")],
    seed: Annotated[int, typer.Option(help="Same seed, same campaign.")] = 1,
    replicas: Annotated[int, typer.Option(min=1, help="Independent campaigns.")] = 1,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override any key.")
    ] = None,
    json_to: JsonOption = "",
) -> None:
    """Simulate the campaign of a plan with its failures, replica by replica."""
    with sentences():
        from planner.simulation import simulate_plan, summary_line

        [request] = _requests([file], _overrides({}, settings or []))
        result = simulate_plan(request, seed=seed, replicas=replicas)
        if json_to:
            write_json(json_to, result)
        if json_to != "-":
            typer.echo(summary_line(result))


@app.command()
def search(
    model: Annotated[str, typer.Option(help="Model name or TOML file.")],
    gpu: Annotated[str, typer.Option(help="GPU name or TOML file.")],
    gpus: Annotated[int, typer.Option(help="How many GPUs.")],
    seq_len: Annotated[int, typer.Option(help="Tokens in a sequence.")] = 8192,
    global_batch: Annotated[int, typer.Option(help="Sequences in a step.")] = 2048,
    precision: Annotated[str, typer.Option(help="bf16, fp16 or fp8.")] = "bf16",
    stack: Annotated[str, typer.Option(help="Software stack.")] = "megatron-core",
    keep: Annotated[int, typer.Option(min=1, help="How many layouts to show.")] = 20,
    json_to: JsonOption = "",
) -> None:
    """Rank every valid layout of a model on a number of GPUs."""
    with sentences():
        from planner.search import run_search
        from planner.terminal import print_search, search_dict

        result = run_search(model, gpu, gpus, seq_len, global_batch, precision, stack, keep)
        if json_to:
            write_json(json_to, search_dict(result))
        if json_to != "-":
            print_search(result)


@app.command()
def report(
    file: Annotated[list[Path], typer.Argument(help="Plan files (TOML).")],
    format_: Annotated[str, typer.Option("--format", help="html or json.")] = "html",
    out: Annotated[
        Path | None, typer.Option(help="Where to write; beside the plan's name under out/ if not given.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override any key.")
    ] = None,
    json_to: JsonOption = "",
) -> None:
    """Write a report of one or more plans that opens offline."""
    with sentences():
        if format_ not in ("html", "json"):
            from profiler.files import nearest

            raise InputError(f"format '{format_}' cannot be written; {nearest(format_, ('html', 'json'))}")
        plans = _make_plans(_requests(file, _overrides({}, settings or [])))
        target = out or Path("out") / f"{file[0].stem}.{format_}"
        if format_ == "html":
            _write_report(target, plans)
        else:
            data: list[Any] = [one.to_dict() for one in plans]
            write_json(str(target), data[0] if len(data) == 1 else data)
        if json_to:
            write_json(json_to, {"report": str(target), "format": format_, "plans": [one.name for one in plans]})
        if json_to != "-":
            typer.echo(f"Report written to {target}")


@app.command()
def dashboard(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8501,
    address: Annotated[
        str, typer.Option(help="Address to listen on; others can reach anything but localhost.")
    ] = "localhost",
) -> None:
    """Open the dashboard at localhost:8501."""
    with sentences():
        import subprocess
        from importlib.util import find_spec

        if find_spec("streamlit") is None:
            raise InputError("the dashboard needs streamlit: pip install 'herdplan[dashboard]'.")
        command = [sys.executable, "-m", "dashboard.launch", "--port", str(port), "--address", address]
        raise typer.Exit(subprocess.call(command))  # noqa: S603 - our own module, arguments checked by typer


def main() -> None:
    """Entry point of the `herdplan` command."""
    app()


if __name__ == "__main__":
    main()
