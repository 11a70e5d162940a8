"""Idle electricity of an owned cluster: billed with the campaign's, as one load would be."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from planner.money.standing import Standing
from planner.money.tariffs import Bill, Tariff, Window, bill, flat_tariff
from planner.plan import Plan, make_plan
from planner.plan_file import plan_request

IDLE_KW, BUSY_KW = 300.0, 1000.0
SUMMER = Window(label="summer", months=(6, 7, 8), from_hour=15, to_hour=19, usd_per_kwh=0.21)
TARIFF = Tariff(
    name="t",
    label="t",
    energy_usd_per_kwh=0.05,
    windows=(SUMMER,),
    demand_usd_per_kw_month=12.5,
    fixed_usd_per_month=2500.0,
    source="a test",
    date="2026",
)


def at(start: datetime, before_h: float, training_h: float, after_h: float) -> tuple[Bill, Bill, Bill]:
    """The bill of the campaign alone, what standing adds, and the bill of the whole load, hour by hour."""
    standing = Standing(start=start, before_h=before_h, training_h=training_h, after_h=after_h, idle_kw=IDLE_KW)
    before, end = int(np.ceil(before_h)), int(np.ceil(training_h + after_h))

    def kwh(kw: float, begin_h: float, end_h: float, first: int, last: int) -> np.ndarray:
        hours = np.arange(first, last)
        return kw * np.clip(np.minimum(hours + 1, end_h) - np.maximum(hours, begin_h), 0, 1)

    alone = bill(TARIFF, start, kwh(BUSY_KW, 0, training_h, 0, int(np.ceil(training_h))))
    whole = bill(
        TARIFF,
        start - timedelta(hours=before),
        kwh(IDLE_KW, -before_h, 0, -before, end)
        + kwh(BUSY_KW, 0, training_h, -before, end)
        + kwh(IDLE_KW, training_h, training_h + after_h, -before, end),
    )
    return alone, standing.bill(TARIFF), whole


@given(
    day=st.integers(0, 364),
    before_h=st.floats(0, 2000),
    training_h=st.one_of(st.floats(0.01, 2), st.floats(1, 3000), st.integers(1, 100).map(float)),
    after_h=st.floats(0, 2000),
)
def test_training_and_standing_are_billed_as_the_one_load_that_they_are(
    day: int, before_h: float, training_h: float, after_h: float
) -> None:
    """Each hour at its price; each month's highest kW and its fixed charge once, whoever draws it."""
    assume(training_h >= 1 or after_h >= 1)  # a shorter run has no whole hour, busy or idle, beside its preparation
    alone, idle, whole = at(datetime(2027, 1, 1) + timedelta(days=day), before_h, training_h, after_h)
    both = alone.beside(idle)
    for part in ("energy_kwh", "energy_usd", "demand_usd", "fixed_usd", "total_usd"):
        assert getattr(both, part) == pytest.approx(getattr(whole, part), rel=1e-9), part
    for month, usd in whole.usd_by_month.items():
        assert both.usd_by_month.get(month, 0.0) == pytest.approx(usd, rel=1e-9, abs=1e-6), month


def test_by_hand() -> None:
    """Training from noon on 1 March for a day; ten days of February before it, and to the end of June after it."""
    _, idle, _ = at(datetime(2027, 3, 1), 240, 24, 24 * (30 + 30 + 31 + 30))
    assert idle.fixed_usd == 3 * 2500 + 2500  # February, April, May, June; March has training's
    assert idle.demand_usd == pytest.approx(4 * 12.5 * IDLE_KW)
    dear_h = 4 * 30
    assert idle.energy_usd == pytest.approx(IDLE_KW * (0.05 * (240 + 24 * 121) + 0.16 * dear_h))
    assert sum(idle.usd_by_month.values()) == pytest.approx(idle.total_usd)


def test_nothing_stands_nothing_is_due() -> None:
    none = Standing(start=datetime(2027, 1, 1), before_h=0, training_h=100.5, after_h=0, idle_kw=IDLE_KW)
    assert none.bill(TARIFF).total_usd == 0
    assert none.bill(TARIFF).months == ()


@given(kwh_price=st.floats(0, 1), before_h=st.floats(0, 999), after_h=st.floats(0, 999))
def test_a_flat_price_is_paid_for_every_kwh(kwh_price: float, before_h: float, after_h: float) -> None:
    some = Standing(start=datetime(2027, 1, 1), before_h=before_h, training_h=77.7, after_h=after_h, idle_kw=IDLE_KW)
    assert some.bill(flat_tariff(kwh_price)).total_usd == pytest.approx(kwh_price * some.kwh, abs=1e-6)


# Of a plan


def planned(tmp_path: Path, **changes: object) -> Plan:
    tariff = tmp_path / "mine.toml"
    tariff.write_text(
        'name = "mine"\nlabel = "mine"\nenergy_usd_per_kwh = 0.05\ndemand_usd_per_kw_month = 12.5\n'
        'fixed_usd_per_month = 2500\nsource = "a test"\ndate = "2026"\n'
    )
    data = {"model": "llama3.1-8b", "tokens": "1T", "replicas": 1, "cluster": {"gpus": 256}, "start": "2027-02-15"}
    return make_plan(
        plan_request({**data, "site": {"tariff": str(tariff)}}, [("money.mode", "own"), *changes.items()], source="t")
    )


def test_an_owner_pays_the_months_of_waiting_and_the_line_says_both_parts(tmp_path: Path) -> None:
    busy = planned(tmp_path)
    waiting = planned(tmp_path, **{"money.preparation_days": 60, "money.idle_days": 60})
    [line] = [line for line in waiting.cost.lines if line.name == "Electricity"]
    assert waiting.bill == busy.bill
    assert line.expected == pytest.approx(waiting.bill.total_usd + waiting.standing_bill.total_usd)
    assert line.expected == pytest.approx(sum(waiting.whole_bill.usd_by_month.values()))
    assert "idle before and after" in line.how
    extra = set(waiting.whole_bill.months) - set(busy.bill.months)
    assert waiting.standing_bill.demand_usd == pytest.approx(12.5 * waiting.charges.idle_kw * len(extra))
    assert waiting.standing_bill.fixed_usd == 2500 * len(extra)
