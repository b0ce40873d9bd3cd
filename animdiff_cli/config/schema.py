"""The record of a render: every value that decides which frames come out."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from animdiff_cli.config.content_settings import MAX_ENTRIES, ContentSettings
from animdiff_cli.config.input_settings import ImageSource, MaskSource, RegionSource, VideoSource
from animdiff_cli.config.positions import check_positions
from animdiff_cli.config.sampling_settings import SamplingSettings
from animdiff_cli.config.varying import Varying
from animdiff_cli.core.choices import Dtype, ImageMethod, LowVram, PiaVariant, Switch, WeightsDtype
from animdiff_cli.core.curves import Curve, largest
from animdiff_cli.core.denoising import num_denoised
from animdiff_cli.core.prompt_travel import MAX_PROMPT
from animdiff_cli.core.reuse import reuse_interval
from animdiff_cli.core.where import Timeline

Dimension = Annotated[int, Field(ge=8, le=8192, multiple_of=8)]


class GenerateConfig(SamplingSettings, ContentSettings):
    """One clip. Frozen, without paths of outputs: with the weights, enough to render the same frames again.

    Here are the clips and pictures it begins from, its size, and how the machine computes it.
    """

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
        description="Compile blocks of the networks with `torch.compile`: `on`, `off` or `auto`, which compiles"
        " nothing: on a CPU it does not pay, on a GPU it is not measured. Compiled code is kept in the cache folder.",
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
