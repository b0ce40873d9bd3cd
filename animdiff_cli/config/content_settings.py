"""What a clip is made of: its prompts, and the weights that render it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from animdiff_cli.config.varying import Varying
from animdiff_cli.config.weight_settings import ControlRef, ImagePromptRef, ScaledRef, WeightRef
from animdiff_cli.core.choices import LoraAlphaMode, MotionVersion, Preprocessor, PromptInterpolation, PromptSyntax
from animdiff_cli.core.curves import TextTrack
from animdiff_cli.core.prompt_travel import MAX_PROMPT

MAX_ENTRIES = 100  # of a list
Prompt = Annotated[str, Field(max_length=MAX_PROMPT)]


class ContentSettings(BaseModel):
    """The prompts and weights of a clip. Fields that name weights are listed in `config.weight_settings`."""

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
    preprocess_weights: tuple[WeightRef, ...] = Field(
        (),
        max_length=MAX_ENTRIES,
        description="Weights of the networks that make control pictures, in place of the usual ones of `preprocess`.",
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
