"""Columns of a runs file: the names under which they are read, and what is said of those that are not."""

import difflib
import re
from collections.abc import Collection, Sequence

OTHER_NAMES = {
    "id": ("run", "run_id", "run_name", "name"),
    "layers": ("num_layers", "n_layers", "num_hidden_layers"),
    "hidden": ("hidden_size", "d_model"),
    "ffn": ("ffn_hidden_size", "intermediate_size", "d_ff"),
    "heads": ("num_heads", "n_heads", "num_attention_heads"),
    "kv_heads": ("num_kv_heads", "n_kv_heads", "num_key_value_heads", "num_query_groups"),
    "vocab": ("vocab_size", "padded_vocab_size"),
    "gpus": ("num_gpus", "n_gpus", "world_size"),
    "tp": ("tp_size", "tensor_parallel", "tensor_parallel_size", "tensor_model_parallel_size"),
    "pp": ("pp_size", "pipeline_parallel", "pipeline_parallel_size", "pipeline_model_parallel_size"),
    "cp": ("cp_size", "context_parallel", "context_parallel_size"),
    "dp": ("dp_size", "data_parallel", "data_parallel_size"),
    "vp": ("vpp", "virtual_stages", "virtual_pipeline", "virtual_pipeline_model_parallel_size"),
    "micro_batch": ("mbs", "micro_batch_size"),
    "global_batch": ("gbs", "global_batch_size"),
    "grad_accum": ("gradient_accumulation", "gradient_accumulation_steps"),
    "seq_len": ("seq", "seq_length", "sequence_length"),
}
"""What Megatron-LM, Hugging Face's configurations and people call the columns; none whose unit is open."""
_OWN = {other: name for name, others in OTHER_NAMES.items() for other in others}


MOST_NAMED, LONGEST = 20, 40
"""Columns that are named one by one, and characters of each."""


def own_names(columns: Sequence[str]) -> list[str]:
    """Each column by the name under which it is read; another name counts where no other column has its own."""
    stated = [name.strip().lower() for name in columns]
    taken, found = set(stated), []
    for name in stated:
        own = _OWN.get(re.sub(r"[ -]+", "_", name), name)
        found.append(name if own in taken else own)
        taken.add(own)
    return found


def said_of_columns(columns: Sequence[str], known: Collection[str]) -> list[str]:
    """What to say of a header: what is read by another name, then what is not, with what was perhaps meant."""
    own = own_names(columns)
    pairs = zip(map(str.strip, columns), own, strict=True)
    renamed = [f"'{shown}' as {name}" for shown, name in pairs if shown.lower() != name]
    sentences = [f"read by another name: {', '.join(renamed)}"] if renamed else []
    strange = [name for name in own if name and name not in known]
    open_names = [name for name in known if name not in own]
    others = []
    for name in strange[:MOST_NAMED]:
        close = difflib.get_close_matches(name[:LONGEST], open_names, n=1, cutoff=0.7)
        if close:
            sentences.append(f"column '{name[:LONGEST]}' is not read; did you mean '{close[0]}'?")
        else:
            others.append(f"'{name[:LONGEST]}'")
    if len(strange) > MOST_NAMED:
        others.append(f"{len(strange) - MOST_NAMED} more")
    return [*sentences, *([f"columns that are not read: {', '.join(others)}"] if others else [])]
