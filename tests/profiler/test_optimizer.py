"""Mixed precision as training does it: fp32 masters of narrower weights, and clipping by the norm."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from profiler.optimizer import CLIP_NORM, LEARNING_RATE, MasterOptimizer, clip


@pytest.mark.parametrize("kernels", ["fused", "foreach"])
def test_fp32_weights_take_adamws_own_steps(kernels: str) -> None:
    start = torch.randn(40, generator=torch.Generator().manual_seed(0))
    ours, theirs = (start.clone().requires_grad_() for _ in range(2))
    optimizer, reference = MasterOptimizer([ours], kernels=kernels), torch.optim.AdamW([theirs], lr=LEARNING_RATE)  # type: ignore[arg-type]
    for i in range(5):
        ours.grad, theirs.grad = torch.full((40,), 1.0 + i), torch.full((40,), 1.0 + i)
        optimizer.collect_gradients()
        optimizer.step()
        reference.step()
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-7)


def test_masters_keep_what_bf16_cannot_hold() -> None:
    """A step of 1e-5 is lost beside a bf16 weight of 1 (spacing 2⁻⁷); five hundred of them are not."""
    weight = torch.ones(8, dtype=torch.bfloat16, requires_grad=True)
    optimizer = MasterOptimizer([weight], kernels="fused")
    weight.grad = torch.ones_like(weight)
    optimizer.collect_gradients()
    optimizer.step()
    assert torch.equal(weight, torch.ones_like(weight))
    for _ in range(499):
        optimizer.step()
    moved = weight.detach().max().item()
    assert moved == pytest.approx(1 - 500 * LEARNING_RATE, abs=2**-8)
    assert moved < 1
    assert optimizer.masters[0].dtype == torch.float32


@given(scale=st.floats(1e-3, 1e3), tensors=st.integers(1, 4))
def test_clipping_is_torchs(scale: float, tensors: int) -> None:
    gradients = [scale * torch.randn(10, generator=torch.Generator().manual_seed(i)) for i in range(tensors)]
    parameters = [torch.zeros(10, requires_grad=True) for _ in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    expected = torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
    assert float(clip(gradients)) == pytest.approx(float(expected), rel=1e-5)
    for gradient, parameter in zip(gradients, parameters, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(gradient, parameter.grad, rtol=1e-5)
