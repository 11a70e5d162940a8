"""Water: what evaporates at the site and in the power plants that feed it."""

from dataclasses import dataclass
from functools import cache

from planner.carbon import Grid
from planner.market import amount, rows
from planner.market.prices import assumptions

LITRES_PER_M3 = 1000.0
SOURCE = (
    "World Resources Institute, Guidance for Calculating Water Use Embedded in Purchased Electricity (2020), "
    "through EcoLogits"
)


@dataclass(frozen=True, kw_only=True)
class WaterAccount:
    """Water consumed by a campaign [m3]: not given back to where it was taken."""

    site_m3: float
    """Evaporated for cooling: WUE times what the machines draw."""
    generation_m3: float | None
    """In generating the electricity at the meter; `None` where nothing is published of the grid."""
    wue_l_per_kwh: float
    site_how: str
    site_source: str
    generation_how: str
    generation_source: str = SOURCE

    @property
    def how(self) -> str:
        """How both are counted, in words."""
        return f"{self.site_how}; {self.generation_how}"

    @property
    def source(self) -> str:
        """Where both factors come from."""
        return f"{self.site_source}; {self.generation_source}"

    @property
    def total_m3(self) -> float:
        """Both, as far as they are known."""
        return self.site_m3 + (self.generation_m3 or 0.0)

    def to_dict(self) -> dict[str, object]:
        """As scripts read it."""
        return {
            "site_m3": self.site_m3,
            "generation_m3": self.generation_m3,
            "wue_l_per_kwh": self.wue_l_per_kwh,
            "how": self.how,
            "source": self.source,
        }


@cache
def litres_per_kwh() -> dict[str, float]:
    """Water consumed to generate a kWh [l], by ISO 3166 code of the country."""
    return {row["iso3"]: float(row["litres_per_kwh"]) for row in rows("water.csv")}


def site_only(grid: Grid) -> str:
    """In words, where nothing is published of a grid, that the water on it is the site's alone; else empty."""
    if grid.iso3 in litres_per_kwh():
        return ""
    return f"at the site; water in generation is not published for {grid.label}"


def water(it_kwh: float, site_kwh: float, grid: Grid, wue_l_per_kwh: float | None = None) -> WaterAccount:
    """Water of a campaign whose machines drew `it_kwh` and whose meter read `site_kwh`.

    P. Li et al., "Making AI Less Thirsty", arXiv:2304.03271: WUE times the machines' energy, plus the grid's
    intensity times the meter's. The site's WUE defaults to Microsoft's fleet.
    """
    known = assumptions().water_use
    wue = known.expected if wue_l_per_kwh is None else amount("wue_l_per_kwh", wue_l_per_kwh)
    intensity = litres_per_kwh().get(grid.iso3)
    made = "not published for this grid" if intensity is None else f"{intensity:g} l per kWh in generating it"
    return WaterAccount(
        site_m3=amount("it_kwh", it_kwh) * wue / LITRES_PER_M3,
        generation_m3=None if intensity is None else amount("site_kwh", site_kwh) * intensity / LITRES_PER_M3,
        wue_l_per_kwh=wue,
        site_how=f"{wue:g} l at the site per kWh of its machines",
        site_source="given in the plan" if wue_l_per_kwh is not None else known.cited,
        generation_how=f"{made} ({grid.label})",
    )
