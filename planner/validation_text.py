"""The comparison with published runs as a page: docs/validation.md is written by this."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from planner.runs.choices import WORTH_MORE_GATHERS, WORTH_MORE_MEMORY
from planner.runs.rows import part_runs
from planner.runs.training_run import TrainingRun
from planner.validation import Comparison, ErrorSummary, Validation, later_validation, validate_runs
from sim.calibration import Calibration, load_calibration


def markdown_text(result: Validation, figure: str = "", *, fitted: bool = True) -> str:
    """The whole comparison in Markdown: errors, left-out errors, worst misses, constants.

    `figure` is the address of every run's error drawn by source (`figure_address`), if it was drawn; `fitted` tells
    whether these are the runs that the constants were fitted to.
    """
    calibration = load_calibration()
    left_out = calibration.left_out_by_source if fitted else None
    kind = "Fitted, by" if fitted else "By"
    return "\n".join(
        [
            *_head(result, calibration, fitted),
            *([f"![Error of every run, by source]({figure})", ""] if figure else []),
            _section(f"{kind} precision", {"all": result.overall, **result.by_precision}),
            _section(f"{kind} regime", result.by_regime),
            _section(f"{kind} source{', and left out' if fitted else ''}", result.by_source, left_out),
            *(_later() if fitted else []),
            *(_parts(calibration) if fitted else []),
            "" if result.memory is None else _section("Peak memory, where stated", {"all": result.memory}),
            *_worst(result.worst),
            *_unstated(result.unstated_layouts),
            *_constants(calibration),
        ]
    )


def figure_address(figure: Path, page: Path) -> str:
    """Where a page finds a figure, from the page's own folder."""
    return quote(Path(os.path.relpath(figure.absolute(), page.absolute().parent)).as_posix())


def _head(result: Validation, calibration: Calibration, fitted: bool) -> list[str]:
    left_out = [
        f"With each source left out of its own fit: median {calibration.left_out_median * 100:.1f} %, "
        f"90th percentile {calibration.left_out_p90 * 100:.1f} %.",
        "What a new run can expect are the errors of those gathered after the fit, below.",
    ]
    passed_over = [f"Not compared: {len(result.passed_over)} rows.", ""] if result.passed_over else []
    return [
        "# Predicted against published" if fitted else "# Predicted against observed",
        "",
        f"Written by `herdplan validate{'' if fitted else ' --runs FILE'} --markdown FILE`. Errors are of the step",
        "time, percent of the observed, absolute unless signed. The same configuration measured twice differs by 2-4",
        "percent.",
        "",
        f"Constants: {len(calibration.constants)}, fitted on {calibration.fitted_on}.",
        *(left_out if fitted else []),
        "",
        *passed_over,
        f"Kernels behind the predicted time, mean over the runs: {result.kernel_shares.text()}.",
        "",
    ]


def _worst(misses: Sequence[Comparison], of: str = "") -> list[str]:
    return [
        f"## The {'twenty ' if len(misses) == 20 else ''}worst misses{of}",
        "",
        "| run | source | error | observed s | predicted s | band s | layout | why |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | --- |",
        *(
            f"| {_cell(c.run.id)} | {_cell(c.run.source_id)} | {c.error_pct:+.1f} % | {_seconds(c)} | "
            f"{_band(c)} | {c.run.layout.label} | {_cell(c.why)} |"
            for c in misses
        ),
        "",
    ]


def _unstated(runs: Sequence[Comparison]) -> list[str]:
    """The runs whose virtual pipeline stages or micro-batch nobody states."""
    if not runs:
        return []
    return [
        "## Where the layout is not wholly stated",
        "",
        "The prediction takes the most virtual stages, up to eight, that split the layers, and the smallest",
        f"micro-batch that takes at most {100 * (WORTH_MORE_MEMORY - 1):.0f} % longer than the fastest",
        f"({100 * (WORTH_MORE_GATHERS - 1):.0f} % where gradients or weights are shared out); the band",
        "holds all virtual stages, and all micro-batches up to the fastest.",
        "",
        "| run | layout taken | possible | observed s | predicted s | band s |",
        "| --- | --- | --- | ---: | ---: | ---: |",
        *(
            f"| {_cell(c.run.id)} | {c.run.layout.label} | {_possible(c.run)} | {_seconds(c)} | {_band(c)} |"
            for c in runs
        ),
        "",
    ]


def _possible(run: TrainingRun) -> str:
    """What the layout may be as well, the one taken among it."""
    choices = (
        ("virtual stages", run.other_virtual_stages, run.layout.vp),
        ("micro-batch", run.other_micro_batches, run.layout.micro_batch),
    )
    return "; ".join(
        f"{name} {', '.join(str(value) for value in sorted((*others, taken)))}"
        for name, others, taken in choices
        if others
    )


def _constants(calibration: Calibration) -> list[str]:
    return [
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


def _later() -> list[str]:
    """Runs that nothing was fitted to, by source."""
    result = later_validation()
    return [
        _section("Gathered after the fit, by source", {"all": result.overall, **result.by_source}),
        "No constant was fitted to these runs (planner/later_runs.csv, mostly other rows of the same tables); what "
        "they showed of a source's habits was looked up in its code. `herdplan validate --runs` takes the file.",
        "",
        *_worst(result.worst, " among those gathered after the fit"),
    ]


def _parts(calibration: Calibration) -> list[str]:
    """Parts on which none of the other runs was made, and whose rate alone is fitted, by GPU."""
    errors = {runs[0].gpu.label: validate_runs(runs).overall for runs in part_runs().values()}
    left_out = ", ".join(f"{part} {100 * p90:.1f} %" for part, p90 in calibration.part_left_out_p90.items())
    return [
        _section("Parts whose rate alone is fitted", errors),
        "None of these runs (planner/part_runs.csv) counts above. The rate of a part's products is fitted to them, "
        "attention and fp8 follow it, all else is the H100's. With each source left out, 90th percentile: "
        f"{left_out}.",
        "",
    ]


def _seconds(c: Comparison) -> str:
    return f"{c.observed_step_time_s:.3f} | {c.prediction.step_time_s:.3f}"


def _band(c: Comparison) -> str:
    return f"{c.band_s[0]:.3f} to {c.band_s[1]:.3f}" if c.band_s else ""


def _cell(text: str) -> str:
    """Text that cannot break out of a table cell."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
