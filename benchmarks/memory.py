"""Peak memory and time of clips in every mode of `--low-vram`, and at what `auto` chooses for small cards.

    python -m benchmarks.memory --folder .bench

On CUDA, peaks are torch's own, and clips are timed: "measured". Without a GPU, or with `--count`, they are "counted":
the same program renders networks of true size on a device whose tensors have a size and no numbers
(`tests/budget_device.py`). A count is of tensors. It leaves out workspaces of libraries and gaps between blocks.
Appends a line of JSON for each clip and mode to `benchmarks/results/memory.jsonl`, and prints one table.
"""

import argparse
import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

import torch

from animdiff_cli.config.layers import Layer
from animdiff_cli.core.events import Event, Note, StepDone
from animdiff_cli.core.memory_levels import CHUNKS, GROUPS, MODES, TILES, MemoryLevel, choose_level
from animdiff_cli.diffusion import weight_store
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.errors import DeviceError
from animdiff_cli.jobs.cost import count_cost, count_need
from animdiff_cli.jobs.loading import load_animator
from animdiff_cli.jobs.render_plan import RenderPlan, plan_renders
from animdiff_cli.jobs.weights import Weights
from animdiff_cli.weights.lazy import StoredRows
from benchmarks.records import append
from benchmarks.true_size import WRITERS, checkpoint_tensors, module_tensors, write, write_empty


@dataclass(frozen=True, slots=True)
class Shape:
    """What is rendered: an image model and a motion module of `benchmarks.true_size`, and the size of the clip."""

    model: str
    motion: str
    frames: int
    side: int

    def __str__(self) -> str:
        return f"{self.model}, {self.frames} x {self.side}²"


SHAPES = (
    Shape("sd15", "v3", 16, 512),
    Shape("sd15", "v3", 16, 768),
    Shape("sd15", "v3", 32, 512),
    Shape("sdxl", "mm-sdxl", 8, 1024),
)
#: memory of cards in GB, and what a driver and a desktop leave of each
CARDS, TAKEN = (4, 6, 8, 12, 24), 0.5
VERSIONS = {"v3": "v3", "mm-sdxl": "sdxl"}
PHASES = ("loading", "denoising", "decoding")
#: what needs the least memory
LEAST = MemoryLevel("sequential", GROUPS[-1], CHUNKS[-1], TILES[-1])


@dataclass(frozen=True, slots=True)
class Peaks:
    """Bytes at the peak of each phase, weights included, and the time of the clip in seconds; None if only counted."""

    loading: int
    denoising: int
    decoding: int
    seconds: float | None
    notes: tuple[str, ...] = ()  # what the render said about memory

    @property
    def highest(self) -> int:
        return max(self.loading, self.denoising, self.decoding)


class Meter(Protocol):
    """Where peaks come from."""

    how: str

    def plan(self, weights_dtype: Any, level: MemoryLevel, *, steps_down: bool = False) -> DevicePlan: ...

    def memory(self, budget: int | None) -> AbstractContextManager[Any]: ...

    def take(self) -> int:
        """Return the peak since the last call."""
        ...


class Measured:
    """CUDA's allocator."""

    how = "measured"

    def plan(self, weights_dtype: Any, level: MemoryLevel, *, steps_down: bool = False) -> DevicePlan:
        return DevicePlan("cuda", 0, "fp16", weights_dtype, level, steps_down)

    @contextmanager
    def memory(self, budget: int | None) -> Iterator[None]:
        total = torch.cuda.get_device_properties(0).total_memory
        gc.collect()  # networks of the clip before
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(min(1.0, budget / total) if budget else 1.0)
        torch.cuda.reset_peak_memory_stats()
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)

    def take(self) -> int:
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return peak


class Counted:
    """The device that counts."""

    how = "counted"

    def __init__(self) -> None:
        from tests import budget_device

        class Plan(DevicePlan):
            @property
            def device(self) -> torch.device:
                device: torch.device = budget_device.budget_device()
                return device

        self._plan, self._device = Plan, budget_device

    def plan(self, weights_dtype: Any, level: MemoryLevel, *, steps_down: bool = False) -> DevicePlan:
        return self._plan("mps", 0, "fp16", weights_dtype, level, steps_down)

    @contextmanager
    def memory(self, budget: int | None) -> Iterator[None]:
        with ExitStack() as stack:
            # weights are allocated, but their numbers are neither read nor rounded
            stack.enter_context(patch.object(StoredRows, "fill", lambda *_: None))
            stack.enter_context(patch.object(weight_store, "_packed", _packed))
            stack.enter_context(self._device.memory(budget, computes=False))
            yield

    def take(self) -> int:
        meter = self._device.METER
        peak, meter.peak = meter.peak, meter.now
        return int(peak)


def _packed(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    scale = torch.empty(len(weight), *[1] * (weight.dim() - 1))
    return torch.empty(weight.shape, dtype=weight_store.FP8), scale


def planned(shape: Shape, folder: Path, *, empty: bool, steps: int = 2, **settings: Any) -> RenderPlan:
    """Plan a clip with weights of true size, which are written to `folder`. `empty`: they are zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name in (shape.model, shape.motion):
        paths[name] = folder / (f"empty-{WRITERS[name][1]}" if empty else WRITERS[name][1])
        if not empty:
            write(name, folder)
        elif not paths[name].exists():
            is_motion = name in VERSIONS
            tensors = module_tensors(shape.model, VERSIONS[name]) if is_motion else checkpoint_tensors(name)
            write_empty(tensors, paths[name])
    values = {
        "model": str(paths[shape.model]),
        "motion_module": str(paths[shape.motion]),
        "num_frames": shape.frames,
        "width": shape.side,
        "height": shape.side,
        "steps": steps,
        "seed": 1,
        **settings,
    }
    return plan_renders([Layer("benchmark", values)], prompts=["a fox"], device="cpu")


def peaks_of(plan: RenderPlan, device: DevicePlan, meter: Meter, budget: int | None = None) -> Peaks:
    """Load and render the clip of a plan on a device, with at most `budget` bytes."""
    found: dict[str, int] = {}
    notes: list[str] = []

    def emit(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == event.total:
            found["denoising"] = meter.take()
        elif isinstance(event, Note) and "out of memory" in event.message:
            notes.append(event.message)

    assert plan.weights
    # hashes for the recipe would compete with loading for the CPU
    with meter.memory(budget), patch.object(Weights, "hashes", lambda *_: {}):
        animator = load_animator(plan.weights, device, emit=emit)
        found["loading"] = meter.take()
        began = time.perf_counter()
        animator.render(plan.configs[0], emit)
        found["decoding"] = meter.take()
        seconds = time.perf_counter() - began if meter.how == "measured" else None
    return Peaks(**found, seconds=seconds, notes=tuple(notes))


def main() -> None:
    """Count or measure every clip in every mode, then on every card; print and record."""
    args = _arguments()
    meter: Meter = Counted() if args.count or not torch.cuda.is_available() else Measured()
    is_warm = False
    for shape in SHAPES:
        if args.clips not in str(shape):
            continue
        plan = planned(shape, args.folder, empty=meter.how == "counted", steps=args.steps)
        if meter.how == "measured" and not is_warm:
            _peaks_if_it_fits(plan, meter.plan("same", MemoryLevel()), meter)  # libraries load and compile kernels
            is_warm = True
        print(f"{shape}, fp16, {meter.how}")
        for row in _rows(plan, meter, args.weights_dtypes, CARDS if args.cards else ()):
            record = {"date": time.strftime("%Y-%m-%d"), "how": meter.how, "clip": str(shape), "steps": args.steps}
            record |= row | {"torch": torch.__version__}
            print(_line(record), flush=True)
            if not args.no_record:
                append("memory", record)


def _rows(
    plan: RenderPlan, meter: Meter, weights_dtypes: Sequence[str], cards: Sequence[int]
) -> Iterator[dict[str, Any]]:
    known: dict[tuple[str, MemoryLevel], Peaks | None] = {}
    for weights_dtype in weights_dtypes:
        for level in (*map(MemoryLevel, MODES), LEAST):
            device = meter.plan(weights_dtype, level)
            known[weights_dtype, level] = peaks = _peaks_if_it_fits(plan, device, meter)
            yield _row(plan, device, peaks)
    for card in cards:
        budget = int((card - TAKEN) * 1e9)
        level = level_for(plan, meter.plan("same", MemoryLevel()), budget)
        device, found = meter.plan("same", level, steps_down=True), known.get(("same", level))
        if found is None or found.highest > budget:
            found = _peaks_if_it_fits(plan, device, meter, budget)
        yield _row(plan, device, found, card)


def _peaks_if_it_fits(plan: RenderPlan, device: DevicePlan, meter: Meter, budget: int | None = None) -> Peaks | None:
    try:
        return peaks_of(plan, device, meter, budget)
    except DeviceError:
        return None


def _row(plan: RenderPlan, device: DevicePlan, peaks: Peaks | None, card: int | None = None) -> dict[str, Any]:
    assert plan.weights
    return {
        "card_gb": card,
        "level": str(device.level),
        "frames_decoded_at_once": device.level.chunk,
        "weights_dtype": device.weights_dtype,
        "fits": peaks is not None,
        "bytes": {phase: getattr(peaks, phase) for phase in PHASES} if peaks else None,
        "dry_run_bytes": count_cost(plan.configs[0], plan.weights, device).memory_bytes,
        "seconds": peaks.seconds if peaks else None,
        "notes": peaks.notes if peaks else (),
    }


def level_for(plan: RenderPlan, device: DevicePlan, free: int) -> MemoryLevel:
    """Return what `--low-vram auto` chooses with `free` bytes."""
    assert plan.weights
    return choose_level("auto", count_need(plan.configs[0], plan.weights, device), free)


def _line(record: Mapping[str, Any]) -> str:
    where = f"{record['card_gb']} GB card" if record["card_gb"] else "--low-vram"
    level = record["level"] + (", fp8" if record["weights_dtype"] == "fp8" else "")
    gb = (
        " ".join(f"{phase} {record['bytes'][phase] / 1e9:5.2f}" for phase in PHASES) if record["fits"] else "too little"
    )
    seconds = f"{record['seconds']:.1f} s" if record["seconds"] else ""
    words = f"  {where:<11} {level:<64} {gb}, --dry-run {record['dry_run_bytes'] / 1e9:5.2f} {seconds}"
    return "\n    ".join((words, *record["notes"]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".bench"), help="where weights of true size are written")
    parser.add_argument("--clips", default="", help="part of the names of clips, such as `sd15`; default: all")
    parser.add_argument("--weights-dtypes", nargs="+", choices=("same", "fp8"), default=("same", "fp8"))
    parser.add_argument("--no-cards", dest="cards", action="store_false", help="leave out what `auto` chooses on cards")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--count", action="store_true", help="count on a machine with a GPU too")
    parser.add_argument("--no-record", action="store_true", help="append nothing to the results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
