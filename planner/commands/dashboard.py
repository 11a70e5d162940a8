"""`herdplan dashboard`."""

import os
import sys
from typing import Annotated

import typer

from planner.commands.shared import INTERRUPTED, sentences
from profiler.files import InputError


def dashboard(
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65_535)] = 8501,
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
        if os.name == "posix":
            os.execv(command[0], command)  # noqa: S606 - our own module; a signal to this process ends the server
        try:
            ended = subprocess.call(command)  # noqa: S603 - our own module, arguments checked by typer
        except KeyboardInterrupt:
            ended = INTERRUPTED  # the usual end, of which Streamlit tells
        raise typer.Exit(ended)
