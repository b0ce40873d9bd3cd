"""Measure clips: what `animdiff evaluate` does, callable from Python."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animdiff_cli.core.events import Emit, Loading, Measuring, Note, ignore
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import AnimdiffError, UsageError
from animdiff_cli.jobs.clip_files import find_clips, find_images
from animdiff_cli.metrics.camera import CameraMotion
from animdiff_cli.metrics.figures import ClipFigures, mean_values
from animdiff_cli.metrics.flow import load_opencv
from animdiff_cli.metrics.measure import flow_values, likeness_values, steps, temporal_values
from animdiff_cli.metrics.measures import BY_KEY
from animdiff_cli.metrics.similarity import require_match
from animdiff_cli.metrics.temporal import Frames
from animdiff_cli.outputs import read_recipe
from animdiff_cli.outputs.read import DecodedClip, read_clip, read_image
from animdiff_cli.registry.store import locate

if TYPE_CHECKING:
    from torch import Tensor

    from animdiff_cli.metrics.clip import ClipEncoder

WITHOUT_CLIP = "text, domain and smooth need a CLIP encoder: add `--clip clip-vit-l14`, or a CLIPModel folder"


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """What to measure, found and checked before anything is read whole or loaded."""

    clips: tuple[Path, ...]
    prompts: tuple[str | None, ...]  # one for each clip; None where neither it nor the caller names one
    recipes: tuple[Mapping[str, Any] | None, ...]
    stills: tuple[Path, ...] = ()
    encoder: Path | None = None
    against: Path | None = None
    device: str = "auto"
    notes: tuple[str, ...] = ()  # what is left out, and how to get it
    has_opencv: bool = True


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of every clip."""

    clips: tuple[ClipFigures, ...]
    notes: tuple[str, ...] = ()

    @property
    def mean(self) -> dict[str, float | None]:
        """Every measure averaged over the clips it could be taken on."""
        return mean_values(self.clips)

    def record(self) -> dict[str, Any]:
        """Tell it as one JSON object."""
        return {"clips": [clip.record() for clip in self.clips], "mean": self.mean, "notes": list(self.notes)}


@dataclass(slots=True)
class _Meter:
    """The encoder with what it has embedded already: prompts and stills recur from clip to clip."""

    encoder: "ClipEncoder"
    stills: "Tensor | None"
    emit: Emit
    prompts: dict[str, "Tensor"] = field(default_factory=dict)

    def values(self, frames: Frames, prompt: str | None) -> dict[str, float | None]:
        from animdiff_cli.metrics import clip

        images = self.encoder.images(frames)
        values = {"text": clip.text_alignment(images, self._text(prompt)) if prompt is not None else None}
        if self.stills is not None:
            values["domain"] = clip.domain_similarity(images, self.stills)
        return values | {
            "smooth": clip.consistency(images),
            "smooth_neighbours": clip.neighbour_consistency(images),
        }

    def _text(self, prompt: str) -> "Tensor":
        if prompt not in self.prompts:
            self.prompts[prompt] = self.encoder.text(prompt, lambda message: self.emit(Note(message)))
        return self.prompts[prompt]


def evaluate(
    clips: Sequence[str | Path] | str | Path,
    *,
    prompts: Sequence[str] = (),
    references: Sequence[str | Path] = (),
    clip: str | Path | None = None,
    against: str | Path | None = None,
    device: str = "auto",
    emit: Emit = ignore,
) -> Evaluation:
    """Measure clips. `clips` are files or folders, `clip` a reference to a CLIP encoder, `references` stills.

    Raises `AnimdiffError` for everything a caller can cause.
    """
    paths = [clips] if isinstance(clips, str | Path) else clips
    plan = plan_evaluation(
        [Path(path) for path in paths],
        prompts=prompts,
        references=[Path(path) for path in references],
        clip=str(clip) if clip is not None else None,
        against=Path(against) if against is not None else None,
        device=device,
    )
    return measure(plan, emit)


def plan_evaluation(
    paths: Sequence[Path],
    *,
    prompts: Sequence[str] = (),
    references: Sequence[Path] = (),
    clip: str | None = None,
    against: Path | None = None,
    device: str = "auto",
) -> EvaluationPlan:
    """Find the clips, stills, prompts and the encoder. Loads no weights.

    `prompts`: none for those in the clips' own recipes, one for all clips, or one for each.
    """
    found = tuple(find_clips(paths))
    if references and clip is None:
        raise UsageError("`--reference` is measured with a CLIP encoder", hint="add `--clip clip-vit-l14`")
    if against is not None:
        find_clips([against])
    recipes = tuple(_recipe(path) for path in found)
    plan = EvaluationPlan(
        clips=found,
        prompts=_prompts(prompts, recipes, found),
        recipes=recipes,
        stills=tuple(find_images(references)),
        encoder=_encoder(clip) if clip is not None else None,
        against=against,
        device=device,
        notes=() if clip is not None else (WITHOUT_CLIP,),
    )
    return _without_opencv(plan)


def measure(plan: EvaluationPlan, emit: Emit = ignore) -> Evaluation:
    """Measure clip after clip; only one is in memory at a time."""
    notes: list[str] = []

    def told(event: Any) -> None:
        if isinstance(event, Note):
            notes.append(event.message)
        emit(event)

    for note in plan.notes:
        told(Note(note))
    other = read_clip(plan.against) if plan.against else None
    meter = _load_meter(plan, told) if plan.encoder else None
    figures = []
    for index, path in enumerate(plan.clips):
        told(Measuring(path.name, index + 1, len(plan.clips)))
        figures.append(_figures(plan, index, read_clip(path), other, meter))
    if meter:
        for path, prompt in zip(plan.clips, plan.prompts, strict=True):
            if prompt is None:
                told(Note(f"{path} carries no prompt, so its text column is empty: add `--prompt`"))
    return Evaluation(tuple(figures), tuple(notes))


def _figures(
    plan: EvaluationPlan, index: int, footage: DecodedClip, other: DecodedClip | None, meter: _Meter | None
) -> ClipFigures:
    frames, path = footage.frames, plan.clips[index]
    raw: dict[str, float | None] = {}
    camera: CameraMotion | None = None
    if other is not None:
        _require_match(frames, other.frames, path)
        raw |= likeness_values(frames, other.frames)
    if meter:
        raw |= meter.values(frames, plan.prompts[index])
    if plan.has_opencv:
        motion, camera = flow_values(frames)
        raw |= motion
    raw |= temporal_values(frames)
    return ClipFigures(
        path=path,
        prompt=plan.prompts[index],
        num_frames=len(frames),
        width=frames.shape[2],
        height=frames.shape[1],
        fps=footage.fps or _setting(plan.recipes[index], "fps", float),
        values={key: None if value is None else value * BY_KEY[key].factor for key, value in raw.items()},
        camera=camera,
        steps=steps(frames),
    )


def _require_match(frames: Frames, others: Frames, path: Path) -> None:
    try:
        require_match(frames, others)
    except UsageError as error:
        raise UsageError(f"{path}: {error}", hint=error.hint) from error


def _load_meter(plan: EvaluationPlan, emit: Emit) -> _Meter:
    from animdiff_cli.diffusion.device import plan_device, probe_machine
    from animdiff_cli.metrics.clip import load_encoder

    assert plan.encoder
    device = plan_device(probe_machine(), plan.device, "fp32").device
    emit(Loading(f"CLIP encoder {plan.encoder.name}"))
    encoder = load_encoder(plan.encoder, device)
    stills = None
    if plan.stills:
        import torch

        # one by one, because stills need not share a size
        stills = torch.cat([encoder.images(read_image(path)[None]) for path in plan.stills])
    return _Meter(encoder, stills, emit)


def _encoder(text: str) -> Path:
    from animdiff_cli.metrics.clip import check_encoder

    folder = locate(parse_ref(text), "clip-encoder").path
    check_encoder(folder)
    return folder


def _without_opencv(plan: EvaluationPlan) -> EvaluationPlan:
    """Leave out what needs OpenCV where it is missing, and say so."""
    try:
        load_opencv()
    except UsageError as error:
        note = f"{error}: warp, dynamic and camera are left out; run `{error.hint}`"
        return replace(plan, has_opencv=False, notes=(*plan.notes, note))
    return plan


def _prompts(
    given: Sequence[str], recipes: Sequence[Mapping[str, Any] | None], clips: Sequence[Path]
) -> tuple[str | None, ...]:
    if len(given) == 1:
        return tuple(given) * len(clips)
    if given and len(given) != len(clips):
        raise UsageError(
            f"{len(given)} prompts were given for {len(clips)} clip{'s' if len(clips) > 1 else ''}",
            hint="give one for all, or one for each",
        )
    return tuple(given) or tuple(_setting(recipe, "prompt", str) for recipe in recipes)


def _recipe(path: Path) -> Mapping[str, Any] | None:
    """Read the recipe a clip carries, if it does; whether the clip itself can be read shows when it is measured."""
    try:
        return read_recipe(path)
    except AnimdiffError:
        return None


def _setting(recipe: Mapping[str, Any] | None, key: str, kind: type) -> Any:
    """Look a setting up in a recipe that may hold anything; None unless it is of the kind."""
    config = recipe.get("config") if recipe else None
    value = config.get(key) if isinstance(config, dict) else None
    value = float(value) if kind is float and isinstance(value, int) else value
    return value if isinstance(value, kind) else None
