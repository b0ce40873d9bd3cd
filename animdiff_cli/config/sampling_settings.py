"""How a clip is sampled: noise, steps and guidance, and how a long clip is divided into windows."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from animdiff_cli.config.varying import Varying
from animdiff_cli.core.choices import (
    BetaSchedule,
    ContextFuse,
    ContextMode,
    ContextSchedule,
    FreeInitFilter,
    InitialNoise,
    PredictionType,
    Scheduler,
    StepCache,
    TimestepSpacing,
)
from animdiff_cli.core.curves import Curve

MAX_SEED = 2**64 - 1
#: how a long clip is divided into windows
CONTEXT_SETTINGS = tuple(f"context_{name}" for name in ("length", "overlap", "stride", "schedule", "fuse", "mode"))


class SamplingSettings(BaseModel):
    """The settings of the sampler: over the steps, and over the frames."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(ge=0, le=MAX_SEED, description="Seed of the noise; any unsigned 64-bit integer.")
    steps: int = Field(25, ge=1, le=999, description="Denoising steps.")
    guidance_scale: Annotated[float | Curve, Varying(Annotated[float, Field(ge=0, le=100)])] = Field(
        7.5, description="Classifier-free guidance; 1 or less turns it off."
    )
    guidance_until: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the steps, from the first on, that have guidance; the others take half the time each.",
    )
    motion_scale: Annotated[float | Curve, Varying(Annotated[float, Field(ge=0, le=10)])] = Field(
        1.0, description="How much a clip moves: factor on what the motion module adds to the frames."
    )
    scheduler: Scheduler = Field("ddim", description="Scheduler (sampler).")
    beta_schedule: BetaSchedule = Field(
        "auto", description="Beta schedule; `auto` is that of the motion module, or of the image model for stills."
    )
    beta_end: float | None = Field(
        None,
        gt=0,
        lt=1,
        examples=[0.012],
        description="Last beta of the schedule; null is the value the motion module was trained with.",
    )
    timestep_spacing: TimestepSpacing = Field(
        "leading", description="How timesteps are spaced; distilled motion modules need `trailing`."
    )
    prediction_type: PredictionType | None = Field(
        None, description="What the UNet predicts: `epsilon`, `v_prediction` or `sample`; null is that of the model."
    )
    rescale_betas_zero_snr: bool | None = Field(
        None, description="Rescale the betas to zero terminal SNR; null is that of the model."
    )
    noise_schedule: InitialNoise = Field(
        "random", description="Noise of a long clip: `random`, or `free-noise`, which windows share in shuffled order."
    )
    cache: StepCache = Field(
        "off",
        description="`deep:N` computes the deep layers of the UNet in every Nth step and reuses them in between"
        " (DeepCache): faster, and not exact.",
    )
    free_init: int = Field(0, ge=0, le=20, description="FreeInit: number of passes over the clip; 0 and 1 turn it off.")
    free_init_filter: FreeInitFilter = Field(
        "butterworth", description="FreeInit: filter that separates slow changes from fast ones."
    )
    free_init_spatial_cutoff: float = Field(
        0.25, gt=0, le=1, description="FreeInit: spatial frequencies to keep, as a fraction of the highest."
    )
    free_init_temporal_cutoff: float = Field(
        0.25, gt=0, le=1, description="FreeInit: temporal frequencies to keep, as a fraction of the highest."
    )
    free_init_order: int = Field(4, ge=1, le=20, description="FreeInit: order of the Butterworth filter.")
    num_frames: int = Field(16, ge=1, le=4096, description="Number of frames; with `continue_from`, of new frames.")
    loop: bool = Field(False, description="Render a loop: the last frame leads into the first.")
    context_length: int | None = Field(
        None, ge=2, le=1024, description="Frames of a window; null: one window for a clip that fits into the module."
    )
    context_overlap: int | None = Field(
        None, ge=0, le=1023, description="Frames that neighbouring windows share; null is a quarter of a window."
    )
    context_stride: int | None = Field(
        None, ge=1, le=10, description="`uniform` and `looped` add windows of every 2nd, 4th … frame, up to 2^(N-1)."
    )
    context_schedule: ContextSchedule | None = Field(
        None, description="Order of the windows; null is `static`, and `looped` for a loop."
    )
    context_fuse: ContextFuse | None = Field(None, description="Weights of overlapping windows; null is `pyramid`.")
    context_mode: ContextMode = Field(
        "auto",
        description="What is windowed: the whole UNet (`unet`) or the temporal transformers alone (`plug`), which is"
        " faster and needs memory for every frame; `auto` uses `plug` if memory allows.",
    )
