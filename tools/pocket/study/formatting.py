"""Format values of the study's report for tables and sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from tools.pocket.report import Share

Report = Mapping[str, Any]

#: shown for a missing value
ABSENT = "–"


def condition_of(report: Report, name: str) -> Report:
    found: Report = report["conditions"].get(name, {})
    return found


def share_cell(figures: Report, name: str) -> str:
    one = figures.get(name)
    if one is None:
        return ABSENT
    low, high = one["interval_95"]
    return f"{100 * one['share']:.0f} % of {one['of']} ({100 * low:.0f} to {100 * high:.0f})"


def counts(share: Share) -> str:
    return f"{share.hits} of {share.of}" if share.of else ABSENT


def mean_cell(figures: Report, name: str, *, cosine: bool = False) -> str:
    """Format a mean; cosines are multiplied by 100."""
    one = figures.get(name)
    if one is None:
        return ABSENT
    factor, digits = (100, 1) if cosine else (1, 2)
    text = f"{factor * one['mean']:.{digits}f}"
    if one["interval_95"] is None:
        return text
    low, high = (factor * bound for bound in one["interval_95"])
    return f"{text} ({low:.{digits}f} to {high:.{digits}f})"


def frames_cell(figures: Report, name: str) -> str:
    """Format a mean share of frames in percent, with its interval clipped to 0 to 100."""
    one = figures.get(name)
    if one is None:
        return ABSENT
    text = f"{100 * one['mean']:.0f} %"
    if one["interval_95"] is None:
        return text
    low, high = (100 * min(1.0, max(0.0, bound)) for bound in one["interval_95"])
    return f"{text} ({low:.0f} to {high:.0f})"


def loss_cell(facts: Report) -> str:
    return ABSENT if facts.get("loss") is None else f"{facts['loss']:.4f}"


def number_cell(value: int | None) -> str:
    return ABSENT if value is None else str(value)


def describe_seeds(report: Report) -> str:
    return ", ".join(f"seed of {what} {seed}" for what, seed in report["seeds"].items())


def listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
