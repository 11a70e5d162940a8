"""How a plan fails and recovers: its [reliability] table as the campaign takes it."""

from planner.plan_file import ReliabilityRequest
from sim.campaign.checkpoints import CheckpointPolicy
from sim.campaign.reliability import Reliability, load_reliability
from sim.campaign.setup import Pause


def plan_reliability(request: ReliabilityRequest) -> Reliability:
    """The failure record asked for, with the detection and restart times that the plan states.

    Raises:
        InputError: no such record.
    """
    record = load_reliability(request.record)
    if request.longest_detection_s is not None:
        record = record.detected_within(request.longest_detection_s)
    return record if request.restart_s is None else record.restarting_in(request.restart_s)


def plan_checkpoints(request: ReliabilityRequest) -> CheckpointPolicy:
    """How the run saves itself."""
    return CheckpointPolicy(
        kind=request.checkpoints,
        interval_s=request.checkpoint_interval_s,
        rule=request.checkpoint_rule,
        durable_interval_s=request.durable_interval_s,
        copies=request.memory_copies,
        storage_share=request.storage_share,
    )


def plan_pauses(request: ReliabilityRequest) -> tuple[Pause, ...]:
    """Regular evaluations or changes of data, where the plan has any."""
    if request.pause_every_s is None:
        return ()
    return (Pause(name="evaluation or data", every_s=request.pause_every_s, pause_s=request.pause_s),)
