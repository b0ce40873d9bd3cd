"""The record of a training run: every setting that decides the weights, and what is written on the way."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from animdiff_cli.config.data_config import DataConfig
from animdiff_cli.config.weight_settings import ScaledRef, WeightRef
from animdiff_cli.core.choices import (
    Dtype,
    LoraFormat,
    LrSchedule,
    MotionVersion,
    NoiseSchedule,
    Optimizer,
    PredictionType,
    Stage,
)

Rate = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class TrainConfig(BaseModel):
    """One training run. Frozen; `data` describes its data set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: Stage = Field(description="Training stage: motion-lora, domain-adapter or motion-module.")
    data: DataConfig
    model: WeightRef = Field(description="Image model: an alias, a checkpoint file or a diffusers folder.")
    motion_module: WeightRef | None = Field(None, description="Motion module to start from; null makes a new one.")
    motion_version: MotionVersion | None = Field(
        None, description="Version of a new motion module, or of a file from which it cannot be detected."
    )
    domain_adapter: ScaledRef | None = Field(None, description="Frozen domain adapter, `REF@SCALE` or `{ref, scale}`.")
    out: Path | None = Field(
        None, description="Folder of the run, or the result as `NAME.safetensors`, with the run in the folder NAME."
    )

    rank: int = Field(64, ge=1, le=1024, description="Rank of the LoRA or adapter.")
    as_lora: bool = Field(
        False, description="Save the domain adapter as an ordinary LoRA, to use its style in renders."
    )
    alpha: float | None = Field(None, gt=0, examples=[8], description="LoRA alpha; null is the rank.")
    spatial_rank: int = Field(
        32, ge=0, le=1024, description="Rank of the LoRA that absorbs appearance and is discarded; 0 disables it."
    )
    spatial_mask: Share = Field(0.2, description="Fraction of clips trained without the spatial LoRA.")
    debias: float = Field(1.0, ge=0, le=10, description="Weight of the appearance-debiased loss; 0 disables it.")
    caption_dropout: Share = Field(0.0, description="Fraction of captions replaced by the empty prompt.")
    beta_schedule: NoiseSchedule = Field(
        "linear", description="Beta schedule of clips, or of single frames in the domain-adapter stage."
    )
    beta_end: float = Field(
        0.012, gt=0, lt=1, description="Last beta of the schedule; 0.02 for the SDXL beta module, as its authors use."
    )
    prediction_type: PredictionType | None = Field(
        None, description="What the UNet predicts: `epsilon`, `v_prediction` or `sample`; null is that of the model."
    )
    rescale_betas_zero_snr: bool | None = Field(
        None, description="Rescale the betas to zero terminal SNR; null is that of the model."
    )
    snr_gamma: float | None = Field(
        None,
        gt=0,
        examples=[5],
        description="Min-SNR gamma of clips; small values give noisy timesteps more weight. Null: off.",
    )
    first_timestep: int = Field(0, ge=0, le=999, description="Lowest timestep to train.")
    from_noise: Share = Field(0.0, description="Fraction of clips replaced by pure noise, as at the start of sampling.")
    noise_offset: float = Field(0.0, ge=0, le=1, description="Standard deviation of the noise offset per frame.")

    steps: int = Field(500, ge=1, le=100_000_000, description="Optimizer steps.")
    batch: int = Field(1, ge=1, le=4096, description="Clips per process and micro-batch.")
    accumulation: int = Field(1, ge=1, le=4096, description="Micro-batches per optimizer step (gradient accumulation).")
    lr: Rate = Field(5e-4, description="Learning rate.")
    spatial_lr: Rate = Field(1e-4, description="Learning rate of the spatial LoRA.")
    lr_schedule: LrSchedule = Field("constant", description="Learning rate schedule after the warmup.")
    warmup: int = Field(0, ge=0, description="Warmup steps.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="Weight decay of AdamW.")
    max_grad_norm: float = Field(1.0, gt=0, description="Maximum gradient norm; larger gradients are clipped.")
    optimizer: Optimizer = Field("adamw", description="Optimizer; `adamw8bit` needs bitsandbytes and CUDA.")
    ema: Share = Field(
        0.0, description="Decay of the exponential moving average, saved instead of the last weights; 0: off."
    )
    dtype: Dtype = Field("auto", description="Precision of frozen weights and activations.")
    gradient_checkpointing: bool | None = Field(
        None, description="Recompute activations in the backward pass; null: if memory is short."
    )
    cuda_graph: bool = Field(
        False, description="Replay each step as a CUDA graph; small models train several times faster."
    )
    variants: int = Field(4, ge=1, le=1024, description="Random samples of each clip, encoded once and cached on disk.")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Seed of initial weights, noise, timesteps and order.")

    sample_every: int = Field(0, ge=0, description="Steps between sample clips; 0: none.")
    sample_prompts: tuple[str, ...] = Field((), description="Prompts of sample clips; empty: the first captions.")
    leak_stills: int = Field(
        2, ge=0, le=64, description="Still frames rendered at the end to measure appearance leakage; 0: none."
    )
    save_every: int = Field(100, ge=1, description="Steps between checkpoints.")
    keep: int = Field(2, ge=1, description="Checkpoints to keep.")
    tensorboard: bool = Field(False, description="Also write TensorBoard event files.")
    format: LoraFormat = Field("original", description="Layout of the saved weights.")


#: settings that may change when a run is resumed: none of them changes what a step computes
FREE_ON_RESUME = frozenset(
    {
        *("out", "steps", "sample_every", "sample_prompts", "save_every", "keep", "tensorboard", "format"),
        *("gradient_checkpointing", "cuda_graph", "leak_stills", "as_lora"),
    }
)

#: defaults of a stage that differ from those above. Learning rate, batch size and dropout are those of the official
#: YAML files; rank 128 is that of the published adapter.
STAGE_DEFAULTS: Mapping[Stage, Mapping[str, object]] = MappingProxyType(
    {
        "motion-lora": MappingProxyType({}),
        "domain-adapter": MappingProxyType(
            {
                "rank": 128,
                "lr": 1e-4,
                "batch": 4,
                "caption_dropout": 0.1,
                "beta_schedule": "scaled_linear",
                "spatial_rank": 0,
                "debias": 0.0,
                "data.num_frames": 1,
                "variants": 16,
            }
        ),
        "motion-module": MappingProxyType(
            {
                "lr": 1e-4,
                "batch": 4,
                "caption_dropout": 0.1,
                "spatial_rank": 0,
                "debias": 0.0,
                "steps": 10_000,
                "save_every": 500,
                "ema": 0.999,
            }
        ),
    }
)
