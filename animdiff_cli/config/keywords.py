"""Keyword arguments of the Python API. Written from the schema by `python -m tools.docs`; do not edit."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Required, TypedDict

from animdiff_cli.core.choices import (
    AfterEnd,
    BetaSchedule,
    ContextFuse,
    ContextMode,
    ContextSchedule,
    Dtype,
    Easing,
    Fit,
    FreeInitFilter,
    ImageMethod,
    InitialNoise,
    LoraAlphaMode,
    LoraFormat,
    LowVram,
    LrSchedule,
    MotionVersion,
    NoiseSchedule,
    Optimizer,
    PiaVariant,
    PredictionType,
    Preprocessor,
    PromptInterpolation,
    PromptSyntax,
    Scheduler,
    Shot,
    StepCache,
    Switch,
    TimestepSpacing,
    WeightsDtype,
)

#: weights: an alias, a path, `hf:org/repo/file`, `civitai:model@version` or an https URL
Ref = str | PathLike[str]


#: a number, or numbers by position: `"0:1,50%:2"` or `{0: 1, "50%": 2}`
Amount = float | str | Mapping[int | str, float]
#: a text, or texts by position: `{0: "day", "50%": "night"}`
Texts = str | Mapping[int | str, str]


class ScaledWeights(TypedDict, total=False):
    """Weights and how strongly they are applied. As text: `"zoom-in@0.8"`."""

    ref: Required[Ref]
    scale: Amount


#: weights, with a scale as `"zoom-in@0.8"` or as a mapping
ScaledRef = Ref | ScaledWeights


class Control(TypedDict, total=False):
    """A ControlNet or SparseCtrl with the pictures it follows. As text: `"controlnet-canny=dance.mp4@0.8"`."""

    ref: Required[Ref]
    source: Required[Ref]
    scale: Amount
    start: float
    end: float
    section: str
    frames: str | Sequence[int | str]
    preprocess: Preprocessor
    fit: Fit
    after_end: AfterEnd
    guess_mode: bool


#: a control as text or as a mapping
ControlRef = str | Control


class ImagePrompt(TypedDict, total=False):
    """An IP-Adapter with the pictures that it reads as a prompt. As text: `"ip-adapter=fox.png@0.6"`."""

    ref: Required[Ref]
    source: Required[Ref]
    scale: Amount
    start: float
    end: float
    section: str
    frames: str | Sequence[int | str]
    fit: Fit
    after_end: AfterEnd


#: an image prompt as text or as a mapping
ImagePromptRef = str | ImagePrompt


class GenerateSettings(TypedDict, total=False):
    """Settings of a render."""

    negative_prompt: Texts
    """Negative prompt; used when guidance is on."""
    prompt_interpolation: PromptInterpolation
    """How one text leads into the next: `linear`, or `slerp` on an arc for each token."""
    prompt_hold: float
    """Share of the way to the next text for which a text is held; 1 changes at once."""
    prompt_syntax: PromptSyntax
    """How weights are written: `(word:1.2)`, `[word]` and `BREAK`, `word++` of compel, or not at all."""
    model: Ref
    """Image model: an alias, a checkpoint file or a diffusers folder."""
    motion_module: Ref | None
    """Motion module: an alias or a file; null renders still frames."""
    motion_modules: Sequence[ScaledRef]
    """Several motion modules of one layout, each `REF@SCALE` or `{ref, scale}`, in place of `motion_module`; what
    they add to the frames is summed.
    """
    motion_version: MotionVersion | None
    """Version of the motion module, for files from which it cannot be detected."""
    motion_loras: Sequence[ScaledRef]
    """MotionLoRAs, each `REF@SCALE` or `{ref, scale}`."""
    loras: Sequence[ScaledRef]
    """LoRAs of the image model, each `REF@SCALE` or `{ref, scale}`."""
    lora_alpha_mode: LoraAlphaMode
    """`alpha`: use the LoRA's own value. `official`: ignore it, as the original code does."""
    domain_adapter: ScaledRef | None
    """Domain adapter of the motion module, `REF@SCALE` or `{ref, scale}`."""
    vae: Ref | None
    """VAE to use instead of the model's own: an alias, a file or a folder."""
    embeddings: Sequence[Ref]
    """Textual inversions; the name of each file is a token of the prompt."""
    controls: Sequence[ControlRef]
    """ControlNets and SparseCtrls with the pictures they follow, each `REF=SOURCE@SCALE` or a record of `ref`,
    `source`, `scale`, `start`, `end`, `frames`, `section`, `preprocess`, `fit`, `after_end` and `guess_mode`.
    """
    preprocess: Preprocessor
    """What makes control pictures of the frames of `controls`; `auto` is what the network expects."""
    preprocess_weights: Sequence[Ref]
    """Weights of the networks that make control pictures, in place of the usual ones of `preprocess`."""
    image_prompts: Sequence[ImagePromptRef]
    """IP-Adapters with the pictures that they read as prompts, each `REF=PICTURE@SCALE` or a record of `ref`,
    `source`, `scale`, `start`, `end`, `frames`, `section`, `fit` and `after_end`.
    """
    image_encoder: Ref | None
    """Image encoder of `image_prompts`: an alias, a file or a folder; null is the folder image_encoder/ beside the
    IP-Adapter.
    """
    seed: int
    """Seed of the noise; any unsigned 64-bit integer."""
    steps: int
    """Denoising steps."""
    guidance_scale: Amount
    """Classifier-free guidance; 1 or less turns it off."""
    guidance_until: float
    """Share of the steps, from the first on, that have guidance; the others take half the time each."""
    motion_scale: Amount
    """How much a clip moves: factor on what the motion module adds to the frames."""
    scheduler: Scheduler
    """Scheduler (sampler)."""
    beta_schedule: BetaSchedule
    """Beta schedule; `auto` is that of the motion module, or of the image model for stills."""
    beta_end: float | None
    """Last beta of the schedule; null is the value the motion module was trained with."""
    timestep_spacing: TimestepSpacing
    """How timesteps are spaced; distilled motion modules need `trailing`."""
    prediction_type: PredictionType | None
    """What the UNet predicts: `epsilon`, `v_prediction` or `sample`; null is that of the model."""
    rescale_betas_zero_snr: bool | None
    """Rescale the betas to zero terminal SNR; null is that of the model."""
    noise_schedule: InitialNoise
    """Noise of a long clip: `random`, or `free-noise`, which windows share in shuffled order."""
    cache: StepCache
    """`deep:N` computes the deep layers of the UNet in every Nth step and reuses them in between (DeepCache):
    faster, and not exact.
    """
    free_init: int
    """FreeInit: number of passes over the clip; 0 and 1 turn it off."""
    free_init_filter: FreeInitFilter
    """FreeInit: filter that separates slow changes from fast ones."""
    free_init_spatial_cutoff: float
    """FreeInit: spatial frequencies to keep, as a fraction of the highest."""
    free_init_temporal_cutoff: float
    """FreeInit: temporal frequencies to keep, as a fraction of the highest."""
    free_init_order: int
    """FreeInit: order of the Butterworth filter."""
    num_frames: int
    """Number of frames; with `continue_from`, of new frames."""
    loop: bool
    """Render a loop: the last frame leads into the first."""
    context_length: int | None
    """Frames of a window; null: one window for a clip that fits into the module."""
    context_overlap: int | None
    """Frames that neighbouring windows share; null is a quarter of a window."""
    context_stride: int | None
    """`uniform` and `looped` add windows of every 2nd, 4th … frame, up to 2^(N-1)."""
    context_schedule: ContextSchedule | None
    """Order of the windows; null is `static`, and `looped` for a loop."""
    context_fuse: ContextFuse | None
    """Weights of overlapping windows; null is `pyramid`."""
    context_mode: ContextMode
    """What is windowed: the whole UNet (`unet`) or the temporal transformers alone (`plug`), which is faster and
    needs memory for every frame; `auto` uses `plug` if memory allows.
    """
    continue_from: str | None
    """Clip to continue: a file or a folder of frames."""
    continue_frames: int | None
    """Last frames of that clip to keep in the window; null is half a window."""
    continue_new_only: bool
    """Write the new frames without those of the continued clip."""
    video: str | None
    """Video to render anew: a video, a picture or a folder of frames, or a record of `source`, `section`, `fps`,
    `fit` and `after_end`. It gives size, frame rate and number of frames.
    """
    mask: str | None
    """Where `video` is repainted: white in a picture, a video or a folder of frames, or a record of `source`,
    `feather`, `section`, `fit` and `after_end`. Black keeps its pixels.
    """
    images: Sequence[str]
    """Pictures that the clip begins with, passes through or ends at, each `PATH@WHERE` or a record of `source`,
    `frames` and `fit`. Without positions they are spread over the clip.
    """
    image_method: ImageMethod
    """How `images` become frames: `sparsectrl` and `pia` by these networks, `blend` by noise mixed with the
    pictures. `auto` is the first of them whose weights are on this machine.
    """
    pia_magnitude: int
    """How much a clip of PIA moves: 0 small, 1 moderate, 2 large."""
    pia_variant: PiaVariant | None
    """How alike the frames of PIA are to the picture over time: `animation`, `loop` or `style`, which takes its
    layout alone. Null is `loop` for a clip with `loop`, otherwise `animation`.
    """
    regions: Sequence[str]
    """Parts of the picture with prompts of their own, each `MASK=PROMPT` or a record of `source`, `prompt`,
    `weight`, `feather`, `frames`, `section`, `fit` and `after_end`. White in the mask is the region; `prompt` is
    for the rest.
    """
    denoise: Amount
    """How much of `video`, or of the frames between `images`, is rendered anew: 0 keeps the frames, 1 little more
    than their layout.
    """
    invert: bool
    """Begin from the noise that DDIM inversion finds for `video` instead of random noise."""
    audio: bool
    """Keep the audio of `video` in MP4 and WebM."""
    fps: float
    """Frames per second of the written clip."""
    width: int
    """Width in pixels, a multiple of 8."""
    height: int
    """Height in pixels, a multiple of 8."""
    clip_skip: int
    """Last layers of the text encoder to skip, as in diffusers."""
    dtype: Dtype
    """Precision of the weights; `auto` chooses by device."""
    weights_dtype: WeightsDtype
    """How weights of the UNet are stored: as they compute, or in 8 bits (`fp8`)."""
    low_vram: LowVram
    """Less memory on the device, more time: `offload` keeps text encoders and VAE in main memory, `sequential` the
    UNet too; `auto` chooses by the memory that is free. No pixel depends on it.
    """
    kernels: bool
    """Use this program's kernels where it has faster ones than PyTorch for the device: the same arithmetic within
    rounding.
    """
    cuda_graph: Switch
    """Replay UNet calls as CUDA graphs, which takes memory of its own: `on`, `off` or `auto`: for small UNets."""
    compile: Switch
    """Compile blocks of the networks with `torch.compile`: `on`, `off` or `auto`, which compiles nothing: on a CPU
    it does not pay, on a GPU it is not measured. Compiled code is kept in the cache folder.
    """


class DataSettings(TypedDict, total=False):
    """The data set of a training run, except its videos."""

    video_folder: Ref | None
    """Folder of the files in a list; null is that of the list."""
    caption: str | None
    """Caption of videos without one."""
    num_frames: int
    """Frames per clip."""
    stride: int
    """Use every Nth frame."""
    size: int
    """Shorter side of a clip in pixels; the default is 512 on SDXL."""
    square: bool
    """Crop to squares instead of the nearest aspect bucket."""
    fps: float | None
    """Frame rate before `stride`; null is that of the video."""
    avoid_cuts: bool
    """Sample no clip across a scene cut."""
    shot: Shot | None
    """Camera move to synthesize from the videos or images."""
    shot_speed: float | str | tuple[float, float]
    """Range of the distance the camera moves in a clip, as in `0.3-0.6`."""
    shot_easing: Easing
    """`linear`: constant speed. `smooth`: start and end at rest."""
    horizontal_flip: bool
    """Mirror half of the clips; a camera move keeps its direction."""
    seed: int
    """Seed of the sampled clips; any unsigned 64-bit integer."""
    limit: int | None
    """Use only the first N videos."""


class TrainSettings(TypedDict, total=False):
    """Settings of a training run."""

    data: DataSettings
    """Settings of the data set."""
    model: Ref
    """Image model: an alias, a checkpoint file or a diffusers folder."""
    motion_module: Ref | None
    """Motion module to start from; null makes a new one."""
    motion_version: MotionVersion | None
    """Version of a new motion module, or of a file from which it cannot be detected."""
    domain_adapter: ScaledRef | None
    """Frozen domain adapter, `REF@SCALE` or `{ref, scale}`."""
    out: Ref | None
    """Folder of the run, or the result as `NAME.safetensors`, with the run in the folder NAME."""
    rank: int
    """Rank of the LoRA or adapter."""
    as_lora: bool
    """Save the domain adapter as an ordinary LoRA, to use its style in renders."""
    alpha: float | None
    """LoRA alpha; null is the rank."""
    spatial_rank: int
    """Rank of the LoRA that absorbs appearance and is discarded; 0 disables it."""
    spatial_mask: float
    """Fraction of clips trained without the spatial LoRA."""
    debias: float
    """Weight of the appearance-debiased loss; 0 disables it."""
    caption_dropout: float
    """Fraction of captions replaced by the empty prompt."""
    beta_schedule: NoiseSchedule
    """Beta schedule of clips, or of single frames in the domain-adapter stage."""
    beta_end: float
    """Last beta of the schedule; 0.02 for the SDXL beta module, as its authors use."""
    prediction_type: PredictionType | None
    """What the UNet predicts: `epsilon`, `v_prediction` or `sample`; null is that of the model."""
    rescale_betas_zero_snr: bool | None
    """Rescale the betas to zero terminal SNR; null is that of the model."""
    snr_gamma: float | None
    """Min-SNR gamma of clips; small values give noisy timesteps more weight. Null: off."""
    first_timestep: int
    """Lowest timestep to train."""
    from_noise: float
    """Fraction of clips replaced by pure noise, as at the start of sampling."""
    noise_offset: float
    """Standard deviation of the noise offset per frame."""
    steps: int
    """Optimizer steps."""
    batch: int
    """Clips per process and micro-batch."""
    accumulation: int
    """Micro-batches per optimizer step (gradient accumulation)."""
    lr: float
    """Learning rate."""
    spatial_lr: float
    """Learning rate of the spatial LoRA."""
    lr_schedule: LrSchedule
    """Learning rate schedule after the warmup."""
    warmup: int
    """Warmup steps."""
    weight_decay: float
    """Weight decay of AdamW."""
    max_grad_norm: float
    """Maximum gradient norm; larger gradients are clipped."""
    optimizer: Optimizer
    """Optimizer; `adamw8bit` needs bitsandbytes and CUDA."""
    ema: float
    """Decay of the exponential moving average, saved instead of the last weights; 0: off."""
    dtype: Dtype
    """Precision of frozen weights and activations."""
    gradient_checkpointing: bool | None
    """Recompute activations in the backward pass; null: if memory is short."""
    cuda_graph: bool
    """Replay each step as a CUDA graph; small models train several times faster."""
    variants: int
    """Random samples of each clip, encoded once and cached on disk."""
    seed: int
    """Seed of initial weights, noise, timesteps and order."""
    sample_every: int
    """Steps between sample clips; 0: none."""
    sample_prompts: Sequence[str]
    """Prompts of sample clips; empty: the first captions."""
    leak_stills: int
    """Still frames rendered at the end to measure appearance leakage; 0: none."""
    save_every: int
    """Steps between checkpoints."""
    keep: int
    """Checkpoints to keep."""
    tensorboard: bool
    """Also write TensorBoard event files."""
    format: LoraFormat
    """Layout of the saved weights."""
