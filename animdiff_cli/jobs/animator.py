"""An image model with its motion module plugged in, loaded once and ready to render clips."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.choices import MotionVersion
from animdiff_cli.core.events import Emit, FramesDecoded, Loading, Note, StepDone, ignore
from animdiff_cli.diffusion import sdxl
from animdiff_cli.diffusion.build import Components, check_model, load_components, model_files, part_config
from animdiff_cli.diffusion.decode import decode
from animdiff_cli.diffusion.denoise import Conditioning, denoise
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.memory import tell_out_of_memory
from animdiff_cli.diffusion.noise import initial_noise, seeded_generator
from animdiff_cli.diffusion.schedulers import BETA_END, make_scheduler
from animdiff_cli.diffusion.text import encode_prompt
from animdiff_cli.jobs.recipe import Recipe, WeightHashes, make_recipe
from animdiff_cli.motion import MotionModule, check_fit, load_motion_module, plug
from animdiff_cli.weights.fingerprint import sha256_of_all

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Weights:
    """Which files a render uses, found before anything is loaded."""

    model: Path  # diffusers folder or single file
    motion_module: Path | None = None
    motion_version: MotionVersion | None = None

    def hashes(self) -> WeightHashes:
        """Hash every weight file of the render, grouped by part."""
        root = self.model if self.model.is_dir() else self.model.parent
        found = {"model": sha256_of_all(model_files(self.model), root)}
        if self.motion_module:
            found["motion_module"] = sha256_of_all([self.motion_module], self.motion_module.parent)
        return found


@dataclass(frozen=True, slots=True)
class Rendered:
    """The frames of one clip, uint8 [F, H, W, 3], and the recipe that makes them again."""

    frames: NDArray[np.uint8]
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Animator:
    """Loaded weights; `render` may be called any number of times."""

    components: Components
    motion: MotionModule | None
    hashes: Future[WeightHashes]  # computed while the weights load and the first steps run

    def render(self, config: GenerateConfig, emit: Emit = ignore, *, job: int = 1, jobs: int = 1) -> Rendered:
        """Render one clip. Raises `DeviceError` when memory runs out or the numbers overflow."""
        config = self._resolved(config)
        parts, say = self.components, _said_once(emit)
        generator = seeded_generator(config.seed)
        with tell_out_of_memory(parts.plan, config.width, config.height, config.num_frames):
            latents = denoise(
                parts.unet,
                self._scheduler(config),
                initial_noise(generator, config.num_frames, config.height // 8, config.width // 8),
                self._conditioning(config, say),
                steps=config.steps,
                generator=generator,
                on_step=lambda done, total: emit(StepDone(done, total, job, jobs)),
            )
            on_decoded = lambda done, total: emit(FramesDecoded(done, total))  # noqa: E731
            frames = decode(parts.vae, latents, on_decoded=on_decoded, say=say)
        return Rendered(frames, make_recipe(config, self.hashes.result(), parts.plan.kind))

    def _scheduler(self, config: GenerateConfig) -> Any:
        return make_scheduler(
            config.scheduler,
            config.beta_schedule,
            self.components.prediction_type,
            beta_end=self.motion.spec.traits.beta_end if self.motion else BETA_END,
        )

    def _conditioning(self, config: GenerateConfig, say: Say) -> Conditioning:
        guided = config.guidance_scale > 1
        if self.components.is_sdxl:
            told = self.motion.spec.traits.size_ids if self.motion else None
            return sdxl.condition(
                self.components,
                config.prompt,
                config.negative_prompt if guided else None,
                config.guidance_scale,
                told or sdxl.sizes_of(config.height, config.width),
                clip_skip=config.clip_skip,
                say=say,
            )
        negative = self._encode(config.negative_prompt, config.clip_skip, say) if guided else None
        return Conditioning(self._encode(config.prompt, config.clip_skip, say), negative, config.guidance_scale)

    def _encode(self, prompt: str, clip_skip: int, say: Say) -> Tensor:
        parts = self.components
        return encode_prompt(parts.tokenizer, parts.text_encoder, prompt, clip_skip=clip_skip, say=say)

    def _resolved(self, config: GenerateConfig) -> GenerateConfig:
        """Write what `auto` came to into the config, so that the recipe says it."""
        own = self.motion.spec.traits.beta_schedule if self.motion else self.components.beta_schedule
        betas = own if config.beta_schedule == "auto" else config.beta_schedule
        return config.model_copy(update={"beta_schedule": betas, "dtype": self.components.plan.dtype})


def load_animator(weights: Weights, plan: DevicePlan, *, num_frames: int, emit: Emit = ignore) -> Animator:
    """Load an image model and plug its motion module in.

    Everything that can be refused is refused before the image model's weights are read: an incomplete folder, a
    module that does not fit, more than `num_frames` the module has positions for.
    """
    check_model(weights.model)
    motion = _load_motion(weights, plan, num_frames, emit) if weights.motion_module else None
    pool = ThreadPoolExecutor(1, thread_name_prefix="sha256")
    hashes = pool.submit(weights.hashes)
    pool.shutdown(wait=False)  # the recipe needs them, at the end
    emit(Loading(f"image model {weights.model.name}"))
    components = load_components(weights.model, plan)
    if motion:
        plug(components.unet, motion)
    return Animator(components, motion, hashes)


def _load_motion(weights: Weights, plan: DevicePlan, num_frames: int, emit: Emit) -> MotionModule:
    assert weights.motion_module
    emit(Loading(f"motion module {weights.motion_module.name}"))
    motion = load_motion_module(
        weights.motion_module, weights.motion_version, dtype=plan.torch_dtype, device=plan.device
    )
    motion.check_frames(num_frames)
    check_fit(part_config(weights.model, "unet"), motion.spec)
    return motion


def _said_once(emit: Emit) -> Say:
    said: set[str] = set()

    def say(message: str) -> None:
        if message not in said:
            said.add(message)
            emit(Note(message))

    return say
