"""The record of a render: every value that decides which frames come out."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from animdiff_cli.config.input_settings import ImageSource, MaskSource, RegionSource, VideoSource
from animdiff_cli.config.positions import check_positions
from animdiff_cli.config.varying import Varying
from animdiff_cli.config.weight_settings import ControlRef, ImagePromptRef, ScaledRef, WeightRef
from animdiff_cli.core.choices import (
    BetaSchedule,
    ContextFuse,
    ContextMode,
    ContextSchedule,
    Dtype,
    FreeInitFilter,
    ImageMethod,
    InitialNoise,
    LoraAlphaMode,
    LowVram,
    MotionVersion,
    PiaVariant,
    PredictionType,
    Preprocessor,
    PromptInterpolation,
    PromptSyntax,
    Scheduler,
    StepCache,
    Switch,
    TimestepSpacing,
    WeightsDtype,
)
from animdiff_cli.core.curves import Curve, TextTrack, largest
from animdiff_cli.core.denoising import num_denoised
from animdiff_cli.core.prompt_travel import MAX_PROMPT
from animdiff_cli.core.reuse import reuse_interval
from animdiff_cli.core.where import Timeline

MAX_SEED = 2**64 - 1
MAX_ENTRIES = 100  # of a list
#: how a long clip is divided into windows
CONTEXT_SETTINGS = tuple(f"context_{name}" for name in ("length", "overlap", "stride", "schedule", "fuse", "mode"))
Prompt = Annotated[str, Field(max_length=MAX_PROMPT)]
Dimension = Annotated[int, Field(ge=8, le=8192, multiple_of=8)]


class GenerateConfig(BaseModel):
    """One clip. Frozen, without paths of outputs: with the weights, enough to render the same frames again.

    Fields that name weights are listed in `config.weight_settings`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: Annotated[str | TextTrack, Varying(Prompt)] = Field(description="Text prompt.")
    negative_prompt: Annotated[str | TextTrack, Varying(Prompt)] = Field(
        "", description="Negative prompt; used when guidance is on."
    )
    prompt_interpolation: PromptInterpolation = Field(
        "linear", description="How one text leads into the next: `linear`, or `slerp` on an arc for each token."
    )
    prompt_hold: float = Field(
        0.0, ge=0, le=1, description="Share of the way to the next text for which a text is held; 1 changes at once."
    )
    prompt_syntax: PromptSyntax = Field(
        "a1111",
        description="How weights are written: `(word:1.2)`, `[word]` and `BREAK`, `word++` of compel, or not at all.",
    )
    model: WeightRef = Field(description="Image model: an alias, a checkpoint file or a diffusers folder.")
    motion_module: WeightRef | None = Field(
        None, description="Motion module: an alias or a file; null renders still frames."
    )
    motion_modules: tuple[ScaledRef, ...] = Field(
        (),
        max_length=MAX_ENTRIES,
        description="Several motion modules of one layout, each `REF@SCALE` or `{ref, scale}`, in place of"
        " `motion_module`; what they add to the frames is summed.",
    )
    motion_version: MotionVersion | None = Field(
        None, description="Version of the motion module, for files from which it cannot be detected."
    )
    motion_loras: tuple[ScaledRef, ...] = Field(
        (), max_length=MAX_ENTRIES, description="MotionLoRAs, each `REF@SCALE` or `{ref, scale}`."
    )
    loras: tuple[ScaledRef, ...] = Field(
        (), max_length=MAX_ENTRIES, description="LoRAs of the image model, each `REF@SCALE` or `{ref, scale}`."
    )
    lora_alpha_mode: LoraAlphaMode = Field(
        "alpha", description="`alpha`: use the LoRA's own value. `official`: ignore it, as the original code does."
    )
    domain_adapter: ScaledRef | None = Field(
        None, description="Domain adapter of the motion module, `REF@SCALE` or `{ref, scale}`."
    )
    vae: WeightRef | None = Field(
        None, description="VAE to use instead of the model's own: an alias, a file or a folder."
    )
    embeddings: tuple[WeightRef, ...] = Field(
        (), max_length=MAX_ENTRIES, description="Textual inversions; the name of each file is a token of the prompt."
    )
    controls: tuple[ControlRef, ...] = Field(
        (),
        max_length=MAX_ENTRIES,
        description="ControlNets and SparseCtrls with the pictures they follow, each `REF=SOURCE@SCALE` or a record of"
        " `ref`, `source`, `scale`, `start`, `end`, `frames`, `section`, `preprocess`, `fit`, `after_end` and"
        " `guess_mode`.",
    )
    preprocess: Preprocessor = Field(
        "auto",
        description="What makes control pictures of the frames of `controls`; `auto` is what the network expects.",
    )
    image_prompts: tuple[ImagePromptRef, ...] = Field(
        (),
        max_length=MAX_ENTRIES,
        description="IP-Adapters with the pictures that they read as prompts, each `REF=PICTURE@SCALE` or a record of"
        " `ref`, `source`, `scale`, `start`, `end`, `frames`, `section`, `fit` and `after_end`.",
    )
    image_encoder: WeightRef | None = Field(
        None,
        description="Image encoder of `image_prompts`: an alias, a file or a folder; null is the folder image_encoder/"
        " beside the IP-Adapter.",
    )
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
        None, gt=0, lt=1, description="Last beta of the schedule; null is the value the motion module was trained with."
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
        description="`deep:N` computes the deep blocks of the UNet in every Nth step and reuses them in between"
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
    continue_from: str | None = Field(
        None, min_length=1, max_length=MAX_PROMPT, description="Clip to continue: a file or a folder of frames."
    )
    continue_frames: int | None = Field(
        None,
        ge=1,
        le=1023,
        description="Last frames of that clip to keep in the window; null is half a window.",
    )
    continue_new_only: bool = Field(False, description="Write the new frames without those of the continued clip.")
    video: VideoSource | None = Field(
        None,
        description="Video to render anew: a video, a picture or a folder of frames, or a record of `source`,"
        " `section`, `fps`, `fit` and `after_end`. It gives size, frame rate and number of frames.",
    )
    mask: MaskSource | None = Field(
        None,
        description="Where `video` is repainted: white in a picture, a video or a folder of frames, or a record of"
        " `source`, `feather`, `section`, `fit` and `after_end`. Black keeps its pixels.",
    )
    images: tuple[ImageSource, ...] = Field(
        (),
        max_length=MAX_ENTRIES,
        description="Pictures that the clip begins with, passes through or ends at, each `PATH@WHERE` or a record of"
        " `source`, `frames` and `fit`. Without positions they are spread over the clip.",
    )
    image_method: ImageMethod = Field(
        "auto",
        description="How `images` become frames: `sparsectrl` and `pia` by these networks, `blend` by noise mixed with"
        " the pictures. `auto` is the first of them whose weights are on this machine.",
    )
    pia_magnitude: int = Field(0, ge=0, le=2, description="How much a clip of PIA moves: 0 small, 1 moderate, 2 large.")
    pia_variant: PiaVariant | None = Field(
        None,
        description="How alike the frames of PIA are to the picture over time: `animation`, `loop` or `style`, which"
        " takes its layout alone. Null is `loop` for a clip with `loop`, otherwise `animation`.",
    )
    regions: tuple[RegionSource, ...] = Field(
        (),
        max_length=MAX_ENTRIES,
        description="Parts of the picture with prompts of their own, each `MASK=PROMPT` or a record of `source`,"
        " `prompt`, `weight`, `feather`, `frames`, `section`, `fit` and `after_end`. White in the mask is the region;"
        " `prompt` is for the rest.",
    )
    denoise: Annotated[float | Curve, Varying(Annotated[float, Field(ge=0, le=1)])] = Field(
        0.8,
        description="How much of `video`, or of the frames between `images`, is rendered anew: 0 keeps the frames, 1"
        " little more than their layout.",
    )
    invert: bool = Field(
        False, description="Begin from the noise that DDIM inversion finds for `video` instead of random noise."
    )
    audio: bool = Field(True, description="Keep the audio of `video` in MP4 and WebM.")
    fps: float = Field(8.0, gt=0, le=120, description="Frames per second of the written clip.")
    width: Dimension = Field(512, description="Width in pixels, a multiple of 8.")
    height: Dimension = Field(512, description="Height in pixels, a multiple of 8.")
    clip_skip: int = Field(0, ge=0, le=11, description="Last layers of the text encoder to skip, as in diffusers.")
    dtype: Dtype = Field("auto", description="Precision of the weights; `auto` chooses by device.")
    weights_dtype: WeightsDtype = Field(
        "same", description="How weights of the UNet are stored: as they compute, or in 8 bits (`fp8`)."
    )
    low_vram: LowVram = Field(
        "auto",
        description="Less memory on the device, more time: `offload` keeps text encoders and VAE in main memory,"
        " `sequential` the UNet too; `auto` chooses by the memory that is free. No pixel depends on it.",
    )
    kernels: bool = Field(
        True,
        description="Use this program's kernels where it has faster ones than PyTorch for the device: the same"
        " arithmetic within rounding.",
    )
    cuda_graph: Switch = Field(
        "auto",
        description="Replay UNet calls as CUDA graphs, which takes memory of its own: `on`, `off` or `auto`: for small"
        " UNets.",
    )
    compile: Switch = Field(
        "auto",
        description="Compile blocks of the networks with `torch.compile`: `on`, `off` or `auto`, which is off until"
        " measurements say where it pays. Compiled code is kept in the cache folder.",
    )

    @property
    def inexact(self) -> tuple[str, ...]:
        """The settings of this clip that save time by other frames."""
        late = self.has_guidance and self.guidance_until < 1
        return (("cache",) if reuse_interval(self.cache) > 1 else ()) + (("guidance_until",) if late else ())

    @property
    def has_guidance(self) -> bool:
        """Whether classifier-free guidance is on, in some frame of some step at least."""
        return largest(self.guidance_scale) > 1

    @property
    def timeline(self) -> Timeline:
        """What positions of curves and tracks refer to."""
        return Timeline(self.num_frames, self.fps, self.steps_taken, self.loop)

    @property
    def steps_taken(self) -> int:
        """How many of `steps` the sampler takes: the last ones, if the clip begins from a video."""
        begins_late = self.video or self.blends_images
        return max(1, num_denoised(self.steps, largest(self.denoise))) if begins_late else self.steps

    @property
    def blends_images(self) -> bool:
        """Whether the clip begins from `images` mixed with noise."""
        return bool(self.images) and self.image_method in ("auto", "blend")

    @model_validator(mode="after")
    def _check_positions(self) -> Self:
        check_positions(self, self.timeline)
        return self
