"""Fit the calibrated constants once over all open runs, and say how well they do on sources left out.

    python -m planner.calibrate            report the error with each source left out, write nothing
    python -m planner.calibrate --write    the same, then fit all runs and write sim/catalogue/calibration.toml

A constant moves from its prior only as far as the runs pay for it: the fit is a maximum a posteriori estimate
with a log-normal prior per constant and a heavy-tailed (soft L1) likelihood, so single odd runs do not pull.
"""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from planner.runs.estimate import run_cases
from planner.runs.rows import later_runs, part_runs, published_runs
from planner.runs.training_run import TrainingRun
from planner.validation import summarise
from profiler.files import write_atomic
from sim.calibration import CALIBRATION, Calibration, load_calibration
from sim.case import StepCase
from sim.case_columns import rate_columns
from sim.step import step_times

NOISE = 0.03
"""Relative error of one published step time: the same configuration measured twice differs by 2-4 %."""
SOURCE_BIAS = 0.03
"""Relative error that all runs of a source share (its release, its cluster, its way of timing): one software release
moved the same configurations by 9 % (MLPerf v3.0 to v3.1), two sites by 1.6-2.9 %."""

HELD = 1e-6
"""Spread of a constant that is not to move."""

Values = NDArray[np.float64]


class RunCases:
    """The cases of some runs, rebuilt quickly for other constants.

    Only rates depend on the constants, and many runs share a machine and a stack.
    """

    def __init__(self, runs: Sequence[TrainingRun]) -> None:
        kinds = [(run.gpu, run.node, run.gpus_per_node, run.fabric, run.stack, run.precision) for run in runs]
        self._kinds = list(dict.fromkeys(kinds))
        self._index = np.array([self._kinds.index(kind) for kind in kinds])
        self._base = run_cases(runs)

    def at(self, constants: Mapping[str, float]) -> StepCase:
        """The cases under these constants."""
        columns = [rate_columns(*kind, constants) for kind in self._kinds]
        rates = {name: np.array([c[name] for c in columns], dtype=np.float64)[self._index] for name in columns[0]}
        return replace(self._base, **rates)


def layout_doubts(runs: Sequence[TrainingRun], constants: Mapping[str, float]) -> Values:
    """Relative error that a guessed layout adds: half of what lies between the fastest and the slowest of those that
    are possible where a run does not state all of its own, in logarithms; zero where it does."""
    doubts = np.zeros(len(runs))
    for i, run in enumerate(runs):
        if run.other_layouts:
            possible = [run, *(replace(run, layout=layout) for layout in run.other_layouts)]
            doubts[i] = np.ptp(np.log(step_times(run_cases(possible, constants)).total)) / 2
    return doubts


def fit(runs: Sequence[TrainingRun], calibration: Calibration) -> dict[str, float]:
    """Most probable constants given the runs, as name → value.

    The error of a run is its own plus its source's, so the mean of a source with n runs is known to
    sqrt(SOURCE_BIAS² + NOISE²/n): three large tables do not decide alone (DerSimonian and Laird, 1986). A layout that
    is guessed adds what the guess may be off.
    """
    names = list(calibration.constants)
    prior = np.log([calibration.constants[name].prior for name in names])
    spread = np.array([calibration.constants[name].spread for name in names])
    observed = np.array([run.observed_step_time_s for run in runs])
    counts = Counter(run.source_id for run in runs)
    shared = SOURCE_BIAS * np.sqrt([counts[run.source_id] for run in runs])
    priors = {name: constant.prior for name, constant in calibration.constants.items()}
    error = np.sqrt(NOISE**2 + shared**2 + layout_doubts(runs, priors) ** 2)
    cases = RunCases(runs)

    def residuals(z: Values) -> Values:
        constants = dict(zip(names, np.exp(prior + spread * z), strict=True))
        predicted = step_times(cases.at(constants)).total
        miss: Values = np.log(predicted / observed) / error
        robust = np.sign(miss) * np.sqrt(2 * (np.sqrt(1 + miss**2) - 1))  # soft L1, Huber (1964) smoothed
        return np.concatenate([robust, z])

    # a share or an efficiency cannot exceed one, and nothing may leave its prior by more than three deviations
    highest = [min(3.0, -p / s) if _is_share(n) else 3.0 for n, p, s in zip(names, prior, spread, strict=True)]
    bounds = (np.full(len(names), -3.0), np.array(highest))
    solution = least_squares(residuals, np.zeros(len(names)), diff_step=1e-3, max_nfev=30, bounds=bounds)
    return dict(zip(names, np.exp(prior + spread * solution.x).tolist(), strict=True))


def _is_share(name: str) -> bool:
    return any(word in name for word in ("share", "exposed", "matmul_")) and name != "matmul_overhead_s"


def errors_pct(runs: Sequence[TrainingRun], constants: Mapping[str, float]) -> Values:
    """Signed step-time errors in percent."""
    predicted = step_times(run_cases(runs, constants)).total
    observed = np.array([run.observed_step_time_s for run in runs])
    return np.asarray(100 * (predicted / observed - 1))


def left_out_errors(runs: Sequence[TrainingRun], calibration: Calibration) -> Values:
    """Signed errors of each run with constants fitted on every source but its own."""
    errors = np.zeros(len(runs))
    for source in sorted({run.source_id for run in runs}):
        constants = fit([run for run in runs if run.source_id != source], calibration)
        index = [i for i, run in enumerate(runs) if run.source_id == source]
        errors[index] = errors_pct([runs[i] for i in index], constants)
        print(f"{source:28s} {len(index):4d} runs, left out: median {np.median(np.abs(errors[index])):5.1f} %")
    return errors


def other_part_p90_pct(runs: Sequence[TrainingRun], constants: Mapping[str, float]) -> float:
    """90th percentile of the absolute errors of the A100's runs, in percent, as if no A100 had been fitted."""
    as_others = [replace(run, gpu=replace(run.gpu, kernels="")) for run in runs if run.gpu.kernels == "a100"]
    return float(np.quantile(np.abs(errors_pct(as_others, constants)), 0.9))


def later_p90(constants: Mapping[str, float]) -> float:
    """90th percentile of the absolute errors of the runs gathered after the fit."""
    return float(np.quantile(np.abs(errors_pct(later_runs(), constants)), 0.9)) / 100


def held(calibration: Calibration, constants: Mapping[str, float], free: str) -> Calibration:
    """The calibration with all constants but one held where they are."""
    there = {
        name: c if name == free else replace(c, prior=constants[name], spread=HELD)
        for name, c in calibration.constants.items()
    }
    return replace(calibration, constants=there)


def fit_part(
    runs: Sequence[TrainingRun], calibration: Calibration, constants: Mapping[str, float], name: str
) -> dict[str, float]:
    """The constants with the rate of one part's products, `name`, fitted to its runs and nothing else."""
    return {**constants, name: fit(runs, held(calibration, constants, name))[name]}


def part_left_out_p90(
    runs: Sequence[TrainingRun], calibration: Calibration, constants: Mapping[str, float], name: str
) -> float:
    """90th percentile of the absolute errors of a part's runs, each source left out of the fit of the part's rate."""
    misses: list[float] = []
    for source in sorted({run.source_id for run in runs}):
        others = [run for run in runs if run.source_id != source]
        own = [run for run in runs if run.source_id == source]
        misses += np.abs(errors_pct(own, fit_part(others, calibration, constants, name))).tolist()
    return float(np.quantile(misses, 0.9)) / 100


def report(label: str, runs: Sequence[TrainingRun], errors: Values) -> None:
    """Print median and 90th percentile, overall and by precision."""
    fp8 = np.array([run.precision == "fp8" for run in runs])
    for name, chosen in (("all", fp8 | ~fp8), ("16-bit", ~fp8), ("fp8", fp8)):
        if not chosen.any():
            continue
        summary = summarise(errors[chosen].tolist())
        print(
            f"{label:12s} {name:7s} {summary.runs:4d} runs: median {summary.median_pct:.1f} %, "
            f"p90 {summary.p90_pct or 0.0:.1f} %"
        )


def toml_text(calibration: Calibration) -> str:
    """The calibration as the TOML that ships."""
    lines = [
        "# Written by `python -m planner.calibrate --write`. A constant serves every run; none belongs to a source.",
        f'fitted_on = "{calibration.fitted_on}"',
        f"left_out_p90 = {calibration.left_out_p90:.4f}",
        f"left_out_median = {calibration.left_out_median:.4f}",
        f"later_p90 = {calibration.later_p90:.4f}",
        f"other_part_p90 = {calibration.other_part_p90:.4f}",
    ]
    lines += ["", "[part_left_out_p90]"]
    lines += [f"{part} = {p90:.4f}" for part, p90 in calibration.part_left_out_p90.items()]
    lines += ["", "[left_out_by_source]"]
    lines += [f'"{source}" = {median:.4f}' for source, median in calibration.left_out_by_source.items()]
    for name, c in calibration.constants.items():
        lines += [
            "",
            f"[constants.{name}]",
            f"value = {c.value:.6g}",
            f"prior = {c.prior:.6g}",
            f"spread = {c.spread:.6g}",
            f'meaning = "{c.meaning}"',
            f'source = "{c.source}"',
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the fit from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="fit all runs and write the calibration")
    arguments = parser.parse_args()
    calibration = load_calibration()
    runs = published_runs("scored")
    priors = {name: constant.prior for name, constant in calibration.constants.items()}
    report("priors", runs, errors_pct(runs, priors))
    left_out = left_out_errors(runs, calibration)
    report("left out", runs, left_out)
    constants = fit(runs, calibration)
    report("fitted", runs, errors_pct(runs, constants))
    parts_p90 = {}
    for part, own in part_runs().items():
        name = f"matmul_{part}"
        parts_p90[part] = part_left_out_p90(own, calibration, constants, name)
        constants = fit_part(own, calibration, constants, name)
        report(part, own, errors_pct(own, constants))
        print(f"{part}: {name} {constants[name]:.3f}, with each source left out p90 {100 * parts_p90[part]:.1f} %")
    print(f"A100's runs with the H100's efficiencies: p90 {other_part_p90_pct(runs, constants):.1f} %")
    if arguments.write:
        summary = summarise(left_out.tolist())
        by_source = {
            source: float(
                np.median([abs(e) for e, run in zip(left_out, runs, strict=True) if run.source_id == source])
            )
            for source in sorted({run.source_id for run in runs})
        }
        fitted = replace(
            calibration,
            fitted_on=f"{len(runs)} published runs from {len(by_source)} sources, {date.today():%Y-%m-%d}",
            left_out_p90=(summary.p90_pct or 0.0) / 100,
            left_out_median=summary.median_pct / 100,
            later_p90=later_p90(constants),
            other_part_p90=other_part_p90_pct(runs, constants) / 100,
            part_left_out_p90=parts_p90,
            left_out_by_source={source: median / 100 for source, median in by_source.items()},
            constants={name: replace(c, value=constants[name]) for name, c in calibration.constants.items()},
        )
        write_atomic(CALIBRATION, toml_text(fitted))


if __name__ == "__main__":
    main()
