"""What the Llama 3.1 model card reports, beside what a plan computes.

Source: meta-llama/llama-models, models/llama3_1/MODEL_CARD.md, table "Training Energy Use".
"""

from dataclasses import dataclass

from planner.market import rows
from planner.quantities import human, significant
from profiler.architecture import ModelArchitecture
from sim.hardware import Gpu


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """One row of the card's energy table."""

    gpu_hours: float
    tco2e: float
    """Location-based, every GPU-hour at its TDP."""

    def implied_tflops_per_gpu(self, flops: float) -> float:
        """Model TFLOP/s per GPU if all the card's hours had been steps that do `flops` in total."""
        return flops / (self.gpu_hours * 3600) / 1e12


TOKENS = (13e12, 18e12)
"""Plans of so many tokens are held against the card, which says "15T+"."""


def card_of_plan(architecture: ModelArchitecture, tokens: float, gpu: Gpu) -> ModelCard | None:
    """The card's row for a plan: `None` where it is of other tokens, or not on the card's H100."""
    comparable = TOKENS[0] <= tokens <= TOKENS[1] and gpu.name.startswith("h100")
    return load_model_card(architecture) if comparable else None


def load_model_card(architecture: ModelArchitecture) -> ModelCard | None:
    """The card's row for a model, `None` for one that it does not list."""
    for row in rows("model_card.csv"):
        if row["model"].lower().replace(" ", "-").replace("llama-", "llama") == architecture.name:
            return ModelCard(
                gpu_hours=float(row["gpu_hours"]),
                tco2e=float(row["location_based_tco2e"]),
            )
    return None


def explain_card(card: ModelCard, *, gpu_hours: float, flops: float, tflops_per_gpu: float) -> str:
    """Why the card's GPU-hours and a plan's differ, in words."""
    ratio = card.gpu_hours / gpu_hours
    implied = card.implied_tflops_per_gpu(flops)
    start = (
        f"The model card reports {human(card.gpu_hours, 'GPU-hours')}, {significant(ratio, 2)} times this plan's "
        f"{human(gpu_hours, 'GPU-hours')}."
    )
    if 0.8 <= ratio <= 1.25:
        return f"{start} The two agree within a quarter."
    if ratio < 1:
        return f"{start} The published run was faster than this plan's layout, hardware or failures allow."
    return (
        f"{start} Spread over the card's hours the same tokens come to {implied:.0f} TFLOP/s per GPU, where a step "
        f"of this model runs at about {tflops_per_gpu:.0f}: step time alone does not explain the card's hours. The "
        "card calls them cumulative and does not say what they hold; restarts, ablations, annealing runs, "
        "post-training, or a cluster too large for the batch are candidates. Budget for such work if you will do it."
    )
