"""Render the clips of one condition, and write an index with their prompts, settings and weights."""

import json
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tools.pocket.measure import asked_for
from tools.pocket.renders import ClipRenderer
from tools.pocket.report import write_json
from tools.pocket.study.conditions import Condition
from tools.pocket.study.settings import RENDER_SEED
from tools.pocket.world import OBJECTS, Scene


@dataclass(frozen=True, slots=True)
class RenderTask:
    """A condition with its settings (keys of `GenerateConfig`) and folder. `convolution` replaces the motion module."""

    condition: Condition
    flags: Mapping[str, object]
    device: str
    work: Path
    convolution: Path | None


def index_file(work: Path, condition: str) -> Path:
    """Return the index file of a condition."""
    return work / "renders" / f"{condition}.json"


def read_index(work: Path, condition: str) -> dict[str, Any]:
    """Return settings, weights and clips of a condition; each clip has prompt, seed, kind, colour, place and file."""
    index: dict[str, Any] = json.loads(index_file(work, condition).read_text(encoding="utf-8"))
    return index


def clip_frames(work: Path, clip: Mapping[str, Any]) -> np.ndarray:
    """Read a clip of an index, uint8 [F, H, W, 3]; from the lossy packed file if there is no other."""
    kept = work / "clips" / str(clip["file"])
    if not kept.is_file():
        column = np.asarray(Image.open(packed_file(work, clip)).convert("RGB"))
        return column.reshape(-1, column.shape[1], column.shape[1], 3)
    with np.load(kept) as stored:
        frames: np.ndarray = stored["frames"]
    return frames


def has_frames(work: Path, clip: Mapping[str, Any]) -> bool:
    """Return True if a clip of an index exists, original or packed."""
    return (work / "clips" / str(clip["file"])).is_file() or packed_file(work, clip).is_file()


def packed_file(work: Path, clip: Mapping[str, Any]) -> Path:
    """Return the packed file of a square clip: an image of its stacked frames."""
    return work / "clips" / Path(str(clip["file"])).with_suffix(".webp")


def render_condition(task: RenderTask, log: Path) -> None:
    """Render the clips that are not cached for these weights and settings."""
    with log.open("a", encoding="utf-8") as said, redirect_stderr(said):
        renderer, condition = _renderer(task), task.condition
        has_motion = condition.module != "none"
        clips = []
        for number, (scene, prompt) in enumerate(asked(condition.clips_per_kind)):
            seed = RENDER_SEED + number
            renderer(prompt, seed, motion=has_motion, num_frames=condition.num_frames)
            file = renderer.file(prompt, seed, motion=has_motion, num_frames=condition.num_frames).name
            clips.append({**_labels(scene), "prompt": prompt, "seed": seed, "file": file})
    index = {"condition": asdict(condition), **renderer.settings(motion=has_motion), "clips": clips}
    write_json(index_file(task.work, condition.name), index)


def asked(clips_per_kind: int) -> list[tuple[Scene, str]]:
    """Return scenes and prompts, alternating between kinds; 0 per kind is one in total."""
    if not clips_per_kind:
        return asked_for(1, RENDER_SEED, kind=OBJECTS[0])
    # one of every kind, then the next of every kind, so that seeds do not depend on the number of clips
    rounds = zip(*(asked_for(clips_per_kind, RENDER_SEED, kind=kind) for kind in OBJECTS), strict=True)
    return [one for each in rounds for one in each]


def _renderer(task: RenderTask) -> ClipRenderer:
    kept = task.work / "clips"
    if task.convolution is None:
        return ClipRenderer(task.flags, task.device, kept)
    from tools.pocket.temporal_conv import load_conv_animator

    convolution, flags = task.convolution, dict(task.flags)
    model = str(flags.pop("model"))
    load = lambda: load_conv_animator(convolution, model, task.device, **flags)  # noqa: E731
    return ClipRenderer({**task.flags, "motion_module": None, "beta_schedule": "linear"}, task.device, kept, load)


def _labels(scene: Scene) -> dict[str, str]:
    return {"kind": scene.kind, "colour": scene.colour, "place": scene.place}
