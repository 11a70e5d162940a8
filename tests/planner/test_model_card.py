"""The Llama 3.1 model card: its emissions recomputed, and its hours explained."""

from dataclasses import replace

import pytest

from planner.carbon import tdp_accounting
from planner.model_card import card_of_plan, explain_card, load_model_card
from profiler.architecture import load_architecture
from sim.hardware import load_gpu


@pytest.mark.parametrize(
    ("model", "gpu_hours", "tco2e"),
    [("llama3.1-8b", 1.46e6, 420), ("llama3.1-70b", 7.0e6, 2_040), ("llama3.1-405b", 30.84e6, 8_930)],
)
def test_tdp_accounting_reproduces_the_cards_emissions(model: str, gpu_hours: float, tco2e: float) -> None:
    """Every GPU-hour at 700 W and one grid factor: within 1 % of the card."""
    card = load_model_card(load_architecture(model))
    assert card is not None
    assert (card.gpu_hours, card.tco2e) == (gpu_hours, tco2e)
    assert tdp_accounting(card.gpu_hours, 700) == pytest.approx(tco2e, rel=0.01)


def test_other_models_have_no_card() -> None:
    assert load_model_card(replace(load_architecture("llama3.1-8b"), name="mine")) is None


@pytest.mark.parametrize(
    ("tokens", "gpu", "shown"), [(15e12, "h100-sxm", True), (1e12, "h100-sxm", False), (15e12, "b200-sxm", False)]
)
def test_only_plans_of_the_cards_tokens_on_its_gpu_are_held_against_it(tokens: float, gpu: str, shown: bool) -> None:
    assert (card_of_plan(load_architecture("llama3.1-70b"), tokens, load_gpu(gpu)) is not None) == shown


def test_throughput_that_the_hours_imply() -> None:
    card = load_model_card(load_architecture("llama3.1-405b"))
    assert card is not None
    assert card.implied_tflops_per_gpu(3.8e25) == pytest.approx(3.8e25 / 30.84e6 / 3600 / 1e12)


@pytest.mark.parametrize(
    ("gpu_hours", "says"),
    [(7.0e6, "agree within a quarter"), (3.9e6, "Spread over the card's hours"), (9.5e6, "faster than this plan's")],
)
def test_the_explanation_fits_the_difference(gpu_hours: float, says: str) -> None:
    card = load_model_card(load_architecture("llama3.1-70b"))
    assert card is not None
    words = explain_card(card, gpu_hours=gpu_hours, flops=7.2e24, tflops_per_gpu=520)
    assert says in words
    assert "7.00 M GPU-hours" in words
