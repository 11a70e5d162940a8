"""The comparison with published runs as a page: docs/validation.md is written by this."""

from collections.abc import Mapping

from planner.validation import Comparison, ErrorSummary, Validation
from sim.calibration import load_calibration


def markdown_text(result: Validation) -> str:
    """The whole comparison in Markdown: errors, left-out errors, worst misses, constants."""
    calibration = load_calibration()
    memory = "" if result.memory is None else _section("Peak memory, where stated", {"all": result.memory})
    return "\n".join(
        [
            "# Predicted against published",
            "",
            "Written by `herdplan validate --markdown docs/validation.md`. Errors are of the step time, percent of",
            "the observed, absolute unless signed. The same configuration measured twice differs by 2-4 %.",
            "",
            f"Constants: {len(calibration.constants)}, fitted on {calibration.fitted_on}.",
            f"With each source left out of its own fit: median {calibration.left_out_median * 100:.1f} %, "
            f"90th percentile {calibration.left_out_p90 * 100:.1f} %.",
            "This, not the fitted error, is what a new run can expect.",
            "",
            _section("Fitted, by precision", {"all": result.overall, **result.by_precision}),
            _section("Fitted, by regime", result.by_regime),
            _section("Fitted, by source, and left out", result.by_source, calibration.left_out_by_source),
            memory,
            "## The twenty worst misses",
            "",
            "| run | source | error | observed s | predicted s | layout |",
            "| --- | --- | ---: | ---: | ---: | --- |",
            *(_miss(c) for c in result.worst),
            "",
            "## Constants",
            "",
            "| constant | value | expected | meaning | source of the expectation |",
            "| --- | ---: | ---: | --- | --- |",
            *(
                f"| `{name}` | {c.value:.4g} | {c.prior:.4g} | {_cell(c.meaning)} | {_cell(c.source)} |"
                for name, c in calibration.constants.items()
            ),
            "",
        ]
    )


def _section(title: str, groups: Mapping[str, ErrorSummary], left_out: Mapping[str, float] | None = None) -> str:
    head = ["runs", "median %", "p90 %", "signed median %", *(["left out, median %"] if left_out else [])]
    lines = [f"## {title}", "", f"| | {' | '.join(head)} |", f"| --- |{' ---: |' * len(head)}"]
    for name, s in groups.items():
        cells = [
            str(s.runs),
            f"{s.median_pct:.1f}",
            "" if s.p90_pct is None else f"{s.p90_pct:.1f}",
            f"{s.bias_pct:+.1f}",
        ]
        if left_out:
            cells.append(f"{100 * left_out[name]:.1f}" if name in left_out else "")
        lines.append(f"| {_cell(name)} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _miss(c: Comparison) -> str:
    return (
        f"| {_cell(c.run.id)} | {_cell(c.run.source_id)} | {c.error_pct:+.1f} % | {c.observed_step_time_s:.3f} | "
        f"{c.prediction.step_time_s:.3f} | {c.run.layout.label} |"
    )


def _cell(text: str) -> str:
    """Text that cannot break out of a table cell."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
