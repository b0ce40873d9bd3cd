"""`python -m tools.pocket length --out FILE.json`: measure long clips and loops of the pocket model.

A condition is `key=value,…`: `schedule`, `fuse`, `overlap`, `stride`, `length` and `mode` of the windows, `loop`,
`frames` and `clips`, or any other setting of `animdiff generate`. Clips are kept in WORK, so a second call goes on.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from animdiff_cli.core.windows import static_windows
from animdiff_cli.metrics.temporal import difference, loop_seam, steps
from animdiff_cli.outputs import write_clip
from tools.pocket.classify import Classifier, read, trained_classifier
from tools.pocket.command import tell
from tools.pocket.law_checks import obeys
from tools.pocket.measure import asked_for
from tools.pocket.renders import ClipRenderer
from tools.pocket.report import markdown, share, write_json
from tools.pocket.world import Scene

#: objects whose law keeps them in the frame for ever; the others leave it after 16 frames
KINDS = ("ball", "fish", "boat", "flower", "star", "heart", "bell")
#: frames of one window of the pocket model
WINDOW = 16
FPS = 8
CONDITIONS = (
    "mode=unet",
    "mode=plug",
    "mode=unet,schedule=batched",
    f"frames={WINDOW},clips=16",
    f"frames={WINDOW},clips=16,loop=true",
)
CONTEXT = ("length", "overlap", "stride", "schedule", "fuse", "mode")


@dataclass(frozen=True, slots=True)
class Condition:
    """Settings of `GenerateConfig` by key, and how many clips of how many frames to render with them."""

    name: str
    flags: Mapping[str, object]
    frames: int
    clips: int


@dataclass(frozen=True, slots=True)
class Readings:
    """Measures of one clip. A step is the mean absolute difference of consecutive frames, in grey levels."""

    obeys: list[bool]  # the law, in each stretch of `WINDOW` frames
    constant: bool  # object and colour are the same in every frame
    constant_share: float  # of frames that show what most frames show
    step: float  # median
    largest: float  # largest step over the median
    edge: float | None  # mean step at the edges of windows over that inside; None where edges move from step to step
    loop: float  # step from the last frame to the first, over the median
    loop_in_range: bool  # that step is not larger than the largest inside the clip


def main(argv: Sequence[str]) -> int:
    """Render and measure every condition, write the JSON report and print the table; return the exit status."""
    arguments = _parser().parse_args(argv)
    classifier, accuracy = trained_classifier(arguments.work, tell)
    conditions = [parse_condition(text, arguments.frames, arguments.clips) for text in arguments.conditions]
    report: dict[str, Any] = {"classifier": asdict(accuracy), "conditions": {}}
    for condition in conditions:
        flags = {"model": "pocket", "steps": arguments.steps, "num_frames": condition.frames, **condition.flags}
        render = ClipRenderer(flags, arguments.device, arguments.work / "renders")
        clips = []
        for number, (scene, prompt) in enumerate(asked(condition.clips, arguments.kinds, arguments.seed)):
            tell(f"{condition.name} {number + 1}/{condition.clips}: {prompt}")
            seed = arguments.seed + number
            frames = render(prompt, seed, motion=True, num_frames=condition.frames)
            _show(frames, arguments.work / "clips" / f"{condition.name}-{number}.gif", prompt, seed)
            readings = measure(frames, scene, classifier, edges(condition, len(frames)))
            clips.append({"prompt": prompt, "seed": seed, **asdict(readings)})
        settings = {"frames": condition.frames, **render.settings(motion=True)}
        report["conditions"][condition.name] = {**settings, "clips": clips, "all": summary(clips)}
        write_json(arguments.out, report, indent=2)
    print(table(report["conditions"]))
    return 0


def parse_condition(text: str, frames: int, clips: int) -> Condition:
    """Read `key=value,…`; `frames` and `clips` are defaults.

    >>> parse_condition("mode=plug,overlap=8,clips=2", 128, 12)
    Condition(name='mode=plug,overlap=8', flags={'context_mode': 'plug', 'context_overlap': 8}, frames=128, clips=2)
    """
    pairs = [part.partition("=") for part in text.split(",") if part]
    values = {key: yaml.safe_load(value) for key, _, value in pairs}
    name = ",".join(f"{key}={value}" for key, _, value in pairs if key != "clips")
    frames, clips = values.pop("frames", frames), values.pop("clips", clips)
    flags = {f"context_{key}" if key in CONTEXT else key: value for key, value in values.items()}
    return Condition(name or "default", flags, frames, clips)


def asked(clips: int, kinds: Sequence[str], seed: int) -> list[tuple[Scene, str]]:
    """Return scenes and prompts, alternating between `kinds`."""
    rounds = zip(*(asked_for(-(-clips // len(kinds)), seed, kind=kind) for kind in kinds), strict=True)
    return [one for each in rounds for one in each][:clips]


def edges(condition: Condition, num_frames: int) -> list[int]:
    """Return the steps at which a window begins or ends, step i from frame i to i + 1; none where windows move."""
    flags = condition.flags
    schedule = flags.get("context_schedule") or "static"
    length = int(str(flags.get("context_length") or WINDOW))
    if flags.get("loop") or schedule not in ("static", "batched") or num_frames <= length:
        return []
    overlap = flags.get("context_overlap")
    shared = 0 if schedule == "batched" else length // 4 if overlap is None else int(str(overlap))
    windows = static_windows(num_frames, length, shared)
    return sorted({window[0] - 1 for window in windows[1:]} | {window[-1] for window in windows[:-1]})


def measure(frames: np.ndarray, scene: Scene, classifier: Classifier, at: Sequence[int]) -> Readings:
    """Measure a clip, uint8 [F, H, W, 3]; `at` are the steps at the edges of windows."""
    inner = np.array([difference(before, after) for before, after in pairwise(frames)])
    middle = float(np.median(inner))
    seen = [(reading.kind, reading.colour) for reading in read(classifier, frames)]
    most = max(seen.count(one) for one in set(seen)) / len(seen)
    inside = np.delete(inner, at)
    seam = loop_seam(frames)
    assert seam is not None
    stretches = [frames[start : start + WINDOW] for start in range(0, len(frames) - WINDOW + 1, WINDOW)]
    return Readings(
        [obeys(stretch, scene.kind, scene.colour) for stretch in stretches],
        most == 1,
        most,
        middle,
        float(inner.max() / middle),
        float(inner[at].mean() / inside.mean()) if len(at) else None,
        seam,
        steps(frames)[-1] <= float(inner.max()),
    )


def summary(clips: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum up the readings of the clips of one condition."""
    edge = [clip["edge"] for clip in clips if clip["edge"] is not None]
    return {
        "obeys": share(obeyed for clip in clips for obeyed in clip["obeys"]).as_json(),
        "constant": share(clip["constant"] for clip in clips).as_json(),
        "constant_share": float(np.mean([clip["constant_share"] for clip in clips])),
        "step": float(np.mean([clip["step"] for clip in clips])),
        "largest": float(np.median([clip["largest"] for clip in clips])),
        "edge": float(np.mean(edge)) if edge else None,
        "loop": float(np.median([clip["loop"] for clip in clips])),
        "loop_in_range": share(clip["loop_in_range"] for clip in clips).as_json(),
    }


def table(conditions: Mapping[str, Mapping[str, Any]]) -> str:
    """Format one row per condition. Ratios are to the steps of the same clip."""
    head = (
        "clips",
        "frames",
        "obey, per window",
        "constant",
        "frames alike",
        "step",
        "largest",
        "edge",
        "loop",
        "loops",
    )
    return markdown(("condition", *head), [_row(name, condition) for name, condition in conditions.items()])


def _row(name: str, condition: Mapping[str, Any]) -> tuple[object, ...]:
    every = condition["all"]
    obeyed, constant, loops = (
        f"{every[key]['hits']}/{every[key]['of']}" for key in ("obeys", "constant", "loop_in_range")
    )
    edge = "" if every["edge"] is None else f"{every['edge']:.2f}"
    numbers = (f"{every['constant_share']:.1%}", f"{every['step']:.2f}", f"{every['largest']:.2f}", edge)
    counts = (len(condition["clips"]), condition["frames"])
    return (name, *counts, obeyed, constant, *numbers, f"{every['loop']:.2f}", loops)


def _show(frames: np.ndarray, path: Path, prompt: str, seed: int) -> None:
    if not path.exists():
        write_clip(frames, FPS, path, "gif", {"prompt": prompt, "seed": seed})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.pocket length", description=__doc__)
    parser.add_argument("conditions", nargs="*", default=CONDITIONS, metavar="CONDITION", help=f"default: {CONDITIONS}")
    parser.add_argument("--out", type=Path, required=True, help="where the JSON report is written")
    parser.add_argument("--frames", type=int, default=128, help="of each clip (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=7, help="of each condition (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="denoising steps (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", default=KINDS, help="objects (default: those that stay in the frame)")
    parser.add_argument("--device", default="auto", help="as `animdiff generate --device`")
    parser.add_argument("--seed", type=int, default=3000, help="of prompts and noise")
    parser.add_argument("--work", type=Path, default=Path(".pocket"), help="keeps the classifier and rendered clips")
    return parser
