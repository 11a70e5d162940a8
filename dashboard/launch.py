"""Start the dashboard: Streamlit with this project's look, on this machine only unless told otherwise."""

import argparse
import sys
from pathlib import Path

from planner.commands.shared import become
from planner.report.theme import DARK, LIGHT

APP = Path(__file__).parent / "server.py"

SETTINGS = {
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.maxUploadSize": "2",
    "runner.magicEnabled": "false",
    "runner.postScriptGC": "false",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "viewer",
    "client.showErrorDetails": "none",
    "theme.light.primaryColor": LIGHT.accent,
    "theme.light.backgroundColor": LIGHT.paper,
    "theme.light.secondaryBackgroundColor": "#f4f6f8",
    "theme.light.textColor": LIGHT.ink,
    "theme.light.borderColor": LIGHT.line,
    "theme.dark.primaryColor": DARK.accent,
    "theme.dark.backgroundColor": DARK.paper,
    "theme.dark.secondaryBackgroundColor": "#0e1318",
    "theme.dark.textColor": DARK.ink,
    "theme.dark.borderColor": DARK.line,
}
"""No telemetry, no tracebacks for visitors, uploads of 2 MB at most, and one look in light and dark.

Garbage is collected when Python finds it due: a full collection after each run looks at every module's objects, which
takes as long as the run itself."""


def command(port: int = 8501, address: str = "localhost") -> list[str]:
    """The command line that serves the dashboard."""
    settings = {"server.port": str(port), "server.address": address, **SETTINGS}
    options = [part for key, value in settings.items() for part in (f"--{key}", value)]
    return [sys.executable, "-m", "streamlit", "run", str(APP), *options]


def launch(port: int = 8501, address: str = "localhost") -> int:
    """Serve until interrupted; where the system can, this process becomes the server and ends with it."""
    sys.stdout.write(f"The dashboard is at http://{address}:{port} (Ctrl+C ends it).\n")
    return become(command(port, address))


def main() -> None:
    """`python -m dashboard.launch --port 8501 --address localhost`."""
    parser = argparse.ArgumentParser(prog="herdplan dashboard", description=__doc__)
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--address", default="localhost", help="others can reach anything but localhost")
    chosen = parser.parse_args()
    raise SystemExit(launch(chosen.port, chosen.address))


if __name__ == "__main__":
    main()
