"""The record of a training run: every value that decides which weights come out, and what is written on the way."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from animdiff_cli.config.data_config import DataConfig
from animdiff_cli.core.choices import Dtype, LoraFormat, LrSchedule, MotionVersion, NoiseSchedule, Optimizer, Stage

Rate = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class TrainConfig(BaseModel):
    """One run: frozen. `data` says what it learns from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: Stage = Field(description="What is trained: motion-lora, domain-adapter or motion-module.")
    data: DataConfig
    model: str = Field(description="Image model: an alias, a diffusers folder or a checkpoint.")
    motion_module: str | None = Field(None, description="Motion module to start from; null makes a new one.")
    motion_version: MotionVersion | None = Field(None, description="Of a new module, or of a file that cannot tell.")
    domain_adapter: str | None = Field(None, description="Adapter to plug in, frozen: a file, `@scale` allowed.")
    out: Path | None = Field(None, description="Folder of the run; null names it after the videos.")

    rank: int = Field(64, ge=1, le=1024, description="Rank of the LoRA or adapter.")
    as_lora: bool = Field(
        False, description="Save what stage 1 learns as an ordinary LoRA: a look wanted, not one to leave out."
    )
    alpha: float | None = Field(None, gt=0, description="Scale of the LoRA times its rank; null is the rank.")
    spatial_rank: int = Field(
        32, ge=0, le=1024, description="Rank of the LoRA that absorbs appearance and is thrown away; 0 leaves it out."
    )
    spatial_mask: Share = Field(0.2, description="Share of clips whose motion is learned without that LoRA.")
    debias: float = Field(1.0, ge=0, le=10, description="Weight of the appearance-debiased loss; 0 turns it off.")
    caption_dropout: Share = Field(0.0, description="Share of captions replaced by nothing.")
    beta_schedule: NoiseSchedule = Field(
        "linear", description="Noise schedule of clips; of single frames in the domain-adapter stage."
    )
    beta_end: float = Field(
        0.012, gt=0, lt=1, description="What that schedule ends in; 0.02 for SDXL's beta module, as its authors render."
    )
    snr_gamma: float | None = Field(
        None, gt=0, description="Min-SNR weight of clips; small values make mostly-noise steps count. Null: none."
    )
    first_timestep: int = Field(0, ge=0, le=999, description="Train from this timestep up.")
    from_noise: Share = Field(
        0.0, description="Share of clips of which the model is shown noise alone, as where sampling begins."
    )
    noise_offset: float = Field(0.0, ge=0, le=1, description="Deviation of a constant added to each frame's noise.")

    steps: int = Field(500, ge=1, le=100_000_000, description="Optimiser steps.")
    batch: int = Field(1, ge=1, le=4096, description="Clips per process and micro-batch.")
    accumulation: int = Field(1, ge=1, le=4096, description="Micro-batches per optimiser step.")
    lr: Rate = Field(5e-4, description="Learning rate.")
    spatial_lr: Rate = Field(1e-4, description="Learning rate of the LoRA that absorbs appearance.")
    lr_schedule: LrSchedule = Field("constant", description="What follows the warm-up.")
    warmup: int = Field(0, ge=0, description="Steps over which the learning rate rises.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="Of AdamW.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients longer than this are shortened.")
    optimizer: Optimizer = Field("adamw", description="adamw8bit needs bitsandbytes and CUDA.")
    ema: Share = Field(
        0.0, description="Decay of the moving average that is saved instead of the last weights; 0: none."
    )
    dtype: Dtype = Field("auto", description="Number format of frozen weights and activations.")
    gradient_checkpointing: bool | None = Field(
        None, description="Compute activations again instead of keeping them; null: where memory is short."
    )
    cuda_graph: bool = Field(
        False, description="Replay each step as one CUDA graph: small models train several times faster."
    )
    variants: int = Field(4, ge=1, le=1024, description="Different cuts of each clip, encoded once and kept on disk.")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Decides initial weights, noise, timesteps and order.")

    sample_every: int = Field(0, ge=0, description="Steps between sample clips; 0 makes none.")
    sample_prompts: tuple[str, ...] = Field((), description="What they show; none are the first captions.")
    leak_stills: int = Field(
        2, ge=0, le=64, description="Prompted stills that tell at the end how much appearance leaked; 0 skips that."
    )
    save_every: int = Field(100, ge=1, description="Steps between checkpoints.")
    keep: int = Field(2, ge=1, description="Checkpoints that are kept.")
    tensorboard: bool = Field(False, description="Write event files too; needs tensorboard.")
    format: LoraFormat = Field("original", description="Layout of the result.")


#: what may differ when a run goes on: nothing here changes what a step computes
FREE_ON_RESUME = frozenset(
    {
        *("out", "steps", "sample_every", "sample_prompts", "save_every", "keep", "tensorboard", "format"),
        *("gradient_checkpointing", "cuda_graph", "leak_stills", "as_lora"),
    }
)

#: where a stage's defaults differ from those above. Learning rate, batch and dropout of the paper's stages are those
#: of the official YAMLs; rank 128 is the published adapter's.
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
