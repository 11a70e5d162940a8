"""Rows of a runs file, for tests: a whole one, and others that differ from it in some cells."""

import csv
import io
from pathlib import Path

from planner.runs.rows import read_runs
from planner.runs.training_run import TrainingRun, UnreadableRun

ROW = {
    "id": "mine", "model": "a-model-of-mine", "layers": "32", "hidden": "4096", "ffn": "14336", "heads": "32",
    "kv_heads": "8", "vocab": "128256", "gated_mlp": "1", "tied_embeddings": "0", "gpu": "H100-SXM5-80GB",
    "gpu_mem_gb": "80", "gpu_power_limit_w": "700", "gpus": "64", "gpus_per_node": "8",
    "interconnect": "8x400Gb/s", "tp": "2", "pp": "1", "vp": "", "pp_schedule": "", "cp": "1", "sharding": "zero1",
    "dp": "", "ep": "", "shard_degree": "", "micro_batch": "1", "grad_accum": "", "global_batch": "128",
    "seq_len": "8192",
    "precision": "bf16", "date": "", "recompute": "none", "recompute_layers": "", "attention_impl": "", "flags": "",
    "framework": "NeMo 24.09", "step_time_s": "", "tokens_per_s_per_gpu": "", "tflops_per_gpu": "",
    "peak_mem_gib": "", "power_w_per_gpu": "", "power_scope": "",
}  # fmt: skip


def read(folder: Path, *rows: dict[str, str]) -> list[TrainingRun | UnreadableRun]:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ROW))
    writer.writeheader()
    writer.writerows([{**ROW, **row} for row in rows])
    path = folder / "runs.csv"
    path.write_text(text.getvalue(), newline="")
    return list(read_runs(path))


def run(folder: Path, **cells: str) -> TrainingRun:
    [found] = read(folder, cells)
    assert isinstance(found, TrainingRun), found
    return found
