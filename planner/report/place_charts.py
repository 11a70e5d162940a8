"""Charts of places: what the same run would emit elsewhere, and countries that make as much electricity."""

import pandas as pd

from planner.carbon import grids
from planner.comparisons import countries, generates, in_sentence
from planner.plan import Plan
from planner.quantities import energy, energy_unit, power, power_unit, significant
from planner.report.charts import HALF, Width
from planner.report.spec import Spec, data, finished, labelled_bars, names, quantity, sized, tips
from planner.report.theme import LIGHT, Theme
from planner.report.words import tonnes
from profiler.units import JOULES_PER_MWH

PLACES = (
    "NOR", "SWE", "FRA", "CHE", "CAN", "BRA", "FIN", "GBR", "ESP", "DEU", "USA", "JPN", "ARE", "CHN", "AUS", "IND",
    "POL", "ZAF",
)  # fmt: skip
"""Countries that are shown beside the chosen place, chosen to span the range and to be known to readers."""

THIS_RUN = "this run"


def place_table(plan: Plan) -> pd.DataFrame:
    """What the run's electricity would emit in every country of the catalogue [tCO2e], least first."""
    mwh = plan.campaign.total_energy_j / JOULES_PER_MWH
    rows = [
        (g.label, g.intensity_kg_per_kwh * mwh, g.intensity_kg_per_kwh * 1000) for g in grids() if g.kind == "country"
    ]
    if plan.grid.kind != "country":
        rows.append((plan.grid.label, plan.carbon.location_based_tco2e, plan.grid.intensity_kg_per_kwh * 1000))
    frame = pd.DataFrame(rows, columns=["Place", "tCO2e", "g per kWh"])
    return frame.sort_values(["tCO2e", "Place"], ignore_index=True)


def tonnes_by_place(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Spec:
    """Location-based tonnes of the same electricity in some places, sorted, the chosen one marked."""
    labels = {grid.label for grid in grids() if grid.name in PLACES}
    here = plan.grid.label
    table = place_table(plan)
    frame = table[table["Place"].isin(labels | {here})].set_axis(["Place", "t", "gram"], axis=1)
    frame = frame.assign(
        colour=["accent" if place == here else "waiting" for place in frame["Place"]],
        label=[tonnes(t) for t in frame["t"]],
    )
    best, worst = frame.iloc[0], frame.iloc[-1]
    return finished(
        labelled_bars(frame, theme, width, y="Place", x="t", title="tCO2e", marked=here),
        theme,
        title=f"{tonnes(plan.carbon.location_based_tco2e)} here; {tonnes(best['t'])} in {best['Place']}",
        subtitle="Location-based, the same electricity at each place",
        description=f"From {tonnes(best['t'])} in {best['Place']} to {tonnes(worst['t'])} in {worst['Place']}; "
        f"{here} {tonnes(plan.carbon.location_based_tco2e)}.",
    )


def country_table(plan: Plan) -> pd.DataFrame:
    """The run's electricity between the countries whose yearly generation is nearest [MWh]."""
    mwh = plan.energy_mwh.expected
    ranked = list(countries())
    at = sum(country.generation_mwh < mwh for country in ranked)
    near = ranked[max(at - 3, 0) : at + 3]
    rows = [(f"{c.country}, {c.year}", c.generation_mwh, "waiting") for c in near]
    rows.insert(min(at, 3), (THIS_RUN, mwh, "accent"))
    return pd.DataFrame(rows, columns=["What", "MWh", "colour"])


def country_bars(plan: Plan, theme: Theme = LIGHT, width: Width = HALF) -> Spec:
    """The run's electricity beside what some countries generate in a year."""
    frame = country_table(plan)
    scale, unit = energy_unit(frame["MWh"].max())
    frame = frame.assign(label=[energy(mwh, like=scale) for mwh in frame["MWh"]], MWh=frame["MWh"] / scale)
    return finished(
        labelled_bars(frame, theme, width, y="What", x="MWh", title=unit, marked=THIS_RUN),
        theme,
        title=f"{energy(plan.energy_mwh.expected)}: {_like(plan)}",
        subtitle="Electricity that countries generate in a year, those nearest to this run",
        description="; ".join(f"{what} {label}" for what, label in zip(frame["What"], frame["label"], strict=True)),
    )


def _like(plan: Plan) -> str:
    """The run beside a country that is drawn, even where the plan itself is compared with homes."""
    least = countries()[0]
    if any(country.country == plan.comparison.what for country in countries()):
        return plan.comparison.sentence.partition(" (")[0]
    times = significant(least.generation_mwh / plan.energy_mwh.expected, 2)
    return f"even {in_sentence(least.country)} {generates(least.country)} {times} times as much in a year"


def swing_bars(table: pd.DataFrame, peak_mw: float, theme: Theme = LIGHT, width: Width = HALF) -> Spec | None:
    """How far the site's power jumps at once, by what makes it jump; `None` where nothing does.

    `table` is `planner.report.tables.swing_table`'s.
    """
    if table.empty:
        return None
    frame = table.set_axis(["Swing", "Times", "mean", "largest", "ramp"], axis=1)
    scale, unit = power_unit(float(frame["largest"].max()))
    frame = frame.assign(size=frame["largest"] / scale, label=[_swing(row) for row in frame.itertuples(index=False)])
    frame = frame.sort_values("size", ascending=False, kind="stable")
    most = float(frame["size"].max())
    bar = {"type": "bar", "height": 16, "color": theme.gpu}
    body = {
        "data": data(frame[["Swing", "size", "label"]]),
        "encoding": {
            "y": names("Swing", frame["Swing"].tolist()),
            "x": quantity("size", f"{unit} at once", scale={"domain": [0, max(most, 1e-9) * 2.1], "nice": False}),
        },
        "layer": [
            {"mark": bar, "encoding": {"tooltip": tips(("Swing", ""), ("label", ""))}},
            {"mark": {"type": "text", "align": "left", "dx": 6}, "encoding": {"text": {"field": "label"}}},
        ],
    }
    return finished(
        sized(body, width, 30 * len(frame) + 104),
        theme,
        title=f"The grid sees {power(most * scale)} come or go at once, of {power(peak_mw)}",
        subtitle="Largest jump of the site’s power by cause, how often, and how fast at least",
        description="; ".join(f"{name} {label}" for name, label in zip(frame["Swing"], frame["label"], strict=True)),
    )


def _swing(row: object) -> str:
    largest, times, ramp = (getattr(row, name) for name in ("largest", "Times", "ramp"))
    return f"{power(largest)} · {times:,}× · {power(ramp, digits=2)}/s"
