"""Shared by the profiler's tests: a model small enough for any machine, as an object and as a person's file."""

import os
from pathlib import Path

import pytest

from profiler.architecture import ModelArchitecture, load_architecture

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: these shapes need no more

TINY = """
name = "tiny"
source = "test"
layers = 2
hidden = 64
ffn = 128
heads = 8
kv_heads = 4
head_dim = 16
vocab = 256
context = 512
"""


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def tiny(tiny_file: Path) -> ModelArchitecture:
    return load_architecture(str(tiny_file))
