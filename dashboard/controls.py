"""What the planner says of a plan file's keys, in the words of the page's controls."""

import re
from collections.abc import Callable

NOT_HERE = re.compile(
    r" \(or an? \.[^)]* file\)|, such as --set \S+ where [^;.]*| With cluster\.gpus_per_node \d+ [^.]*\."
)
"""What a sentence offers that a page does not take: files and options."""

CONTROLS = {
    "plan": "Plan from a file",
    "model": "Model",
    "gpu": "GPU",
    "gpus": "GPUs",
    "tokens": "Tokens",
    "layout": "Layout",
    "mode": "Rent or own",
    "owned_gpus": "GPUs owned",
    "price_usd_per_gpu_hour": "Price [USD per GPU-hour]",
    "server_usd_per_gpu": "Price [USD per GPU, with server]",
    "grid": "Place",
    "electricity_usd_per_kwh": "Electricity [USD per kWh]",
    "pue": "PUE",
    "record": "Failure record",
    "commitment": "Commitment of a rental",
    "preparation_days": "Days paid before the first step",
    "deadline": "It is needed by",
    "timeline": "Show the timeline",
    "outcome": "Outcome",
}
"""What stands beside each control, by the key of the address and, for most, of a plan file."""

_WORDS: dict[str, str | Callable[[re.Match[str]], str]] = {
    **{
        rf"\b(?:money|site|reliability|cluster)\.{key}\b": f"“{CONTROLS[key]}”"
        for key in CONTROLS
        if key not in ("plan", "mode", "gpus")
    },
    r"\btraining\.only\.(\w+)\b": r"the \1 that the plan file holds the search to",
    r"\btraining\.only\b": "what the plan file holds the search to",
    r"\b(?:cluster\.)?gpus_per_node is\b": "The number of GPUs of a node that train is",
    r"\b(?:cluster\.)?gpus_per_node\b": "the number of GPUs of a node that train",
    r"\bcluster\.node\b": "the plan file's node",
    r"\bmoney\.mode=(rent|own|mixed)": "another choice of “Rent or own”",
    r"\bmoney\.mode\b": f"“{CONTROLS['mode']}”",
    r"^gpus is\b": f"“{CONTROLS['gpus']}” is",
    r"^tokens is\b": f"“{CONTROLS['tokens']}” is",
    r"\bowned_gpus\b": f"“{CONTROLS['owned_gpus']}”",
    r"^pue is\b": f"“{CONTROLS['pue']}” is",
    r"; site\.tariff=\S+ takes what industry pays there": f"; “{CONTROLS['electricity_usd_per_kwh']}” takes a price",
    r", which money\.pay_whole_term=true counts": "",
    r"\btraining\.stack = ": "A plan file with training.stack = ",
    r"give \[training\.layout\] as measured": "pick the layout that was measured",
    r"leave \[training\.layout\] out to have one searched": "undo the layout picked to have one searched",
    r", `herdplan step` simulates it": "; “Show the timeline” on the page Time simulates it",
    r"\b(?:site\.)?power_limit_mw is ([\d.]+)": r"the site may draw \1 MW",
    r"\b(?:site\.)?power_limit_mw\b": "limit on power",
    r"\b(?:site\.)?gpu_power_cap_w is ([\d.]+)": r"the cap on a GPU is \1 W",
    r"\b(spare_node|micro_batch|shard_degree|global_batch)(s?)\b": lambda found: found[0].replace("_", " "),
    r"(?<!-)\b(tp|cp|pp|vp|dp)\b": lambda found: found[0].upper(),
    r"(?<=\d) x (?=\w)": " × ",
}
"""Patterns of the planner's sentences, the longer before what they hold, and what the page says instead."""


def for_page(text: str) -> str:
    """A sentence with the page's controls instead of a plan file's keys."""
    text = NOT_HERE.sub("", text)
    for pattern, words in _WORDS.items():
        text = re.sub(pattern, words, text)
    return text
