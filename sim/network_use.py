"""How long a GPU's network card is busy in a step: a bound that no schedule and no overlap gets below."""

from dataclasses import dataclass

import numpy as np

from sim.case import Array, StepCase
from sim.context import rings
from sim.network import leaves_node
from sim.passes import Pass, recomputed
from sim.sharding import (
    by_block,
    fsdp_moves_s,
    p2p_stride,
    reduction_s,
    reductions,
    replica_stride,
    sharing_ranks,
    weight_gather_s,
)


@dataclass(frozen=True, kw_only=True)
class NetworkUse:
    """Seconds of a step in which a GPU's network card moves something, by what it moves; on average over stages."""

    tensor_parallel: Array
    context_parallel: Array
    pipeline: Array
    data_parallel: Array

    @property
    def total(self) -> Array:
        """All of them: one card moves one thing at a time, or several as much slower."""
        return self.tensor_parallel + self.context_parallel + self.pipeline + self.data_parallel


def network_use(case: StepCase, forward: Pass, backward: Pass, parameters: Array, send_s: Array) -> NetworkUse:
    """What leaves the node in a step, of blocks' `forward` and `backward` passes, a rank's `parameters` and sends of
    `send_s` between stages; what stays on NVLink is not in it."""
    passes, blocks = case.micro_batches, case.layers / case.pp
    again, ring, moves, one = recomputed(case), rings(case), fsdp_moves_s(case), np.ones(1)
    sharing, stride = sharing_ranks(case), replica_stride(case)
    shard = blocks * (passes * moves.ahead_s + (passes - 1) * moves.behind_s + moves.last_s)
    apart = np.where(by_block(case), sharing, 1.0)  # gradients in shards are summed between copies
    sync = reductions(case) * reduction_s(case, parameters) + weight_gather_s(case, parameters)
    ranks = case.dp * case.cp
    ring_s = (1 + again.rest) * ring.forward_s + ring.backward_s + ring.home_s
    tensor_s = (1 + again.tensor_parallel) * forward.gathers + backward.gathers

    def outside(seconds: Array, size: Array, apart_by: Array) -> Array:
        return np.where(leaves_node(case, size, apart_by), seconds, 0.0)

    return NetworkUse(
        tensor_parallel=outside(passes * blocks * tensor_s, case.tp, one),
        context_parallel=outside(passes * blocks * ring_s, case.cp, case.tp),
        pipeline=outside(2 * passes * (case.vp - 1 / case.pp) * send_s, case.pp, p2p_stride(case)),
        data_parallel=outside(shard, sharing, stride) + outside(sync, ranks / apart, stride * apart),
    )
