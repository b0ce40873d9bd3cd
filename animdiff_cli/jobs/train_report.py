"""What a training run shows of itself: sample clips on the way, a report and the file's metadata at the end."""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.events import Emit, Note, Writing, Written
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.diffusion.text import PromptEmbeds
from animdiff_cli.jobs.recipe import PACKAGES
from animdiff_cli.jobs.train_plan import TrainPlan, sample_settings
from animdiff_cli.jobs.train_stages import Built
from animdiff_cli.registry.catalog import load_catalog
from animdiff_cli.training.data.dataset import ClipDataset
from animdiff_cli.training.journal import Row, smoothed
from animdiff_cli.training.leak import compare
from animdiff_cli.training.samples import Sampler, sample_path
from animdiff_cli.training.stages.stage import MotionLora
from animdiff_cli.weights.identify import identify
from animdiff_cli.weights.info import BASE_KEY

#: frames of the clips whose colours stills are compared with
LOOKED_AT = 32


@dataclass(frozen=True, slots=True)
class Gallery:
    """Renders the prompts of a run with the weights as they are."""

    plan: TrainPlan
    built: Built
    sampler: Sampler
    settings: tuple[GenerateConfig, ...]  # one per prompt
    emit: Emit

    def write(self, step: int) -> None:
        """Write one clip per prompt, or one picture where single frames are trained."""
        folder = self.plan.out / "samples"
        frames = self.plan.config.data.num_frames if self.built.motion else 1
        for number, config in enumerate(self.settings, start=1):
            path = sample_path(folder, step, number, frames)
            self.emit(Writing(path))
            about = {"stage": self.plan.config.stage, "step": step, "of": self.plan.config.steps}
            with self._as_result():
                self.sampler.write(config, frames, path, about)
            self.emit(Written(path, path.stat().st_size))

    def leak(self, clips: ClipDataset) -> Mapping[str, Any] | None:
        """Measure how much of the clips' looks a MotionLoRA took over; None for other stages."""
        temporal, stills = self.built.result, self.settings[: self.plan.config.leak_stills]
        if not isinstance(self.built.stage, MotionLora) or temporal is None or not stills:
            return None
        self.emit(Note(f"rendering {len(stills)} stills with and without the MotionLoRA, to see whether looks leaked"))
        with self._as_result():
            after = [self.sampler.frames(config, 1)[0] for config in stills]
            with temporal.used(enabled=False):
                before = [self.sampler.frames(config, 1)[0] for config in stills]
        seen = [clips.frames(index, 0)[0] for index in range(min(LOOKED_AT, len(clips.items)))]
        report = compare(before, after, seen)
        self.emit(Note(f"stills stayed {report.similarity:.2f} alike; {report.leaked:+.3f} towards the clips' colours"))
        return report.record()

    def _as_result(self) -> AbstractContextManager[None]:
        """Leave out what will be thrown away."""
        stage = self.built.stage
        if isinstance(stage, MotionLora):
            return stage.without_spatial()
        return nullcontext()


def open_gallery(
    plan: TrainPlan,
    clips: ClipDataset,
    built: Built,
    vae: Any,
    prediction_type: str,
    text: Callable[[str | None], PromptEmbeds],
    emit: Emit,
) -> Gallery:
    """Prepare to render the prompts of this run; `text` must know their embeddings, and the negative prompt's."""
    unet = built.unet
    autocast = None if unet.dtype.itemsize == 4 else unet.dtype
    sampler = Sampler(unet, vae, text, prediction_type, autocast)
    settings = sample_settings(plan.config, clips.items[0].bucket)
    prompts = prompts_of(plan, clips)
    return Gallery(plan, built, sampler, tuple(_prompted(settings, prompt) for prompt in prompts), emit)


def prompts_of(plan: TrainPlan, clips: ClipDataset) -> tuple[str, ...]:
    """Return the prompts samples show: those asked for, or the first two captions."""
    captions = dict.fromkeys(item.caption for item in clips.items)
    return plan.config.sample_prompts or tuple(captions)[:2]


def make_report(
    plan: TrainPlan,
    clips: ClipDataset,
    rows: Sequence[Row],
    identity: Mapping[str, object],
    leak: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Say what was trained on what, how the loss went, and with which versions. Holds no clock."""
    losses = [row.loss for row in rows]
    return {
        "result": str(plan.result),
        "config": plan.config.model_dump(mode="json"),
        "clips": {
            "count": len(clips.items),
            "digest": identity["clips"],
            "captions": list(dict.fromkeys(item.caption for item in clips.items))[:20],
        },
        "weights": {"model": identity["model"], "motion_module": identity["motion_module"]},
        "steps": len(rows),
        "loss": {"first": losses[0], "last": losses[-1], "smoothed": smoothed(losses)[-1]} if losses else None,
        "appearance": leak,
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
    }


def metadata_of(plan: TrainPlan, report: Mapping[str, Any]) -> dict[str, str]:
    """Return what the result says of itself: base, rank, data and recipe, all of it text."""
    config = plan.config
    rank = {} if config.stage == "motion-module" else {"animdiff.rank": str(config.rank)}
    recipe = {key: report[key] for key in ("weights", "steps", "loss", "versions")}
    recipe["config"] = _published(report["config"])
    return {
        BASE_KEY: _base(plan),
        "animdiff.data": json.dumps(report["clips"], ensure_ascii=False),
        "animdiff.training": json.dumps(recipe, ensure_ascii=False),
        **rank,
    }


def _published(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what only this machine knows: of paths the last part stays, it is a name people gave."""
    data = {key: Path(value).name if key == "videos" else value for key, value in settings["data"].items()}
    data.pop("video_folder", None)
    names = ("model", "motion_module", "domain_adapter")
    own = {key: value for key, value in settings.items() if key not in ("data", "out", *names)}
    refs = {key: settings[key] and _without_folder(settings[key]) for key in names}
    return {**own, **refs, "data": data}


def _without_folder(reference: str) -> str:
    return Path(reference).name if parse_ref(reference, scaled=True).source == "path" else reference


def _base(plan: TrainPlan) -> str:
    name = plan.config.model.lower()
    if name in load_catalog():
        return load_catalog().find(name).base
    return identify(plan.model).base or "unknown"


def _prompted(settings: GenerateConfig, prompt: str) -> GenerateConfig:
    return settings.model_copy(update={"prompt": prompt})
