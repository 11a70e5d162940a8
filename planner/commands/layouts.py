"""`herdplan search`."""

from typing import Annotated

import typer

from planner.commands.shared import JsonOption, sentences, write_json


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
