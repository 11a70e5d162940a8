"""`herdplan`: the commands, each in a file of planner/commands.

Everything heavy is imported where it is used, so that `--help` answers at once.
"""

from typing import Any

import typer
from typer.core import TyperGroup

from planner.commands import (
    campaign,
    dashboard,
    decide,
    files,
    layouts,
    money,
    plan,
    profiles,
    report,
    runs,
    site,
    step,
    track,
)

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

COMMANDS = (
    plan.plan,
    files.init,
    files.explain,
    files.diff,
    decide.uncertainty,
    decide.goal,
    money.money,
    site.place,
    site.when,
    site.cap,
    track.track,
    runs.estimate,
    runs.validate,
    campaign.simulate,
    step.step,
    layouts.search,
    profiles.kernels,
    profiles.scale,
    report.report,
    dashboard.dashboard,
)
for command in COMMANDS:
    app.command()(command)


def main() -> None:
    """Entry point of the `herdplan` command."""
    app()


if __name__ == "__main__":
    main()
