"""Carbon: what the electricity and the hardware of a campaign emit.

Grid intensities and yearly generation are those of Our World in Data / Ember (CC BY 4.0) and of Google Cloud,
through codecarbon (MIT); see planner/market/grids_*.csv.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from planner.market import amount, rows
from planner.money.hourly import read_year
from planner.quantities import energy
from profiler.files import InputError, nearest
from profiler.units import HOUR_S, JOULES_PER_KWH, YEAR_DAYS
from sim.site.climate import hours_of_year

Array = NDArray[np.float64]

CSV_COLUMNS = {"kg_per_kwh": 1.0, "g_per_kwh": 1e-3}
HIGHEST_KG_PER_KWH = 3.0
"""Twice what the dirtiest lignite plants emit."""

KG_PER_TONNE = 1000.0
HARDWARE_LIFETIME_YEARS = 5.5
"""Useful life of servers and network gear: Meta Platforms, annual report for 2024 (from January 2025)."""

COUNTRY_SOURCE = "Our World in Data / Ember (CC BY 4.0), through codecarbon's energy mix (MIT, b05965e4)"
CLOUD_SOURCE = "Google Cloud region carbon data, through codecarbon's impact.csv (MIT)"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """An electricity grid and its location-based intensity [kgCO2e per kWh]."""

    name: str
    label: str
    intensity_kg_per_kwh: float
    year: int | None
    """Of the data; `None` where the source does not say."""
    kind: Literal["country", "cloud-region", "given"]
    source: str
    iso3: str = ""
    """The country it is in."""
    hourly_kg_per_kwh: tuple[float, ...] = ()
    """Of each hour of a year from 1 January, local standard time; without, every hour is alike."""

    def intensities(self, start: datetime, hours: int) -> Array:
        """In each of `hours` hours from `start` [kgCO2e per kWh], shape (hours,)."""
        if not self.hourly_kg_per_kwh:
            return np.full(hours, self.intensity_kg_per_kwh)
        return np.array(self.hourly_kg_per_kwh)[hours_of_year(start, hours)]

    def over(self, start: datetime, hourly_kwh: Array) -> "Grid":
        """The same grid with the intensity that a load meets, given hour by hour from `start`."""
        total = float(hourly_kwh.sum())
        if not self.hourly_kg_per_kwh or not total:
            return self
        met = float(hourly_kwh @ self.intensities(start, len(hourly_kwh))) / total
        return replace(self, intensity_kg_per_kwh=met)


@dataclass(frozen=True, kw_only=True)
class CarbonAccount:
    """Emissions of a campaign [tCO2e]: its electricity counted two ways, and its share of the hardware."""

    location_based_tco2e: float
    market_based_tco2e: float
    embodied_tco2e: float
    how: str

    @property
    def total_tco2e(self) -> float:
        """Location-based plus embodied [tCO2e]."""
        return self.location_based_tco2e + self.embodied_tco2e


@cache
def grids() -> tuple[Grid, ...]:
    """Every grid in the catalogue: countries by ISO 3166 code, cloud regions as provider:region."""
    countries = (
        Grid(
            name=row["iso3"],
            label=row["country"],
            intensity_kg_per_kwh=float(row["intensity_kg_per_kwh"]),
            year=int(row["year"]),
            kind="country",
            source=COUNTRY_SOURCE,
            iso3=row["iso3"],
        )
        for row in rows("grids_country.csv")
    )
    regions = (
        Grid(
            name=f"{row['provider']}:{row['region']}",
            label=f"{row['city']}, {row['iso3']} ({row['provider']} {row['region']})",
            intensity_kg_per_kwh=float(row["intensity_kg_per_kwh"]),
            year=None,
            kind="cloud-region",
            source=CLOUD_SOURCE,
            iso3=row["iso3"],
        )
        for row in rows("grids_cloud.csv")
    )
    return (*countries, *regions)


@cache
def _by_key() -> dict[str, Grid]:
    keys = {grid.name.lower(): grid for grid in grids()}
    return keys | {grid.label.lower(): grid for grid in grids() if grid.kind == "country"}


def load_grid(name: str) -> Grid:
    """A grid by ISO 3166 code (`NOR`), country (`Norway`) or cloud region (`gcp:europe-north1`), in any case; or a
    CSV file with a year's hours.

    Raises:
        InputError: no such grid (names the nearest), or a file that cannot be used.
    """
    if name.endswith(".csv"):
        return _hourly(Path(name))
    found = _by_key().get(name.strip().lower())
    if found is None:
        close = nearest(name.strip(), _by_key()).partition("; did you mean ")[2]
        meant = f"; did you mean {close}" if close else ""
        raise InputError(
            f"grid '{name}' is not in the catalogue; allowed: a country, its ISO 3166 code (such as NOR), "
            f"or provider:region (such as gcp:us-central1), or a .csv file{meant}."
        )
    return found


def _hourly(path: Path) -> Grid:
    """The hours of a person's CSV file."""
    hours = read_year(path, CSV_COLUMNS, least=0.0, most=HIGHEST_KG_PER_KWH)
    return Grid(
        name=path.stem,
        label=f"hourly intensities of {path.name}",
        intensity_kg_per_kwh=math.fsum(hours) / len(hours),
        year=None,
        kind="given",
        source=f"given by the user, {path}",
        hourly_kg_per_kwh=hours,
    )


def location_based(energy_kwh: float, grid: Grid) -> float:
    """Emissions of the electricity as the grid made it [tCO2e]."""
    return amount("energy_kwh", energy_kwh) * grid.intensity_kg_per_kwh / KG_PER_TONNE


def market_based(energy_kwh: float, grid: Grid, *, contracted_share: float = 0.0) -> float:
    """Emissions with the share of the electricity that clean contracts cover counted as none [tCO2e].

    What is not contracted takes the grid's own intensity; a residual mix, not known here, would be higher.
    """
    share = amount("contracted_share", contracted_share, most=1.0)
    return (1 - share) * location_based(energy_kwh, grid)


def embodied(gpus: int, kg_per_gpu: float, days: float) -> float:
    """The campaign's share of what making the hardware emitted: its days over the lifetime [tCO2e]."""
    for key, value in (("gpus", gpus), ("kg_per_gpu", kg_per_gpu), ("days", days)):
        amount(key, value)
    return gpus * kg_per_gpu * days / (YEAR_DAYS * HARDWARE_LIFETIME_YEARS) / KG_PER_TONNE


def account(
    energy_kwh: float,
    grid: Grid,
    *,
    gpus: int,
    embodied_kg_per_gpu: float,
    days: float,
    contracted_share: float = 0.0,
) -> CarbonAccount:
    """The whole account of a campaign that drew `energy_kwh` at the site meter."""
    return CarbonAccount(
        location_based_tco2e=location_based(energy_kwh, grid),
        market_based_tco2e=market_based(energy_kwh, grid, contracted_share=contracted_share),
        embodied_tco2e=embodied(gpus, embodied_kg_per_gpu, days),
        how=f"{energy(energy_kwh / 1000)} at {grid.intensity_kg_per_kwh:.3f} kg per kWh ({grid.label})",
    )


@cache
def model_card_intensity() -> float:
    """The one grid factor of the Llama 3.1 model card [kgCO2e per kWh]: its tonnes over its energy at TDP.

    (420 + 2,040 + 8,930) t / (39.3 M GPU-hours × 0.7 kW) = 0.41403, which gives each of the three models back
    within 0.8 %.
    """
    card = rows("model_card.csv")
    tonnes = math.fsum(float(row["location_based_tco2e"]) for row in card)
    kwh = math.fsum(float(row["gpu_hours"]) * float(row["tdp_w"]) / 1000 for row in card)
    return tonnes * KG_PER_TONNE / kwh


def tdp_accounting(gpu_hours: float, tdp_w: float) -> float:
    """Emissions as the Llama 3.1 model card counts them [tCO2e]: every GPU-hour at its TDP, nothing else.

    No host, network, cooling or idle time is in it: an accounting mode beside the metered energy, not an
    estimate of it. The intensity is the card's own, `model_card_intensity`.
    """
    joules = amount("gpu_hours", gpu_hours) * HOUR_S * amount("tdp_w", tdp_w)
    return joules / JOULES_PER_KWH * model_card_intensity() / KG_PER_TONNE
