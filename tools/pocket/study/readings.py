"""Compute one measure of every clip of a condition: a file of values, one entry per clip."""

import json
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from animdiff_cli.metrics.camera import camera_motion
from tools.pocket.classify import Classifier, is_constant, read, trained_classifier
from tools.pocket.law_checks import obeys
from tools.pocket.report import write_json
from tools.pocket.study.conditions import Measure
from tools.pocket.study.rendering import clip_frames, read_index
from tools.pocket.study.settings import Scale
from tools.pocket.style_reader import StyleReader, name_styles, trained_style_reader
from tools.pocket.watermark import visibility

Values = dict[str, float | bool | None]

#: jobs that train the models of a measure
NEEDS: Mapping[Measure, tuple[str, ...]] = MappingProxyType(
    {
        "law": (),
        "style": ("style-reader",),
        "constancy": ("classifier",),
        "asked": ("classifier",),
        "watermark": (),
        "camera": (),
        "clip": ("encoder",),
    }
)


@dataclass(frozen=True, slots=True)
class Task:
    """One measure of one condition. `style` is the expected style of its clips, `encoder` a CLIP folder."""

    work: Path
    condition: str
    measure: Measure
    style: str
    encoder: Path


def file_of(work: Path, condition: str, measure: Measure) -> Path:
    """Return the file of the values of a measure."""
    return work / "readings" / measure / f"{condition}.json"


def read_condition(task: Task, log: Path) -> None:
    """Measure every clip of the condition, and write the values."""
    with log.open("a", encoding="utf-8") as said, redirect_stderr(said):
        clips = read_index(task.work, task.condition)["clips"]
        values = [READERS[task.measure](task, clip, clip_frames(task.work, clip)) for clip in clips]
    write_json(file_of(task.work, task.condition, task.measure), {"clips": values})


def values_of(work: Path, condition: str, measure: Measure) -> list[Values] | None:
    """Return the values, one entry per clip; None if they were not computed."""
    file = file_of(work, condition, measure)
    if not file.is_file():
        return None
    values: list[Values] = json.loads(file.read_text(encoding="utf-8"))["clips"]
    return values


def train_reader(name: str, work: Path, scale: Scale, log: Path) -> None:
    """Train the classifier or the style reader unless it exists, and record its accuracy."""
    with log.open("a", encoding="utf-8") as said:

        def tell(message: str) -> None:
            print(message, file=said, flush=True)

        if name == "classifier":
            sizes = {"clips": scale.classifier_clips, "epochs": scale.classifier_epochs}
            facts: dict[str, Any] = asdict(trained_classifier(work, tell, **sizes)[1])
        else:
            stills = scale.style_stills_read
            facts = {"accuracy": trained_style_reader(work, tell, images=stills, held_out=stills // 3)[1]}
    write_json(work / f"{name}.json", facts)


def _law(task: Task, clip: Mapping[str, Any], frames: np.ndarray) -> Values:
    return {"obeys": bool(obeys(frames, clip["kind"], clip["colour"], style=task.style))}


def _style(task: Task, clip: Mapping[str, Any], frames: np.ndarray) -> Values:
    """Return the share of frames that are classified as the style."""
    named = name_styles(_style_reader(task.work), frames)
    return {"kept": float(np.mean([name == task.style for name in named]))}


def _constancy(task: Task, clip: Mapping[str, Any], frames: np.ndarray) -> Values:
    return {"constant": is_constant(_classifier(task.work), frames)}


def _asked(task: Task, clip: Mapping[str, Any], frames: np.ndarray) -> Values:
    """Return the shares of frames that are classified as the object, the colour and the place of the prompt."""
    seen = read(_classifier(task.work), frames)
    return {
        "object": float(np.mean([one.kind == clip["kind"] for one in seen])),
        "colour": float(np.mean([one.colour == clip["colour"] for one in seen])),
        "place": float(np.mean([one.place == clip["place"] for one in seen])),
    }


def _watermark(task: Task, clip: Mapping[str, Any], frames: np.ndarray) -> Values:
    return {"visibility": float(visibility(frames))}


def _camera(task: Task, clip: Mapping[str, Any], frames: np.ndarray) -> Values:
    """Return pan and tilt in px per frame, roll in degrees, zoom as a factor; None if the camera cannot be tracked."""
    moved = camera_motion(frames)
    if moved is None:
        return dict.fromkeys(("pan", "tilt", "roll", "zoom", "width"))
    return {"pan": moved.pan, "tilt": moved.tilt, "roll": moved.roll, "zoom": moved.zoom, "width": moved.width}


def _clip(task: Task, clip: Mapping[str, Any], frames: np.ndarray) -> Values:
    """Compute text, domain and smooth with the functions of `animdiff evaluate`, as cosines."""
    from animdiff_cli.metrics.clip_score import domain_similarity, frame_consistency, text_alignment

    encoder, stills = _encoder(task.encoder), _stills(task.work, task.style, task.encoder)
    images = encoder.embed_images(frames)
    return {
        "text": text_alignment(images, encoder.embed_text(clip["prompt"])),
        "domain": domain_similarity(images, stills),
        "smooth": frame_consistency(images),
    }


READERS: Mapping[Measure, Callable[[Task, Mapping[str, Any], np.ndarray], Values]] = MappingProxyType(
    {
        "law": _law,
        "style": _style,
        "constancy": _constancy,
        "asked": _asked,
        "watermark": _watermark,
        "camera": _camera,
        "clip": _clip,
    }
)


# cached: a process measures many conditions


@cache
def _classifier(work: Path) -> Classifier:
    return trained_classifier(work, lambda message: None)[0]


@cache
def _style_reader(work: Path) -> StyleReader:
    return trained_style_reader(work, lambda message: None)[0]


@cache
def _encoder(folder: Path) -> Any:
    import torch

    from animdiff_cli.metrics.clip_score import load_encoder

    return load_encoder(folder, torch.device("cpu"))


@cache
def _stills(work: Path, style: str, encoder: Path) -> Any:
    """Embed the reference images of a personalised model: float32 [N, D]."""
    import torch

    clips = read_index(work, f"stills-{style}")["clips"]
    return torch.cat([_encoder(encoder).embed_images(clip_frames(work, clip)) for clip in clips])
