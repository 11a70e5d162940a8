"""`herdplan dashboard`."""

import sys
from typing import Annotated

import typer

from planner.commands.shared import INTERRUPTED, become, sentences
from profiler.files import InputError


def dashboard(
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65_535)] = 8501,
    address: Annotated[
        str, typer.Option(help="Address to listen on; others can reach anything but localhost.")
    ] = "localhost",
) -> None:
    """Open the dashboard at localhost:8501."""
    with sentences():
        from importlib.util import find_spec

        if find_spec("streamlit") is None:
            raise InputError("the dashboard needs streamlit: pip install 'herdplan[dashboard]'.")
        command = [sys.executable, "-m", "dashboard.launch", "--port", str(port), "--address", address]
        try:
            ended = become(command)
        except KeyboardInterrupt:
            ended = INTERRUPTED  # the usual end, of which Streamlit tells
        raise typer.Exit(ended)
