"""`herdplan kernels` and `herdplan scale`: a profile against published kernels, and on another GPU."""

from pathlib import Path
from typing import Annotated

import typer

from planner.commands.shared import JsonOption, sentences, write_json
from profiler.files import InputError

ProfileArgument = Annotated[Path, typer.Argument(help="A profile (JSON) of herdplan-profile.", show_default=False)]
WORST = 10
"""Rows that are shown one by one."""


def kernels(profile: ProfileArgument, json_to: JsonOption = "") -> None:
    """Hold a profile's kernels against published ones: what was measured, and what herdplan would have expected."""
    with sentences():
        from planner.kernel_comparison import compare_kernels, comparison_dict
        from profiler.profile import read_profile

        taken = read_profile(profile)
        rows = compare_kernels(taken)
        if json_to:
            write_json(json_to, comparison_dict(taken, rows))
        if json_to != "-":
            from planner.kernel_tables import print_comparison

            print_comparison(taken, rows, worst=WORST)


def scale(
    profile: ProfileArgument,
    gpu: Annotated[str, typer.Option(help="The GPU to scale to: a name of the catalogue, or a TOML file.")],
    out: Annotated[Path, typer.Option(help="The profile to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
    json_to: JsonOption = "",
) -> None:
    """Take a measured profile over to a GPU with the same multiprocessors, such as an H200's to an H100."""
    with sentences():
        from planner.kernel_comparison import known_architecture
        from profiler.profile import read_profile
        from sim.hardware import load_gpu
        from sim.scaled_profile import scaled_profile

        if out.exists() and profile.exists() and out.samefile(profile):
            raise InputError(f"--out is {out}, the profile itself; give another name.")
        if out.exists() and not overwrite:
            raise InputError(f"{out}: exists already; add --overwrite to replace it.")
        taken = read_profile(profile)
        if not taken.provenance.gpu:
            raise InputError(f"{profile}: of {taken.provenance.device}, which no GPU of the catalogue is.")
        models = {row.model: known_architecture(row.model) for row in taken.layers if row.model}
        known = {name: found for name, found in models.items() if found is not None}
        scaled = scaled_profile(taken, load_gpu(taken.provenance.gpu), load_gpu(gpu), known)
        scaled.write(out)
        full = sum(row.status == "oom" for row in scaled.layers) - sum(row.status == "oom" for row in taken.layers)
        if json_to:
            rule = scaled.provenance.method
            write_json(json_to, {"out": str(out), "rows": len(scaled.layers), "no_longer_fit": full, "rule": rule})
        if json_to != "-":
            typer.echo(f"{out}: {len(scaled.layers)} rows. {scaled.provenance.method}")
            if full:
                typer.echo(f"{full} of them no longer fit in its memory.")
