"""Sample clips during a training run; a report and the result's metadata at its end."""

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
from animdiff_cli.core.text import counted, json_line
from animdiff_cli.diffusion.build import Components
from animdiff_cli.diffusion.text_encoders import PromptEmbeds
from animdiff_cli.jobs.recipe import PACKAGES
from animdiff_cli.jobs.train_plan import TrainPlan, sample_settings
from animdiff_cli.jobs.train_stages import TrainingModels
from animdiff_cli.registry.catalog import load_catalog
from animdiff_cli.training.appearance_leak import measure_leak
from animdiff_cli.training.data.dataset import ClipDataset
from animdiff_cli.training.metrics_log import StepMetrics, smoothed
from animdiff_cli.training.samples import Sampler, sample_path
from animdiff_cli.training.stages import MotionLoraStage
from animdiff_cli.weights.identify import identify
from animdiff_cli.weights.info import BASE_KEY

#: number of clips whose colors the stills are compared with
LEAK_CLIPS = 32


@dataclass(frozen=True, slots=True)
class SampleWriter:
    """Render the sample prompts of a run with the current weights."""

    plan: TrainPlan
    models: TrainingModels
    sampler: Sampler
    settings: tuple[GenerateConfig, ...]  # one per prompt
    emit: Emit

    @classmethod
    def of(
        cls,
        plan: TrainPlan,
        clips: ClipDataset,
        models: TrainingModels,
        components: Components,
        text: Callable[[str | None], PromptEmbeds],
        emit: Emit,
    ) -> "SampleWriter":
        """Create a writer. `text` returns the embeddings of the sample prompts and their negative prompt."""
        unet = models.unet
        autocast = None if unet.dtype.itemsize == 4 else unet.dtype
        sampler = Sampler(unet, components.vae, text, autocast)
        settings = sample_settings(plan.config, clips.items[0].bucket)
        prompts = sample_prompts(plan, clips)
        return cls(
            plan, models, sampler, tuple(settings.model_copy(update={"prompt": prompt}) for prompt in prompts), emit
        )

    def write(self, step: int) -> None:
        """Write one clip per prompt; one picture per prompt if single frames are trained."""
        for path, config in zip(self._paths(step), self.settings, strict=True):
            self.emit(Writing(path))
            metadata = {"stage": self.plan.config.stage, "step": step, "of": self.plan.config.steps}
            with self._as_exported():
                self.sampler.write(config, self._num_frames, path, metadata)
            self.emit(Written(path, path.stat().st_size))

    def is_complete(self, step: int) -> bool:
        """Return whether all samples of a step exist: a killed run may lack those of its last checkpoint."""
        return all(path.is_file() for path in self._paths(step))

    def measure_leak(self, clips: ClipDataset) -> Mapping[str, Any] | None:
        """Measure how much of the clips' appearance a MotionLoRA has learned; None for other stages."""
        lora, stills = self.models.lora, self.settings[: self.plan.config.leak_stills]
        if not isinstance(self.models.stage, MotionLoraStage) or lora is None or not stills:
            return None
        self.emit(
            Note(
                f"rendering {counted(len(stills), 'still')} with and without the MotionLoRA to measure appearance leak"
            )
        )
        with self._as_exported():
            after = [self.sampler.frames(config, 1)[0] for config in stills]
            with lora.switched(enabled=False):
                before = [self.sampler.frames(config, 1)[0] for config in stills]
        first_frames = [clips.frames(index, 0)[0] for index in range(min(LEAK_CLIPS, len(clips.items)))]
        report = measure_leak(before, after, first_frames)
        self.emit(Note(f"similarity of stills {report.similarity:.2f}; color shift to the clips {report.leaked:+.3f}"))
        return report.record()

    @property
    def _num_frames(self) -> int:
        return self.plan.config.data.num_frames if self.models.motion else 1

    def _paths(self, step: int) -> list[Path]:
        folder = self.plan.out / "samples"
        return [sample_path(folder, step, number, self._num_frames) for number in range(1, len(self.settings) + 1)]

    def _as_exported(self) -> AbstractContextManager[None]:
        """Disable inside the context what the result will not contain."""
        stage = self.models.stage
        return stage.without_spatial() if isinstance(stage, MotionLoraStage) else nullcontext()


def sample_prompts(plan: TrainPlan, clips: ClipDataset) -> tuple[str, ...]:
    """Return the prompts of sample clips: those of the settings, or the first two captions."""
    captions = dict.fromkeys(item.caption for item in clips.items)
    return plan.config.sample_prompts or tuple(captions)[:2]


def make_report(
    plan: TrainPlan,
    clips: ClipDataset,
    rows: Sequence[StepMetrics],
    fingerprint: Mapping[str, object],
    leak: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return a report on data, settings, weights, loss and package versions. Contains no dates or times."""
    losses = [row.loss for row in rows]
    return {
        "result": str(plan.result),
        "config": plan.config.model_dump(mode="json"),
        "clips": {
            "count": len(clips.items),
            "digest": fingerprint["clips"],
            "captions": list(dict.fromkeys(item.caption for item in clips.items))[:20],
        },
        "weights": {"model": fingerprint["model"], "motion_module": fingerprint["motion_module"]},
        "steps": len(rows),
        "loss": {"first": losses[0], "last": losses[-1], "smoothed": smoothed(losses)[-1]} if losses else None,
        "appearance": leak,
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
    }


def metadata_of(plan: TrainPlan, report: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata of the result: base, rank, data and training recipe, as strings."""
    config = plan.config
    rank = {} if config.stage == "motion-module" else {"animdiff.rank": str(config.rank)}
    recipe = {key: report[key] for key in ("weights", "steps", "loss", "versions")}
    recipe["config"] = _without_folders(report["config"])
    return {
        BASE_KEY: _base(plan),
        "animdiff.data": json_line(report["clips"]),
        "animdiff.training": json_line(recipe),
        **rank,
    }


def _without_folders(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the folders of this machine from all paths and keep the file names."""
    data = {key: Path(value).name if key == "videos" else value for key, value in settings["data"].items()}
    data.pop("video_folder", None)
    names = ("model", "motion_module", "domain_adapter")
    others = {key: value for key, value in settings.items() if key not in ("data", "out", *names)}
    refs = {key: settings[key] and _without_folder(settings[key]) for key in names}
    return {**others, **refs, "data": data}


def _without_folder(reference: str) -> str:
    return Path(reference).name if parse_ref(reference, scaled=True).source == "path" else reference


def _base(plan: TrainPlan) -> str:
    name = plan.config.model.lower()
    if name in load_catalog():
        return load_catalog().find(name).base
    return identify(plan.model).base or "unknown"
