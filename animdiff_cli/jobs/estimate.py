"""Estimate time and memory of the clips of a plan on this machine."""

from dataclasses import dataclass

from animdiff_cli.diffusion.memory import program_memory
from animdiff_cli.jobs.cost import ClipCost, count_cost
from animdiff_cli.jobs.rates import Rate, best_rate, machine_name, read_rates
from animdiff_cli.jobs.render_plan import RenderPlan


@dataclass(frozen=True, slots=True)
class Estimate:
    """Counted cost of a clip of a plan, and what this machine takes for it. All clips of a plan cost the same."""

    cost: ClipCost
    clips: int
    program_bytes: int  # of this process without weights, on a CPU
    rate: Rate | None  # None if this machine has rendered nothing comparable

    @property
    def memory_bytes(self) -> int:
        """Peak memory of the device; on a CPU that of this process, with the program itself."""
        return self.cost.memory_bytes + self.program_bytes

    @property
    def seconds(self) -> float | None:
        """Seconds for all clips, with loading. None without a rate."""
        return self.rate.setup_seconds + self.clips * self.cost.seconds(self.rate) if self.rate else None


def estimate(plan: RenderPlan) -> Estimate | None:
    """Estimate a plan by the rates of earlier renders. None while weights are missing."""
    if plan.weights is None or not plan.configs:
        return None
    cost = count_cost(plan.configs[0], plan.weights, plan.device)
    rate = best_rate(read_rates(), machine_name(plan.device), cost.call_frames, cost.call_flops)
    program_bytes = program_memory() if plan.device.kind == "cpu" else 0
    return Estimate(cost, len(plan.configs), program_bytes, rate)
