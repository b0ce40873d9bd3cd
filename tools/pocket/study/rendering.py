"""Render the clips of one condition, and write an index that says what they are and what drew them."""

import json
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tools.pocket.measure import asked_for
from tools.pocket.records import write_json
from tools.pocket.renders import Studio
from tools.pocket.study.conditions import Condition
from tools.pocket.study.settings import RENDER_SEED
from tools.pocket.world import OBJECTS, Scene


@dataclass(frozen=True, slots=True)
class Order:
    """What to render, with what (keys of `GenerateConfig`), and where. `convolution` takes the module's place."""

    condition: Condition
    flags: Mapping[str, object]
    device: str
    work: Path
    convolution: Path | None


def index_file(work: Path, condition: str) -> Path:
    """Name the file that lists a condition's clips."""
    return work / "renders" / f"{condition}.json"


def read_index(work: Path, condition: str) -> dict[str, Any]:
    """Return settings, weights and clips of a condition; each clip has prompt, seed, kind, colour, place and file."""
    index: dict[str, Any] = json.loads(index_file(work, condition).read_text(encoding="utf-8"))
    return index


def clip_frames(work: Path, clip: Mapping[str, Any]) -> np.ndarray:
    """Read a clip of an index, uint8 [F, H, W, 3]; the packed one, which lost a little, where that is all there is."""
    kept = work / "clips" / str(clip["file"])
    if not kept.is_file():
        column = np.asarray(Image.open(packed_file(work, clip)).convert("RGB"))
        return column.reshape(-1, column.shape[1], column.shape[1], 3)
    with np.load(kept) as stored:
        frames: np.ndarray = stored["frames"]
    return frames


def has_frames(work: Path, clip: Mapping[str, Any]) -> bool:
    """Say whether a clip of an index was kept, whole or packed."""
    return (work / "clips" / str(clip["file"])).is_file() or packed_file(work, clip).is_file()


def packed_file(work: Path, clip: Mapping[str, Any]) -> Path:
    """Name the picture a square clip travels in: its frames below each other."""
    return work / "clips" / Path(str(clip["file"])).with_suffix(".webp")


def render_condition(order: Order, log: Path) -> None:
    """Render every clip that was not rendered before with these weights and settings."""
    with log.open("a", encoding="utf-8") as said, redirect_stderr(said):
        studio, condition = _studio(order), order.condition
        has_motion = condition.module != "none"
        clips = []
        for number, (scene, prompt) in enumerate(asked(condition.clips_per_kind)):
            seed = RENDER_SEED + number
            studio(prompt, seed, motion=has_motion, num_frames=condition.num_frames)
            file = studio.file(prompt, seed, motion=has_motion, num_frames=condition.num_frames).name
            clips.append({**_told(scene), "prompt": prompt, "seed": seed, "file": file})
    index = {"condition": asdict(condition), **studio.settings(motion=has_motion), "clips": clips}
    write_json(index_file(order.work, condition.name), index)


def asked(clips_per_kind: int) -> list[tuple[Scene, str]]:
    """Draw what to ask for, kind after kind; 0 of each kind is one in all. More of them keep the first ones' words."""
    if not clips_per_kind:
        return asked_for(1, RENDER_SEED, kind=OBJECTS[0])
    # one of every kind, then the next of every kind: a clip's seed stays the same however many follow
    rounds = zip(*(asked_for(clips_per_kind, RENDER_SEED, kind=kind) for kind in OBJECTS), strict=True)
    return [one for each in rounds for one in each]


def _studio(order: Order) -> Studio:
    kept = order.work / "clips"
    if order.convolution is None:
        return Studio(order.flags, order.device, kept)
    from tools.pocket.temporal_conv import load_conv_animator

    convolution, flags = order.convolution, dict(order.flags)
    model = str(flags.pop("model"))
    load = lambda: load_conv_animator(convolution, model, order.device, **flags)  # noqa: E731
    return Studio({**order.flags, "motion_module": None, "beta_schedule": "linear"}, order.device, kept, load)


def _told(scene: Scene) -> dict[str, str]:
    return {"kind": scene.kind, "colour": scene.colour, "place": scene.place}
