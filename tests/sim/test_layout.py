"""Layouts that can be built, and why others cannot."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.architecture import load_architecture
from profiler.files import InputError
from sim.layout import ParallelLayout, check_heads, check_layout

LLAMA_8B, LLAMA_405B = load_architecture("llama3.1-8b"), load_architecture("llama3.1-405b")


def check(layout: ParallelLayout, **changes: Any) -> None:
    known: dict[str, Any] = {"gpus": layout.gpus, "global_batch": 2048, "seq_len": 8192, **changes}
    check_layout(layout, known.pop("architecture", LLAMA_405B), **known)


def test_llama3_405b_as_published() -> None:
    """arXiv:2407.21783 table 4: TP 8, CP 1, PP 16, DP 128 and TP 8, CP 16, PP 16, DP 8 on 16,384 GPUs."""
    short = ParallelLayout(tp=8, pp=16, vp=8, dp=128)
    long = ParallelLayout(tp=8, cp=16, pp=16, vp=8, dp=8)
    check(short, gpus=16_384)
    check(long, gpus=16_384, global_batch=128, seq_len=131_072)


@given(tp=st.integers(1, 64), cp=st.integers(1, 64), pp=st.integers(1, 64), dp=st.integers(1, 1024))
def test_gpus_are_the_product_of_the_degrees(tp: int, cp: int, pp: int, dp: int) -> None:
    assert ParallelLayout(tp=tp, cp=cp, pp=pp, dp=dp).gpus == tp * cp * pp * dp


@pytest.mark.parametrize(
    ("layout", "changes", "says"),
    [
        (ParallelLayout(tp=3), {}, "tp is 3; it must divide the 128 heads of llama3.1-405b, and"),
        (
            ParallelLayout(tp=64),
            {"architecture": LLAMA_8B},
            "divide or be a multiple of its 8 key/value heads: 32 does",
        ),
        (ParallelLayout(tp=8, dp=2), {"gpus": 32}, "is 16 GPUs, not 32; dp 4 would fill them"),
        (ParallelLayout(tp=8, pp=3, dp=2), {"gpus": 64}, "the nearest count it divides is 72"),
        (ParallelLayout(pp=64, vp=3), {}, "more chunks than the 126 layers"),
        (ParallelLayout(vp=2), {}, "virtual stages need a pipeline"),
        (ParallelLayout(cp=3), {}, "balanced halves need seq_len 8192 to divide by 6"),
        (
            ParallelLayout(dp=3),
            {},
            "global_batch is 2048, not a multiple of dp 3 x micro_batch 1; the nearest is 2049",
        ),
    ],
)
def test_a_layout_that_cannot_be_is_one_sentence_with_a_way_out(
    layout: ParallelLayout, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError) as error:
        check(layout, **changes)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@given(tp=st.integers(1, 300), heads=st.sampled_from([8, 24, 32, 40, 64, 96, 128]), groups=st.sampled_from([1, 4, 8]))
def test_the_degree_that_is_named_does_divide(tp: int, heads: int, groups: int) -> None:
    a = replace(LLAMA_8B, heads=heads, kv_heads=groups)
    try:
        check_heads(tp, a)
    except InputError as error:
        named = int(str(error).split(": ")[-1].split(" does")[0])
        check_heads(named, a)
    else:
        assert heads % tp == 0
        assert groups % tp == 0 or tp % groups == 0


def test_labels_are_short() -> None:
    assert ParallelLayout().label.startswith("single GPU, ")
    assert ParallelLayout(tp=8, dp=4).label.startswith("TP8 DP4, ")
