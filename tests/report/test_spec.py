"""Labels stand where they can be read."""

import re
from itertools import accumulate

import pandas as pd
import pytest

from planner.report.spec import finished, month_bars, unrolled
from planner.report.svg import plain_svg
from planner.report.theme import LIGHT

CHARACTER_PX = 5.5
"""Width of a character of a 12 px label, on average and rather less than more."""

SECONDS = {
    "8B, the floor at the end of the first bar": ([0.264, 0.077, 0.021, 0.025, 0.0009, 0.036, 0.067], 0.265),
    "8B, the floor just behind it": ([0.257, 0.0712, 0.0246, 0.0248, 0.0017, 0.035, 0.0684], 0.265),
    "70B, the floor in the first bar": ([2.58, 0.40, 0.10, 0.04, 0.08, 0.003, 0.018, 0.06, 0.15, 0.095, 0.375], 2.32),
    "one part over all": ([9.0, 0.1, 0.2], 4.0),
    "the mark behind every bar": ([6.0, 60.0, 6.7], 80.0),
}


def _svg(chart: object) -> str:
    return plain_svg(finished(chart, LIGHT, title="A title", subtitle="", description="A chart."))  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [400, 530])
@pytest.mark.parametrize(("parts", "mark_at"), SECONDS.values(), ids=SECONDS.keys())
def test_no_label_of_an_unrolled_bar_crosses_or_touches_its_rule(
    parts: list[float], mark_at: float, width: int
) -> None:
    ends, total = list(accumulate(parts)), sum(parts)
    rows = [
        (f"p{i}", 100 * s / total, end - s, end, "compute")
        for i, (s, end) in enumerate(zip(parts, ends, strict=True))
    ]
    frame = pd.DataFrame(rows, columns=["Part", "Share [%]", "start", "end", "colour"])
    svg = _svg(unrolled(frame, LIGHT, width, unit="s", mark_at=mark_at, mark="floor"))
    rule = float(re.search(r'<line transform="translate\(([\d.]+),0\)"[^>]*dasharray', svg)[1])  # type: ignore[index]
    labels = re.findall(r'<text text-anchor="(\w+)" transform="translate\(([\d.]+),[^>]*>([\d.]+ s · [^<]*)<', svg)
    assert len(labels) == sum(100 * part / total >= 0.05 for part in parts)
    for anchor, at, label in labels:
        far = float(at) + CHARACTER_PX * len(label) * (1 if anchor == "start" else -1)
        assert (float(at) - rule) * (far - rule) > 0, label
        assert abs(float(at) - rule) > 4, label  # nor touches it


@pytest.mark.parametrize("months", [1, 3, 8, 24, 37])
def test_months_stand_in_their_order_with_a_number_above_while_there_is_room(months: int) -> None:
    names = [f"{('Dec', 'Jan', 'Feb', 'Mar')[i % 4]} {2000 + i}" for i in range(months)]
    frame = pd.DataFrame(
        {"Month": names, "amount": range(months, 0, -1), "label": [f"${i} M" for i in range(months)]}
    )
    svg = _svg(month_bars(frame, 530, title="million USD", colour=LIGHT.accent))
    drawn = re.findall(r">(\w{3} \d{4})<", svg)
    assert drawn == (names if months <= 24 else names[::2])
    assert len(re.findall(r">\$\d+ M<", svg)) == (months if months <= 8 else 0)
    bars = [float(width) for width in re.findall(rf'd="M[\d.]+,[\d.]+h([\d.]+)v[^>]*{LIGHT.accent}', svg)]
    assert len(bars) == months
    assert max(bars) < 530 / 3
