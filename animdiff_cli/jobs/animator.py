"""An image model with its motion module plugged in, loaded once and ready to render clips."""

from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from torch import Tensor, nn

from animdiff_cli.config.keywords import GenerateSettings
from animdiff_cli.config.layers import keyword_layer
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.choices import PromptSyntax
from animdiff_cli.core.events import Emit, FramesDecoded, Note, StepDone, WindowDone, ignore
from animdiff_cli.core.windows import Windows
from animdiff_cli.diffusion.build import Components
from animdiff_cli.diffusion.conditions import Condition, KnownFrames
from animdiff_cli.diffusion.control import ControlFile
from animdiff_cli.diffusion.embeddings import Embedding, expand_embeddings
from animdiff_cli.diffusion.encode import Encode
from animdiff_cli.diffusion.encode import encode as encode_pixels
from animdiff_cli.diffusion.image_prompt import ImagePromptNetwork
from animdiff_cli.diffusion.low_vram import LowVram
from animdiff_cli.diffusion.memory import out_of_memory_while_rendering
from animdiff_cli.diffusion.noise import LATENT_CHANNELS, initial_noise, seeded_generator
from animdiff_cli.diffusion.pipeline import Callbacks, Pipeline, render
from animdiff_cli.diffusion.schedulers import BETA_END
from animdiff_cli.diffusion.speed import cpu_arithmetic, faster, uses_graphs
from animdiff_cli.diffusion.text import encode_prompt
from animdiff_cli.diffusion.text_encoders import PromptEmbeds, Report
from animdiff_cli.diffusion.windows import clip_windows, resolve_windows
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.clip import Clip
from animdiff_cli.jobs.continuation import Continuation, read_continuation
from animdiff_cli.jobs.control import DetectorLoading, read_controls, save_pictures
from animdiff_cli.jobs.image_prompts import read_image_prompts
from animdiff_cli.jobs.inputs import input_hashes
from animdiff_cli.jobs.prompts import GivenPrompt
from animdiff_cli.jobs.recipe import WeightHashes, make_recipe
from animdiff_cli.jobs.regions import read_regions
from animdiff_cli.jobs.render_plan import RenderPlan, plan_clip
from animdiff_cli.jobs.source_images import read_images
from animdiff_cli.jobs.source_video import audio_of, read_video
from animdiff_cli.motion import MotionModule, MotionSpec
from animdiff_cli.motion.beside import BesideLora
from animdiff_cli.outputs.spool import FrameSpool


@dataclass(frozen=True, slots=True)
class Animator:
    """Loaded weights that render any number of clips. `animdiff_cli.load` creates one."""

    components: Components
    motion: MotionModule | None
    hashes: Future[WeightHashes]  # computed while the weights load and the first steps run
    embeddings: tuple[Embedding, ...] = ()  # words the tokenizer was taught
    conditions: tuple[Condition, ...] = ()  # beside the prompt
    loras: tuple[BesideLora, ...] = ()  # those whose scale varies
    controls: tuple[tuple[ControlFile, Any], ...] = ()  # with the loaded network
    image_prompts: tuple[ImagePromptNetwork, ...] = ()
    pia: Tensor | None = None  # the part of PIA's input convolution that reads pictures
    low_vram: LowVram | None = None  # where weights rest
    preprocess_weights: tuple[Path, ...] = ()  # loaded while the pictures of controls are read
    plan: RenderPlan | None = None  # the settings that `generate` starts from

    def generate(
        self,
        prompt: GivenPrompt,
        *,
        noise: Tensor | None = None,
        emit: Emit = ignore,
        **settings: Unpack[GenerateSettings],
    ) -> Clip:
        """Render one clip with the loaded weights.

        Args:
            prompt: Text prompt, or texts at positions of the clip as in `{0: "day", "50%": "night"}`.
            noise: Initial noise of unit variance, [1, 4, F, H/8, W/8], in place of the noise drawn from the seed.
            emit: Called with every progress event of `animdiff_cli.core.events`.
            settings: Settings that differ from those the weights were loaded with, for this clip only. Without `seed`
                here and there, one is drawn at random.

        Returns:
            The clip. Its recipe does not contain `noise`.

        Raises:
            UsageError: An unknown setting or value, or one that needs other weights.
            DeviceError: Memory runs out, or numbers overflow.

        """
        if self.plan is None:
            raise ValueError("this animator was loaded without settings: call `render` with a config")
        config, is_random = plan_clip(self.plan, keyword_layer({"prompt": prompt, **settings}))
        if is_random and noise is None:
            emit(Note(f"seed {config.seed}, drawn at random"))
        return self.render(config, emit, noise=noise)

    def render(
        self,
        config: GenerateConfig,
        emit: Emit = ignore,
        *,
        job: int = 1,
        jobs: int = 1,
        noise: Tensor | None = None,
    ) -> Clip:
        """Render the clip of a whole config; `noise` as in `generate`. `job` of `jobs` is for progress events.

        Raises `DeviceError` if memory runs out or numbers overflow.
        """
        continued = read_continuation(config, self._spec)
        config = self._resolved(continued.sampled(config) if continued else config)
        _check_noise(noise, config)
        windows = clip_windows(config, self._spec)
        if windows:
            emit(Note(f"{config.num_frames} frames in {windows}, mode {config.context_mode}"))
        plan = self.components.plan
        callbacks = Callbacks(
            on_step=lambda done, total, _latents: emit(StepDone(done, total, job, jobs)),
            on_window=lambda before, steps, step, done, total: emit(
                WindowDone(done, total, before + step + 1, steps, job, jobs)
            ),
            on_decoded=lambda done, total: emit(FramesDecoded(done, total)),
            report=_reported_once(emit),
        )
        at_once = windows is not None and config.context_mode == "plug"
        explained = out_of_memory_while_rendering(
            plan, config.width, config.height, config.num_frames, all_frames_at_once=at_once
        )
        with explained, faster(config, *self._networks, report=callbacks.report):
            encode = partial(encode_pixels, self.components.vae, low_vram=self.low_vram, report=callbacks.report)
            pipeline = self._controlled(config, encode, continued.num_known if continued else 0, job, emit)
            pipeline = replace(pipeline, graphs=self._uses_graphs(config, windows))
            if continued:
                frames = self._continue(pipeline, continued, config, callbacks, encode, noise)
                config = continued.recorded(config)
            else:
                takes_mask = self.components.unet.config.in_channels != LATENT_CHANNELS
                source = read_video(config, encode, takes_mask=takes_mask)
                begin = source.condition if source else read_images(config, encode, self.pia)
                if begin:
                    pipeline = replace(pipeline, conditions=(*pipeline.conditions, begin))
                chunks = render(pipeline, config, callbacks, noise=noise)
                frames = FrameSpool(source.finished(chunks) if source else chunks)
        level = self.low_vram.recorded if self.low_vram else None
        recipe = make_recipe(
            config, self.hashes.result(), plan.kind, input_hashes(config), level, cpu_arithmetic(config, plan)
        )
        return Clip(frames, recipe, audio_of(config))

    def _controlled(self, config: GenerateConfig, encode: Encode, num_known: int, job: int, emit: Emit) -> Pipeline:
        """Add the controls, image prompts and regions of one clip to the pipeline."""
        if not self.controls and not self.image_prompts and not config.regions:
            return self.pipeline
        timeline = replace(config.timeline, num_frames=config.num_frames - num_known)
        files, networks = zip(*self.controls, strict=True) if self.controls else ((), ())
        loading = DetectorLoading(self.preprocess_weights, self.components.plan.device, emit)
        read = read_controls(config, files, networks, encode, timeline, loading)
        save_to = self.plan.save_control if self.plan else None
        for number, (control, _, pictures) in enumerate(read):
            if save_to:
                save_pictures(pictures, save_to / f"{job}-{number}-{control.opened.path.stem}")
        prompts = read_image_prompts(config, self.image_prompts, timeline)
        regions = read_regions(config, self._encode, timeline)
        conditions = (*prompts, *regions, *(condition for _, condition, _ in read))
        return replace(self.pipeline, conditions=(*self.conditions, *conditions))

    def _continue(
        self,
        pipeline: Pipeline,
        continued: Continuation,
        config: GenerateConfig,
        callbacks: Callbacks,
        encode: Encode,
        noise: Tensor | None,
    ) -> FrameSpool:
        """Render new frames beside the last ones of a clip, which keep their pixels."""
        known = encode(continued.known)
        # another noise than that of the new frames
        own = initial_noise(seeded_generator((config.seed + 1) % 2**64), *known.shape[2:])
        pipeline = replace(pipeline, conditions=(*pipeline.conditions, KnownFrames(known, own)))
        new = render(pipeline, config, callbacks, noise=noise, num_known=continued.num_known)
        return FrameSpool(continued.joined(new, config))

    def _uses_graphs(self, config: GenerateConfig, windows: Windows | None) -> bool:
        frames = windows.length if windows else config.num_frames
        return uses_graphs(config, self.components.unet, self._spec, frames)

    @property
    def _networks(self) -> tuple[nn.Module, ...]:
        """The networks that run at every step or for every frame."""
        controls = (network for _, network in self.controls)
        return (self.components.unet, self.components.vae, *([self.motion] if self.motion else []), *controls)

    @property
    def pipeline(self) -> Pipeline:
        """The networks as `diffusion.pipeline` takes them."""
        parts = self.components
        return Pipeline(parts.unet, parts.vae, self._encode, self.conditions, self.loras, low_vram=self.low_vram)

    def _encode(self, prompt: str | None, *, clip_skip: int, syntax: PromptSyntax) -> PromptEmbeds:
        expand = partial(expand_embeddings, embeddings=self.embeddings)
        return encode_prompt(self.components, prompt, clip_skip=clip_skip, syntax=syntax, expand=expand)

    @property
    def _spec(self) -> MotionSpec | None:
        return self.motion.spec if self.motion else None

    def _resolved(self, config: GenerateConfig) -> GenerateConfig:
        """Replace `auto` in the config by the chosen values, so that the recipe contains them."""
        traits = self.motion.spec.traits if self.motion else None
        own = traits.beta_schedule if traits else self.components.beta_schedule
        changes = {
            "beta_schedule": own if config.beta_schedule == "auto" else config.beta_schedule,
            "beta_end": config.beta_end or (traits.beta_end if traits else BETA_END),
            "dtype": self.components.plan.dtype,
            "prediction_type": _recorded(config.prediction_type, self.components.prediction_type, "epsilon"),
            "rescale_betas_zero_snr": _recorded(
                config.rescale_betas_zero_snr, self.components.rescale_betas_zero_snr, False
            ),
        }
        to_load = self.low_vram.to_load if self.low_vram else 0
        return resolve_windows(config.model_copy(update=changes), self.components.unet, to_load=to_load)


def _recorded(value: Any, own: Any, usual: Any) -> Any:
    """Return the setting, or the model's own where it is null. Recipes leave out the usual value of usual models."""
    value = own if value is None else value
    return None if value == own == usual else value


def _check_noise(noise: Tensor | None, config: GenerateConfig) -> None:
    expected = (1, 4, config.num_frames, config.height // 8, config.width // 8)
    if noise is not None and noise.shape != expected:
        raise UsageError(f"the noise has shape {list(noise.shape)}", hint=f"use shape {list(expected)}")


def _reported_once(emit: Emit) -> Report:
    reported: set[str] = set()

    def report(message: str) -> None:
        if message not in reported:
            reported.add(message)
            emit(Note(message))

    return report
