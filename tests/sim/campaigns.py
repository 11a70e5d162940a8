"""Shared by the campaign's tests: setups by name, and whole clusters for hypothesis."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import reject
from hypothesis import strategies as st

from profiler.files import InputError
from sim.campaign import ACTIVITIES, Campaign, CampaignSetup, Pause, Phase
from sim.campaign.checkpoints import CheckpointPolicy
from sim.campaign.reliability import (
    FailureCause,
    InfantMortality,
    LemonNodes,
    Reliability,
    Straggler,
    load_reliability,
)
from sim.hardware import build_cluster
from sim.site.energy import PARTS

DAY = 86400.0
B405 = 405_000_000_000


def phase(days: float, **changes: Any) -> Phase:
    """`days` of undisturbed training in steps of 10 s."""
    base: dict[str, Any] = {"name": "main", "tokens_per_step": 16e6, "step_time_s": 10.0, "gpu_power_w": 600.0}
    base |= changes
    steps = days * DAY / base["step_time_s"]
    return Phase(**{"tokens": steps * base["tokens_per_step"]} | base)


def setup(days: float, gpus: int = 16384, **changes: Any) -> CampaignSetup:
    """Llama 3.1 405B for `days`."""
    base: dict[str, Any] = {
        "cluster": build_cluster("h100-sxm", gpus),
        "parameters": B405,
        "phases": (phase(days),),
        "reliability": load_reliability("llama3-405b"),
        "spare_nodes": 64,
    }
    return CampaignSetup(**base | changes)


def fleet(mtbf_s: float, gpus: int, *, restart_s: float = 300.0, cause: Any = (), **fields: Any) -> Reliability:
    """One cause, `mtbf_s` between failures of a job on `gpus`; `fields` are the fleet's."""
    base = {"detection_s": 0.0, "nodes_lost": 0, "repair_s": 0.0} | dict(cause)
    rate = DAY / mtbf_s / (gpus / 8)
    causes = (FailureCause(name="any", category="any", rate_per_node_day=rate, source="test", **base),)
    scale = {"restart_gpus": (1.0,), "restart_times_s": (restart_s,)}
    return Reliability(**{"name": "test", "label": "test", "causes": causes} | scale | fields)


def quiet(**fields: Any) -> Reliability:
    """A fleet that never fails."""
    return Reliability(
        **{"name": "quiet", "label": "", "causes": (), "restart_gpus": (1.0,), "restart_times_s": (300.0,)} | fields
    )


def at_rate(record: Reliability, per_1000_node_days: float) -> Reliability:
    """The same mix of causes at another overall rate."""
    factor = per_1000_node_days / record.failures_per_1000_node_days
    causes = tuple(replace(cause, rate_per_node_day=cause.rate_per_node_day * factor) for cause in record.causes)
    return replace(record, causes=causes)


def check_conserved(plan: CampaignSetup, run: Campaign) -> None:
    """Time, tokens, energy, interruptions and nodes add up."""
    rel = 1e-9
    assert set(run.seconds) == set(ACTIVITIES)
    assert min(run.seconds.values()) >= -1e-6
    assert sum(run.seconds.values()) == pytest.approx(run.duration_s, rel=rel)
    work_s = sum(stage.training_s for stage in plan.phases)
    assert run.seconds["training"] == pytest.approx(work_s, rel=rel)
    assert run.tokens == sum(stage.tokens for stage in plan.phases)
    for stage in plan.phases:
        kept = sum(part.tokens for part in run.segments if part.phase == stage.name)
        assert kept == pytest.approx(stage.tokens, rel=rel)
    check_segments(run)
    for activity, name in (
        ("lost_work", "lost_s"),
        ("detection", "detection_s"),
        ("drain", "drain_s"),
        ("restart", "restart_s"),
        ("maintenance", "maintenance_s"),
    ):
        total = sum(getattr(stop, name) for stop in run.interruptions)
        assert total == pytest.approx(run.seconds[activity], rel=rel, abs=1e-5), activity
    if plan.recovery == "job":
        waited = sum(stop.wait_s for stop in run.interruptions)
        assert waited == pytest.approx(run.seconds["waiting_for_repair"], rel=rel, abs=1e-5)
    assert all(stop.spares_left >= 0 for stop in run.interruptions)
    assert all(stop.spares_left <= plan.spare_nodes for stop in run.interruptions if stop.replicas == 1)


def check_segments(run: Campaign) -> None:
    """Segments follow one another, and their power is the campaign's."""
    starts, ends = zip(*((part.start_s, part.end_s) for part in run.segments), strict=True)
    assert starts[0] == 0
    assert ends[-1] == run.duration_s
    assert starts[1:] == ends[:-1]
    assert all(0 <= part.replicas <= 1 for part in run.segments)
    energy_j = sum((part.end_s - part.start_s) * part.site_power_w for part in run.segments)
    assert energy_j == pytest.approx(run.total_energy_j, rel=1e-9)
    assert run.state_s.sum() == pytest.approx(run.duration_s, rel=1e-9)
    assert set(run.energy_j) == set(PARTS)
    assert run.peak_site_power_w >= max(part.site_power_w for part in run.segments) * (1 - 1e-9)
    assert run.peak_site_power_w >= run.mean_site_power_w * (1 - 1e-12)
    starts_s, watts = run.power_series()
    lengths_s = np.diff(np.append(starts_s, run.duration_s))
    assert float(watts @ lengths_s) == pytest.approx(run.total_energy_j, rel=1e-9)
    assert watts.max() <= run.peak_site_power_w * (1 + 1e-9)
    times_s, tokens = run.progress()
    assert (times_s[-1], tokens[-1]) == (run.duration_s, pytest.approx(run.tokens, rel=1e-9))
    assert (np.diff(tokens) >= 0).all()


@st.composite
def reliabilities(draw: st.DrawFn, gpus: int) -> Reliability:
    """Fleets with every kind of failure."""
    mtbf_s = draw(st.floats(600, 1e6))
    per_node_day = DAY / mtbf_s / (gpus / 8) / 3
    causes = tuple(
        FailureCause(
            name=f"cause {i}",
            category="any",
            rate_per_node_day=draw(st.floats(0.1, 1)) * per_node_day,
            detection_s=draw(st.floats(0, 100)),
            nodes_lost=draw(st.integers(0, 3)),
            repair_s=draw(st.floats(0, 20_000)),
            drain_s=draw(st.sampled_from([0.0, 30.0])),
            silent=draw(st.booleans()),
            source="drawn",
        )
        for i in range(draw(st.integers(0, 3)))
    )
    stragglers = tuple(
        Straggler(
            name=f"slow {i}",
            rate_per_node_day=draw(st.floats(0.1, 1)) * per_node_day,
            slowdown=draw(st.floats(0, 0.5)),
            found_after_s=draw(st.floats(0, 20_000)),
            repair_s=draw(st.floats(0, 20_000)),
            source="drawn",
        )
        for i in range(draw(st.integers(0, 2)))
    )
    return Reliability(
        name="drawn",
        label="",
        causes=causes,
        stragglers=stragglers,
        restart_gpus=(1.0,),
        restart_times_s=(draw(st.floats(0, 200)),),
        warm_restart_share=draw(st.floats(0, 1)),
        gaps_shape=draw(st.sampled_from([0.7, 1.0, 1.5])),
        repair_times=draw(st.sampled_from(["fixed", "exponential"])),
        infant_mortality=draw(
            st.none() | st.builds(InfantMortality, extra_rate=st.just(1.0), fading_days=st.just(0.3))
        ),
        lemon_nodes=draw(
            st.none() | st.builds(LemonNodes, share=st.just(0.1), extra_rate=st.just(3.0), found_share=st.just(0.5))
        ),
    )


@st.composite
def setups(draw: st.DrawFn) -> CampaignSetup:
    """Whole campaigns, small enough to simulate at once."""
    gpus = draw(st.sampled_from([4, 8, 64, 1024]))
    phases = tuple(
        phase(draw(st.floats(1e-3, 1)), name=f"phase {i}", gpu_power_w=draw(st.floats(1, 700)))
        for i in range(draw(st.integers(1, 4)))
    )
    policy = CheckpointPolicy(
        kind=draw(st.sampled_from(["synchronous", "asynchronous", "in_memory", "multi_level"])),
        interval_s=draw(st.none() | st.floats(60, 1800)),
        rule=draw(st.sampled_from(["young_daly", "optimal"])),
        copies=draw(st.integers(1, 2)) if gpus > 8 else 1,
        storage_share=draw(st.sampled_from([0.5, 1.0])),
    )
    replicas = draw(st.sampled_from([1, 2, 4]))
    spare_nodes = draw(st.integers(0, 3))
    fields: dict[str, Any] = {
        "cluster": build_cluster("h100-sxm", gpus),
        "parameters": draw(st.integers(1, 10**9)),
        "phases": phases,
        "reliability": draw(reliabilities(gpus)),
        "checkpoints": policy,
        "spare_nodes": spare_nodes,
        "hot_spare_nodes": draw(st.integers(0, spare_nodes)),
        "repair_crews": draw(st.none() | st.integers(1, 3)),
        "planned_maintenance_per_day": draw(st.floats(0, 20)),
        "maintenance_s": draw(st.floats(0, 600)),
        "pauses": draw(st.sampled_from([(), (Pause(name="evaluation", every_s=7200.0, pause_s=600.0),)])),
        "replicas": replicas,
        "fewer_replicas": replicas > 1 and draw(st.booleans()),
        "recovery": draw(st.sampled_from(["job", "replica"])) if replicas > 1 else "job",
        "replica_stall_s": draw(st.floats(0, 200)),
        "gpu_wait_power_w": draw(st.none() | st.floats(0, 700)),
    }
    try:
        return CampaignSetup(**fields)
    except InputError:  # failures faster than recovery
        reject()
