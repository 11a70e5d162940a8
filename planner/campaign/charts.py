"""Figures of a simulated campaign as Vega-Lite: where the time went, and its longest interruptions."""

from pathlib import Path

import pandas as pd

from planner.campaign.files import gantt_frame
from planner.campaign.text import ACTIVITY_NAMES
from planner.quantities import percent, power
from planner.report.spec import Spec, data, finished, in_power_unit, labelled_bars, names, quantity, sized, tips
from planner.report.tables import ACTIVITIES
from planner.report.theme import LIGHT, Theme
from profiler.files import write_atomic
from profiler.units import DAY_S, duration
from sim.campaign import PLANNED, REJOIN, Campaign

WIDTH = 720
"""Of a figure in a file."""

MOST_POINTS = 240
"""Intervals of a line: more cannot be told apart on a page."""

LEGEND_COLUMNS = "containerSize()[0] < 520 ? 1 : 2"
"""On a phone names beside each other would be cut; a figure in a file has no container, and two columns."""

X_TITLE = "minutes since the last safe checkpoint"

LONGEST = 30
"""Interruptions in the figure: more rows cannot be read on a page."""


def time_chart(campaign: Campaign) -> Spec:
    """The days that went elsewhere than into training, most first."""
    spent = {name: s for name, s in campaign.seconds.items() if name != "training" and s > 0}
    ranked = sorted(spent, key=lambda name: -spent[name])
    frame = pd.DataFrame(
        {
            "Activity": [ACTIVITY_NAMES[name] for name in ranked],
            "Days": [spent[name] / DAY_S for name in ranked],
            "colour": [ACTIVITIES[name][1] for name in ranked],
            "label": [
                f"{duration(spent[name])} · {percent(spent[name] / campaign.duration_s, 2)}" for name in ranked
            ],
        }
    )
    rows = "; ".join(f"{name} {label}" for name, label in zip(frame["Activity"], frame["label"], strict=True))
    return finished(
        labelled_bars(frame, LIGHT, WIDTH, y="Activity", x="Days", title="days"),
        LIGHT,
        title=f"{percent(campaign.ettr)} of {duration(campaign.duration_s)} trained what was kept",
        subtitle="Where the rest went",
        description=f"Time spent elsewhere than in training: {rows}",
    )


def gantt_chart(campaign: Campaign, theme: Theme = LIGHT, width: int | str = WIDTH) -> Spec | None:
    """The longest interruptions, a row each from the last safe checkpoint to going on; `None` without any.

    Planned ones, which are all alike, are left out where others are.
    """
    shown, total_s = _longest(campaign)
    if shown.empty:
        return None
    kept, only_planned = shown["interruption"].unique(), set(shown["cause"]) <= {PLANNED, REJOIN}
    stops, what = (
        (len(campaign.stops), "interruptions") if only_planned else (campaign.unexpected_interruptions, "failures")
    )
    begins = shown["begins"]
    shown["row"] = [f"day {day:.1f} · {cause[:40]}" for day, cause in zip(begins, shown["cause"], strict=True)]
    seen = [name for name in ACTIVITY_NAMES if name in set(shown["activity"])]
    colours = theme.colours()
    hue = {
        "field": "label",
        "type": "nominal",
        "title": None,
        "scale": {"domain": [ACTIVITY_NAMES[n] for n in seen], "range": [colours[ACTIVITIES[n][1]] for n in seen]},
        "legend": {"orient": "top", "direction": "horizontal", "columns": {"expr": LEGEND_COLUMNS}},
    }
    body = {
        "data": data(shown[["row", "label", "from", "until"]]),
        "mark": {"type": "bar", "height": 11},
        "encoding": {
            "y": names("row", shown.drop_duplicates("row")["row"].tolist(), size=11),
            "x": quantity("from", X_TITLE, ticks=8, titleAnchor="end", labelOverlap=True, labelSeparation=6),
            "x2": {"field": "until"},
            "color": hue,
            "tooltip": tips(("row", ""), ("label", ""), ("from", ".1f"), ("until", ".1f")),
        },
    }
    # of those found while the job was down, which cost nothing of their own, there is no bar
    title = f"The longest {len(kept)} of {stops:,} {what}" if stops > len(kept) else f"{stops} {what}"
    return finished(
        sized(body, width, 18 * len(kept) + 150),
        theme,
        title=title,
        subtitle=f"From the last safe checkpoint to going on; all of them took {duration(float(total_s.sum()))}",
        description=f"The longest takes {duration(float(total_s.max()))}, "
        f"the median {duration(float(total_s.median()))}.",
    )


def _longest(campaign: Campaign) -> tuple[pd.DataFrame, pd.Series]:
    """The bars of the longest interruptions [minutes from the beginning of each], and the seconds of every one that
    could be among them."""
    frame = gantt_frame(campaign)
    failures = frame[~frame["cause"].isin((PLANNED, REJOIN))]
    frame = frame if failures.empty else failures
    total_s = frame.groupby("interruption")["seconds"].sum().astype(float)
    shown = frame[frame["interruption"].isin(total_s.nlargest(LONGEST).index)].copy()
    shown["begins"] = shown.groupby("interruption")["start_day"].transform("min")
    shown["from"] = (shown["start_day"] - shown["begins"]) * 1440
    shown["until"] = (shown["end_day"] - shown["begins"]) * 1440
    return shown, total_s


def longest_table(campaign: Campaign) -> pd.DataFrame:
    """What `gantt_chart` draws."""
    names = {"begins": "Day", "cause": "Cause", "label": "What", "from": "From [min]", "until": "Until [min]"}
    return _longest(campaign)[0].rename(columns=names)[list(names.values())]


def power_chart(campaign: Campaign) -> Spec:
    """The site's power through the campaign: the mean of each interval between its lowest and its highest hour."""
    times_s, watts = campaign.power_series()
    hours = -(-len(watts) // MOST_POINTS)
    grouped = pd.DataFrame({"Day": times_s / DAY_S, "MW": watts / 1e6}).groupby(
        [i // hours for i in range(len(watts))]
    )
    frame = pd.DataFrame(
        {
            "Day": grouped["Day"].first(),
            "mean": grouped["MW"].mean(),
            "low": grouped["MW"].min(),
            "high": grouped["MW"].max(),
        }
    )
    frame, unit = in_power_unit(frame, "high", "mean", "low")
    band = {"type": "area", "color": LIGHT.gpu, "opacity": 0.3, "interpolate": "step-after"}
    line = {"type": "line", "color": LIGHT.gpu, "strokeWidth": 1.5, "interpolate": "step-after"}
    low, mean = quantity("low", f"site power [{unit}]", ticks=5), {"field": "mean", "type": "quantitative"}
    tooltip = tips(("Day", ".1f"), ("mean", ".2f"), ("low", ".2f"), ("high", ".2f"))
    body = {
        "data": data(frame),
        "encoding": {"x": quantity("Day", "days since the start", ticks=8, scale={"nice": False}, grid=False)},
        "layer": [
            {"mark": band, "encoding": {"y": low, "y2": {"field": "high"}}},
            {"mark": line, "encoding": {"y": mean, "tooltip": tooltip}},
        ],
    }
    average, highest = (power(w / 1e6) for w in (campaign.mean_site_power_w, campaign.peak_site_power_w))
    return finished(
        sized(body, WIDTH, 260),
        LIGHT,
        title=f"The site draws {average} on average and {highest} at most",
        subtitle=f"Mean of every {hours} h, between the lowest and the highest hour" if hours > 1 else "Hour by hour",
        description=f"Site power over {duration(campaign.duration_s)}: mean {average}, highest {highest}.",
    )


def write_figure(chart: Spec, path: Path) -> None:
    """Draw a chart into an SVG file.

    Raises:
        InputError: nothing to draw with, or a file that cannot be written.
    """
    from planner.report.svg import plain_svg

    write_atomic(path, plain_svg(chart))
