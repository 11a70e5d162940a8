"""A simulated campaign as tables, and tables as CSV or Parquet files."""

import io
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from planner.campaign.text import ACTIVITY_NAMES
from profiler.files import InputError, nearest, write_atomic
from profiler.units import DAY_S, JOULES_PER_MWH
from sim.campaign import Campaign
from sim.campaign.hours import hour_series
from sim.campaign.record import ACTIVITIES, Interruption
from sim.site.energy import PARTS

if TYPE_CHECKING:
    import pandas as pd

    from planner.campaign.simulation import Replica, Simulation

SUFFIXES = (".csv", ".parquet")


def event_frame(campaign: Campaign, start: datetime) -> "pd.DataFrame":
    """The event log: one row for each interruption, with the local time and what it cost in seconds."""
    import pandas as pd

    frame = pd.DataFrame([stop._asdict() for stop in campaign.interruptions], columns=list(Interruption._fields))
    frame.insert(0, "time", [start + timedelta(seconds=s) for s in frame["time_s"]])
    frame["planned"] = [stop.planned for stop in campaign.interruptions]
    return frame


def hour_frame(campaign: Campaign, start: datetime) -> "pd.DataFrame":
    """One row for each hour: energy by part [MWh], mean power [MW], tokens, seconds of each activity.

    Columns add up to the campaign's totals; the last hour ends with the campaign.
    """
    import pandas as pd

    hours = hour_series(campaign)
    energy_mwh = {f"{part}_mwh": hours.energy_j[:, i] / JOULES_PER_MWH for i, part in enumerate(PARTS)}
    activities = {f"{name}_s": hours.activity_s[:, i] for i, name in enumerate(ACTIVITIES)}
    return pd.DataFrame(
        {
            "time": [start + timedelta(seconds=s) for s in hours.start_s.tolist()],
            "length_s": hours.length_s,
            "power_mw": hours.power_w / 1e6,
            "energy_mwh": hours.energy_j.sum(axis=1) / JOULES_PER_MWH,
            **energy_mwh,
            "tokens": hours.tokens,
            **activities,
        }
    )


def segment_frame(campaign: Campaign, start: datetime) -> "pd.DataFrame":
    """The campaign segment by segment: one activity, one phase, one mean power each."""
    frame = campaign.to_frame()
    frame.insert(0, "time", [start + timedelta(seconds=s) for s in frame["start_s"]])
    return frame


def gantt_frame(campaign: Campaign) -> "pd.DataFrame":
    """The bars of interruptions: what stopped training, from when to when, and on what that time went."""
    import pandas as pd

    rows = []
    for number, stop in enumerate(campaign.interruptions, start=1):
        at_s = stop.time_s - stop.lost_s
        spans = {"lost_work": stop.lost_s, "detection": stop.detection_s, "drain": getattr(stop, "drain_s", 0.0),
                 "maintenance": stop.maintenance_s, "waiting_for_repair": stop.wait_s,
                 "restart": stop.restart_s}  # fmt: skip
        for activity, seconds in spans.items():
            if seconds > 0:
                rows.append((number, stop.cause, activity, at_s / DAY_S, (at_s + seconds) / DAY_S, seconds))
            at_s += seconds
    columns = ["interruption", "cause", "activity", "start_day", "end_day", "seconds"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.insert(3, "label", [ACTIVITY_NAMES[name] for name in frame["activity"]])
    return frame


def replica_frame(replicas: Sequence["Replica"]) -> "pd.DataFrame":
    """One row for each replica; energies by part and times by activity as columns of their own."""
    import pandas as pd

    rows = []
    for one in replicas:
        row = dict(vars(one))
        parts, times = row.pop("energy_by_part_mwh"), row.pop("time_by_activity_s")
        rows.append({**row, **{f"{k}_mwh": v for k, v in parts.items()}, **{f"{k}_s": v for k, v in times.items()}})
    return pd.DataFrame(rows)


def check_path(path: Path) -> None:
    """Raise `InputError` unless a table can be written in the format that the name asks for."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: a table ends in .csv or .parquet; {nearest(path.suffix, SUFFIXES)}.")
    if path.suffix == ".parquet":
        _parquet()


def write_table(frame: "pd.DataFrame", path: Path) -> None:
    """Write a table whole or not at all, as CSV or Parquet by its name's ending.

    In CSV, text that a spreadsheet would run as a formula is quoted.

    Raises:
        InputError: another ending, Parquet without pyarrow, or a file that cannot be written.
    """
    check_path(path)
    if path.suffix == ".parquet":
        data = io.BytesIO()
        frame.to_parquet(data, index=False)
        write_atomic(path, data.getvalue())
        return
    write_atomic(path, _harmless(frame).to_csv(index=False, date_format="%Y-%m-%dT%H:%M:%S"))


def _harmless(frame: "pd.DataFrame") -> "pd.DataFrame":
    texts = [name for name in frame.columns if frame[name].map(lambda value: isinstance(value, str)).any()]
    quoted = {
        name: [f"'{v}" if str(v).startswith(("=", "+", "-", "@")) else v for v in frame[name]] for name in texts
    }
    return frame.assign(**quoted)


def _parquet() -> None:
    from importlib.util import find_spec

    if find_spec("pyarrow") is None:
        raise InputError("Parquet needs pyarrow: pip install 'herdplan[parquet]'.")


def write_folder(simulation: "Simulation", folder: Path, ending: str = "csv") -> None:
    """Every table of the median campaign and of the replicas, the figures, and the explanation.

    Raises:
        InputError: a folder that cannot be written.
    """
    from planner.campaign.charts import gantt_chart, power_chart, time_chart, write_figure
    from planner.campaign.text import explained

    campaign, start = simulation.median, simulation.scenario.start
    tables = {
        "events": event_frame(campaign, start),
        "hours": hour_frame(campaign, start),
        "segments": segment_frame(campaign, start),
        "gantt": gantt_frame(campaign),
        "replicas": replica_frame(simulation.replicas),
    }
    for name, frame in tables.items():
        write_table(frame, folder / f"{name}.{ending}")
    write_figure(time_chart(campaign), folder / "time.svg")
    write_figure(power_chart(campaign), folder / "power.svg")
    if gantt := gantt_chart(campaign):
        write_figure(gantt, folder / "gantt.svg")
    write_atomic(folder / "explanation.txt", explained(campaign, simulation.scenario.setup) + "\n")
