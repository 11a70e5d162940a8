"""Which software stack a framework's name means, whoever is named before it and however its version is written."""

import re
from collections.abc import Iterator

from planner.runs.cells import Cells
from sim.stacks.stack import SoftwareStack, load_stack, stack_of_framework

PUBLISHERS = re.compile(r"(?:nvidia|hugging ?face|hf|microsoft|google|ibm|meta|mosaicml|databricks|pytorch)\b\W*")
"""Whose a framework is; the name that follows says more."""

SPELLINGS = (
    (r"\bmegatron[ _]lm\b", "megatron-lm"),
    (r"\bmegatron(?=$|[ ,;(]+(?!core|bridge|deepspeed|fsdp|lm))", "megatron-lm"),
    (r"\bpai-megatron\S*", "megatron-lm"),
    (r"\bmegatron-fsdp\b", "megatron-core"),
    (r"\bmegatron-(?!lm|core|bridge|deepspeed|fork|\d|early)\w+", "megatron-lm"),
    (r"\bnemo(?:[ -](?:framework|megatron))?[-:/_ ]*v?(?=\d)", "nemo "),
    (r"\bllm foundry\b", "llm-foundry"),
    (r"\bgpt[ _]neox\b", "gpt-neox"),
    (r"\bjax[\w-]*[ /(]+pax(?:ml)?\b", "paxml"),
)
"""What a name is rewritten to before it is looked up: `NeMo Framework 24.07` is nemo 24.07."""


HINTS = (
    ("pp_schedule", r"deepspeed", "megatron-deepspeed"),
    ("sharding_detail", r"distributed_fused_adam|distributed optimizer", "megatron-core"),
    ("flags", r"userbuffers|tp[- ]comm[- ]overlap|nvte_|defer_embedding_wgrad", "megatron-core"),
    ("flags", r"autodiffcheckpoint", "paxml"),
    ("flags", r"\bxla\b|gspmd|\bpgle\b|\bremat\b", "maxtext"),
    ("flags", r"async ?tp|float8 (?:row|tensor)wise|\bac mode\b", "torchtitan"),
)
"""Words of other columns that are one framework's own, by column."""


def hinted_stack(c: Cells) -> tuple[SoftwareStack, str] | None:
    """The stack that a row without a framework lets expect, and the column that says so: a word that only one
    framework has, or the repository that is the row's source."""
    for column, pattern, name in HINTS:
        if re.search(pattern, c.text(column).lower()):
            return load_stack(name), column
    found = named_stack(c.text("source_ref")) if c.text("source_ref").lower().startswith("github:") else None
    return (found, "source_ref") if found else None


def named_stack(framework: str) -> SoftwareStack | None:
    """The stack of a framework's name, or of a name that stands in it; `None` where none is known."""
    name = framework.strip().lower()
    for pattern, written in SPELLINGS:
        name = re.sub(pattern, written, name)
    return next(filter(None, map(stack_of_framework, _readings(name))), None)


def _readings(name: str) -> Iterator[str]:
    """The name, and what stands in it from each later word on; a publisher's own name comes last."""
    published = PUBLISHERS.match(name)
    if not published:
        yield name
    yield from (name[found.start() :] for found in re.finditer(r"(?<=[\s/,;+(])[a-z]", name))
    if published:
        yield name
