"""What a dry run prints about cost and context windows."""

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from animdiff_cli.cli.out import print_json, print_out
from animdiff_cli.cli.progress import show_progress
from animdiff_cli.core.text import counted, format_duration
from animdiff_cli.core.window_chart import BLOCKS, PLAIN, draw_windows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from animdiff_cli.config.schema import GenerateConfig
    from animdiff_cli.core.windows import Windows
    from animdiff_cli.jobs.estimate import Estimate
    from animdiff_cli.jobs.render_plan import RenderPlan

WIDTH = 80  # of a pipe


def cost_record(estimate: "Estimate") -> "Mapping[str, Any]":
    """Return the cost of each clip for `--json`. `seconds` is for one clip with loading, null without a rate."""
    cost, rate = estimate.cost, estimate.rate
    return {
        "windows_per_step": cost.windows_per_step,
        "unet_calls": cost.calls,
        "unet_calls_reusing_blocks": cost.reusing_calls,
        "flops": round(cost.flops),
        "memory_bytes": estimate.memory_bytes,
        "seconds": round(rate.setup_seconds + cost.seconds(rate), 2) if rate else None,
    }


def cost_lines(estimate: "Estimate", planning_seconds: float) -> list[str]:
    """Describe the cost of a plan in sentences. `planning_seconds` were spent before rendering could begin."""
    from animdiff_cli.fetch.disk import format_bytes

    cost, fewest, most = estimate.cost, min(estimate.cost.windows_per_step), max(estimate.cost.windows_per_step)
    number = counted(most, "window") if most == fewest else f"{fewest} to {counted(most, 'window')}"
    steps = counted(len(cost.windows_per_step), "step")
    reusing = f", of which {cost.reusing_calls} reuse deep layers" if cost.reusing_calls else ""
    of_clip = f"{number} x {steps}, {counted(cost.calls, 'UNet call')}{reusing}, {tera(cost.flops)}"
    each = "each clip: " if estimate.clips > 1 else ""
    lines = [f"{each}{of_clip}, about {format_bytes(estimate.memory_bytes)} of memory"]
    if estimate.seconds is None:
        return [*lines, "time: nothing comparable was rendered on this machine yet; `--probe` measures it"]
    return [*lines, f"time: about {format_duration(planning_seconds + estimate.seconds)} on this machine"]


def exact_flops(plan: "RenderPlan") -> float:
    """Count the operations of the first clip without its inexact settings. The weights must be found."""
    from animdiff_cli.jobs.compare_exact import exact
    from animdiff_cli.jobs.cost import count_cost

    assert plan.weights
    return count_cost(exact(plan.configs[0]), plan.weights, plan.device).flops


def run_probe(plan: "RenderPlan", *, quiet: bool) -> None:
    """Measure the rate of a plan. Raises as a render."""
    from animdiff_cli.jobs.probe import probe

    with show_progress(quiet=quiet) as emit:
        probe(plan, emit)


def print_windows(plan: "RenderPlan", *, as_json: bool) -> None:
    """Print the context windows of the clips of a plan: as a chart, or with every frame and share.

    Raises `NotFound` if weights are missing: the motion module decides.
    """
    from animdiff_cli.jobs.cost import num_steps, planned_windows
    from animdiff_cli.jobs.missing_weights import refuse_missing

    if plan.weights is None:
        refuse_missing(plan.missing)
    config, windows = planned_windows(plan.configs[0], plan.weights, plan.device)
    steps = num_steps(config)
    if as_json:
        print_json(_windows_record(config, windows, steps))
    elif windows is None:
        print_out(f"{config.num_frames} frames in one window")
    else:
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
        print_out(*textwrap.wrap(f"{windows.num_frames} frames in {windows}, mode {config.context_mode}", columns))
        print_out(*draw_windows(windows, steps, columns, BLOCKS if _prints(BLOCKS) else PLAIN))


def _windows_record(config: "GenerateConfig", windows: "Windows | None", steps: int) -> "dict[str, Any]":
    if windows is None:
        return {"num_frames": config.num_frames, "windows": None}
    listed = [
        [{"frames": window.frames, "shares": window.shares} for window in windows.at(step, steps)]
        for step in range(steps)
    ]
    settings = {key: value for key, value in config.model_dump(mode="json").items() if key.startswith("context_")}
    return {"num_frames": config.num_frames, **settings, "windows": listed}


def _prints(characters: str) -> bool:
    """Whether stdout has these characters."""
    try:
        characters.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def tera(flops: float) -> str:
    """Format a number of operations."""
    return f"{flops / 1e12:,.0f} TFLOP" if flops >= 1e14 else f"{flops / 1e12:.2g} TFLOP"
