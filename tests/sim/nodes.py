"""A node of one's own: one of the catalogue's with some of its lines left out."""

from pathlib import Path

from sim.hardware import CATALOGUE


def own_node(folder: Path, shipped: str, *left_out: str) -> Path:
    """A file as the catalogue's node `shipped`, without the lines that begin as one of `left_out` does."""
    lines = (CATALOGUE / "nodes" / f"{shipped}.toml").read_text().splitlines(keepends=True)
    path = folder / "own.toml"
    path.write_text("".join(line for line in lines if not line.startswith(left_out)))
    return path
