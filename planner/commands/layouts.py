"""`herdplan search`: the layouts of one cluster, or clusters against each other."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.commands.shared import (
    INTERRUPTED,
    JsonOption,
    SettingsOption,
    overrides,
    requests,
    sentences,
    write_json,
)
from profiler.files import InputError, nearest

if TYPE_CHECKING:
    from planner.plan_file import PlanRequest


def search(
    file: Annotated[Path | None, typer.Argument(help="Plan file (TOML); its stated layout is left open.")] = None,
    model: Annotated[str, typer.Option(help="Model name or TOML file.")] = "",
    gpu: Annotated[str, typer.Option(help="GPU name or TOML file; several with commas.")] = "",
    gpus: Annotated[str, typer.Option(help="How many GPUs; several numbers with commas.")] = "",
    tokens: Annotated[str, typer.Option(help="Training tokens, such as 15.6T, to compare clusters.")] = "",
    seq_len: Annotated[int | None, typer.Option(help="Tokens in a sequence.")] = None,
    global_batch: Annotated[int | None, typer.Option(help="Sequences in a step.")] = None,
    precision: Annotated[str, typer.Option(help="bf16, fp16 or fp8.")] = "",
    stack: Annotated[str, typer.Option(help="Software stack.")] = "",
    only: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE that layouts must have, such as tp=8; may be repeated.")
    ] = None,
    keep: Annotated[int, typer.Option(min=1, help="How many layouts to show.")] = 20,
    pareto: Annotated[bool, typer.Option("--pareto", help="Only clusters that no other beats.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes among which clusters are shared out.")] = 1,
    scheduler: Annotated[str, typer.Option(help="Address of a Dask scheduler, whose workers plan instead.")] = "",
    settings: SettingsOption = None,
    json_to: JsonOption = "",
) -> None:
    """Rank every valid layout of a model on a cluster; with several clusters, their days, dollars, MWh and tonnes."""
    with sentences(file):
        if file is None and not (gpu and gpus):
            raise InputError("nothing to search: give a plan file, or --model, --gpu and --gpus.")
        names, counts = [name.strip() for name in gpu.split(",")], _counts(gpus)
        several = pareto or len(names) > 1 or len(counts) > 1
        if scheduler and not several:
            raise InputError("--scheduler shares out clusters, and there is one; name several with --gpu or --gpus.")
        if several and file is None and not tokens:
            raise InputError("clusters are compared by what a whole run takes: give --tokens, such as 15.6T.")
        given = overrides(
            {
                "model": model,
                # one cluster's ranking looks at one step, whatever the run's length
                "tokens": tokens or (None if file else 1),
                # a file's node and profile are its own GPU's
                "cluster.gpu": None if several and file else names[0],
                "cluster.gpus": counts[0] if counts else None,
                "training.seq_len": seq_len,
                "training.global_batch": global_batch,
                "training.precision": precision,
                "training.stack": stack,
            },
            [*(f"training.only.{text}" for text in only or []), *(settings or [])],
        )
        _check_held([key for key, _ in given])
        [request] = requests([file] if file else [], given)
        if request.phases and (seq_len or global_batch):
            raise InputError(f"the phases of {file} have their own lengths and batches; set those in the file.")
        if several:
            _compare(request, names if gpu else [], counts, workers, scheduler, pareto, json_to)
        else:
            _rank(request, keep, json_to)


def _check_held(keys: list[str]) -> None:
    """Refuse what a search cannot be held to.

    Raises:
        InputError: part of a stated layout, an unknown key of `--only`, or one twice.
    """
    from planner.layout_choice import Only

    if any(key.startswith("training.layout") for key in keys):
        raise InputError("a search leaves the layout open; to hold a part of it give --only, such as --only tp=8.")
    held = [key.removeprefix("training.only.") for key in keys if key.startswith("training.only.")]
    known = [field.name for field in fields(Only)]
    for name in held:
        if name not in known:
            raise InputError(f"--only knows no '{name}'; {nearest(name, known)}.")
    if len(set(held)) < len(held):
        raise InputError("--only is given twice for the same key; a search is held to one value of each.")


def _rank(request: "PlanRequest", keep: int, json_to: str) -> None:
    from planner.search.request import search_request
    from planner.search.text import print_search, search_dict

    result = search_request(request, keep)
    if json_to:
        write_json(json_to, search_dict(result))
    if json_to != "-":
        print_search(result)


def _compare(
    request: "PlanRequest",
    names: list[str],
    counts: list[int],
    workers: int,
    scheduler: str,
    front_only: bool,
    json_to: str,
) -> None:
    from planner.decide.pareto import compare_clusters
    from planner.progress import progress
    from planner.search.text import comparison_dict, print_comparison

    names, counts = names or [request.cluster.gpu], counts or [request.cluster.gpus]
    with progress("clusters", len(set(names)) * len(set(counts))) as done:
        comparison = compare_clusters(request, names, counts, workers=workers, scheduler=scheduler, done=done)
    if comparison.interrupted:
        looked_at, total = comparison.looked_at, comparison.looked_at + len(comparison.interrupted)
        typer.echo(f"Stopped: {looked_at} of {total} clusters were looked at; what follows is theirs.", err=True)
    if json_to:
        write_json(json_to, comparison_dict(comparison))
    if json_to != "-":
        print_comparison(comparison, front_only=front_only)
    if comparison.interrupted:
        raise typer.Exit(INTERRUPTED)


def _counts(text: str) -> list[int]:
    """`4096,8192` as numbers."""
    words = [word.strip() for word in text.split(",")] if text else []
    if not all(word.isascii() and word.isdigit() for word in words):
        raise InputError(f"gpus is '{text}'; a whole number such as 4096, or several with commas, is needed.")
    return [int(word) for word in words]
