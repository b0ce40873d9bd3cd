"""Evaluate clips: the Python API behind `animdiff evaluate`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animdiff_cli.core.events import Emit, Event, Loading, Measuring, Note, ignore
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.core.text import counted
from animdiff_cli.errors import AnimdiffError, UsageError
from animdiff_cli.jobs.clip_files import find_clips, find_images
from animdiff_cli.metrics.camera import CameraMotion, flow_values
from animdiff_cli.metrics.flow import load_opencv
from animdiff_cli.metrics.full_reference import full_reference_values, require_match
from animdiff_cli.metrics.results import BY_KEY, ClipResult, mean_values
from animdiff_cli.metrics.temporal import steps, temporal_values
from animdiff_cli.outputs import read_recipe
from animdiff_cli.outputs.ffmpeg import Frames
from animdiff_cli.outputs.read import DecodedClip, read_clip, read_image
from animdiff_cli.registry.store import locate

if TYPE_CHECKING:
    from torch import Tensor

    from animdiff_cli.metrics.clip_score import ClipEncoder

WITHOUT_CLIP = "text, domain and smooth need a CLIP encoder: add `--clip clip-vit-l14` or a CLIPModel folder"


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """The inputs of an evaluation, found and checked before clips are decoded and weights are loaded."""

    clips: tuple[Path, ...]
    prompts: tuple[str | None, ...]  # one per clip; None if neither the caller nor its recipe gives one
    recipes: tuple[Mapping[str, Any] | None, ...]
    references: tuple[Path, ...] = ()
    encoder: Path | None = None
    against: Path | None = None
    device: str = "auto"
    notes: tuple[str, ...] = ()  # metrics that are left out, and what they need
    has_opencv: bool = True


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The metrics of every clip."""

    clips: tuple[ClipResult, ...]
    notes: tuple[str, ...] = ()

    @property
    def mean(self) -> dict[str, float | None]:
        """Mean of every metric over the clips that have it."""
        return mean_values(self.clips)

    def record(self) -> dict[str, Any]:
        """Return the evaluation for JSON."""
        return {"clips": [clip.record() for clip in self.clips], "mean": self.mean, "notes": list(self.notes)}


@dataclass(slots=True)
class _ClipScorer:
    """Computes the CLIP metrics. Caches embeddings of prompts and reference images across clips."""

    encoder: "ClipEncoder"
    references: "Tensor | None"
    emit: Emit
    prompts: dict[str, "Tensor"] = field(default_factory=dict)

    def values(self, frames: Frames, prompt: str | None) -> dict[str, float | None]:
        from animdiff_cli.metrics import clip_score

        images = self.encoder.embed_images(frames)
        values = {"text": clip_score.text_alignment(images, self._embed(prompt)) if prompt is not None else None}
        if self.references is not None:
            values["domain"] = clip_score.domain_similarity(images, self.references)
        return values | {
            "smooth": clip_score.frame_consistency(images),
            "smooth_neighbours": clip_score.neighbour_consistency(images),
        }

    def _embed(self, prompt: str) -> "Tensor":
        if prompt not in self.prompts:
            self.prompts[prompt] = self.encoder.embed_text(prompt, lambda message: self.emit(Note(message)))
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
    """Evaluate clips: files or folders. `clip` names a CLIP encoder; `references` are images for the domain metric.

    Raises `AnimdiffError` for invalid input.
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
    return run_evaluation(plan, emit)


def plan_evaluation(
    paths: Sequence[Path],
    *,
    prompts: Sequence[str] = (),
    references: Sequence[Path] = (),
    clip: str | None = None,
    against: Path | None = None,
    device: str = "auto",
) -> EvaluationPlan:
    """Find the clips, reference images, prompts and the encoder. Loads no weights.

    `prompts`: one for all clips, or one per clip. Default: the prompts in the recipes of the clips.
    """
    found = tuple(find_clips(paths))
    if references and clip is None:
        raise UsageError("`--reference` needs a CLIP encoder", hint="add `--clip clip-vit-l14`")
    if against is not None:
        find_clips([against])
    recipes = tuple(_recipe(path) for path in found)
    plan = EvaluationPlan(
        clips=found,
        prompts=_prompts(prompts, recipes, found),
        recipes=recipes,
        references=tuple(find_images(references)),
        encoder=_encoder(clip) if clip is not None else None,
        against=against,
        device=device,
        notes=() if clip is not None else (WITHOUT_CLIP,),
    )
    return _without_opencv(plan)


def run_evaluation(plan: EvaluationPlan, emit: Emit = ignore) -> Evaluation:
    """Compute the metrics of each clip. Holds one clip in memory at a time, plus the one to compare with."""
    notes: list[str] = []

    def record(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.message)
        emit(event)

    for note in plan.notes:
        record(Note(note))
    other = read_clip(plan.against) if plan.against else None
    scorer = _load_scorer(plan, record) if plan.encoder else None
    results = []
    for index, path in enumerate(plan.clips):
        record(Measuring(path.name, index + 1, len(plan.clips)))
        results.append(_evaluate_clip(plan, index, read_clip(path), other, scorer))
    if scorer:
        for path, prompt in zip(plan.clips, plan.prompts, strict=True):
            if prompt is None:
                record(Note(f"{path} has no single prompt in its recipe, so text is not computed: add `--prompt`"))
    return Evaluation(tuple(results), tuple(notes))


def _evaluate_clip(
    plan: EvaluationPlan, index: int, clip: DecodedClip, other: DecodedClip | None, scorer: _ClipScorer | None
) -> ClipResult:
    frames, path = clip.frames, plan.clips[index]
    values: dict[str, float | None] = {}
    camera: CameraMotion | None = None
    if other is not None:
        _require_match(frames, other.frames, path)
        values |= full_reference_values(frames, other.frames)
    if scorer:
        values |= scorer.values(frames, plan.prompts[index])
    if plan.has_opencv:
        motion, camera = flow_values(frames)
        values |= motion
    values |= temporal_values(frames)
    return ClipResult(
        path=path,
        prompt=plan.prompts[index],
        num_frames=len(frames),
        width=frames.shape[2],
        height=frames.shape[1],
        fps=clip.fps or _setting(plan.recipes[index], "fps", float),
        values=_in_units(values),
        camera=camera,
        steps=steps(frames),
    )


def measured(frames: Frames) -> dict[str, float | None]:
    """Return the metrics of one clip that need neither weights nor another clip, in the units of `METRICS`.

    Those of optical flow are left out without OpenCV.
    """
    try:
        motion, _ = flow_values(frames)
    except UsageError:
        motion = {}
    return _in_units(motion | temporal_values(frames))


def _in_units(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {key: None if value is None else value * BY_KEY[key].factor for key, value in values.items()}


def _require_match(frames: Frames, others: Frames, path: Path) -> None:
    try:
        require_match(frames, others)
    except UsageError as error:
        raise UsageError(f"{path}: {error}", hint=error.hint) from error


def _load_scorer(plan: EvaluationPlan, emit: Emit) -> _ClipScorer:
    from animdiff_cli.diffusion.device import plan_device, probe_machine
    from animdiff_cli.metrics.clip_score import load_encoder

    assert plan.encoder
    device = plan_device(probe_machine(), plan.device, "fp32").device
    emit(Loading(f"CLIP encoder {plan.encoder.name}"))
    encoder = load_encoder(plan.encoder, device)
    references = None
    if plan.references:
        import torch

        # one by one, because their sizes may differ
        references = torch.cat([encoder.embed_images(read_image(path)[None]) for path in plan.references])
    return _ClipScorer(encoder, references, emit)


def _encoder(text: str) -> Path:
    from animdiff_cli.metrics.clip_score import check_encoder

    folder = locate(parse_ref(text), "clip-encoder").path
    check_encoder(folder)
    return folder


def _without_opencv(plan: EvaluationPlan) -> EvaluationPlan:
    """Leave out the metrics that need OpenCV if it is not installed, and add a note."""
    try:
        load_opencv()
    except UsageError as error:
        note = f"{error}: leaving out warp, dynamic and camera; run `{error.hint}`"
        return replace(plan, has_opencv=False, notes=(*plan.notes, note))
    return plan


def _prompts(
    prompts: Sequence[str], recipes: Sequence[Mapping[str, Any] | None], clips: Sequence[Path]
) -> tuple[str | None, ...]:
    if len(prompts) == 1:
        return tuple(prompts) * len(clips)
    if prompts and len(prompts) != len(clips):
        raise UsageError(
            f"{counted(len(prompts), 'prompt')} for {counted(len(clips), 'clip')}",
            hint="give one `--prompt` for all clips, or one per clip",
        )
    return tuple(prompts) or tuple(_setting(recipe, "prompt", str) for recipe in recipes)


def _recipe(path: Path) -> Mapping[str, Any] | None:
    """Return the recipe of a clip, or None. A damaged clip raises later, when it is decoded."""
    try:
        return read_recipe(path)
    except AnimdiffError:
        return None


def _setting(recipe: Mapping[str, Any] | None, key: str, kind: type) -> Any:
    """Return a setting of an untrusted recipe, or None unless it is of type `kind`."""
    config = recipe.get("config") if recipe else None
    value = config.get(key) if isinstance(config, dict) else None
    value = float(value) if kind is float and isinstance(value, int) else value
    return value if isinstance(value, kind) else None
