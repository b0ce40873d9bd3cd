"""The record of a render: every value that decides which frames come out."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from animdiff_cli.core.choices import BetaSchedule, Dtype, LoraAlphaMode, MotionVersion, Scheduler, TimestepSpacing

MAX_SEED = 2**64 - 1
Dimension = Annotated[int, Field(ge=8, le=8192, multiple_of=8)]


class GenerateConfig(BaseModel):
    """One clip: frozen, free of paths that only this machine has, enough to render it again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str = Field(description="What to see and how it moves.")
    negative_prompt: str = Field("", description="What to keep out; used when guidance is on.")
    model: str = Field(description="Image model: an alias, a checkpoint file or a diffusers folder.")
    motion_module: str | None = Field(None, description="Motion module: an alias or a file; null renders still frames.")
    motion_version: MotionVersion | None = Field(None, description="Only for files that cannot tell it themselves.")
    motion_loras: tuple[str, ...] = Field((), description="MotionLoRAs, as references with an optional @scale.")
    loras: tuple[str, ...] = Field((), description="LoRAs of the image model, as references with an optional @scale.")
    lora_alpha_mode: LoraAlphaMode = Field(
        "alpha", description="Whether a LoRA's own alpha counts, as everywhere, or not, as in the official program."
    )
    domain_adapter: str | None = Field(None, description="What the motion module's training clips looked like; @scale.")
    vae: str | None = Field(None, description="Image decoder in place of the model's own: an alias, file or folder.")
    embeddings: tuple[str, ...] = Field(
        (), description="Textual inversions; the name of each file is a word of the prompt."
    )
    seed: int = Field(ge=0, le=MAX_SEED, description="Decides the noise; any unsigned 64-bit integer.")
    steps: int = Field(25, ge=1, le=999, description="Denoising steps.")
    guidance_scale: float = Field(7.5, ge=0, le=100, description="Classifier-free guidance; 1 or less turns it off.")
    scheduler: Scheduler = Field("ddim", description="Sampler that walks from noise to clip.")
    beta_schedule: BetaSchedule = Field(
        "auto", description="Noise schedule; auto is what motion modules are trained on, or the model's own for stills."
    )
    beta_end: float | None = Field(
        None, gt=0, lt=1, description="Last step of the noise schedule; null is what the motion module was trained on."
    )
    timestep_spacing: TimestepSpacing = Field(
        "leading", description="Which of the 1000 training steps are taken; distilled modules want trailing."
    )
    num_frames: int = Field(16, ge=1, le=4096, description="Frames in the clip.")
    fps: float = Field(8.0, gt=0, le=120, description="Frames per second of the written clip.")
    width: Dimension = Field(512, description="Width in pixels, a multiple of 8.")
    height: Dimension = Field(512, description="Height in pixels, a multiple of 8.")
    clip_skip: int = Field(0, ge=0, le=11, description="Text-encoder layers to leave out at the end, as in diffusers.")
    dtype: Dtype = Field("auto", description="Number format of the weights; auto picks per device.")
