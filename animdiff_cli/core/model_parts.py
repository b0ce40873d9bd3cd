"""The parts of a Stable Diffusion model, named as their folders in a diffusers repository: the one table of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PartName = Literal["unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"]
#: bases whose models can be rendered
BASES = ("sd15", "sdxl")


@dataclass(frozen=True, slots=True)
class ModelPart:
    """One folder of a diffusers model."""

    name: PartName
    markers: tuple[str, ...]  # the folder is complete only with one of these files
    bases: tuple[str, ...] = BASES
    weights_stem: str | None = None  # file name of its weights without suffix
    tokenizer: PartName | None = None  # folder of the tokenizer that a text encoder reads with
    kohya: tuple[str, ...] = ()  # prefixes in kohya's LoRA keys: for models with one text encoder, then with two
    embedding_key: str | None = None  # key of its vectors in an SDXL textual inversion


_CONFIG = ("config.json",)
_VOCABULARY = ("tokenizer.json", "vocab.json")

MODEL_PARTS = (
    ModelPart("unet", _CONFIG, weights_stem="diffusion_pytorch_model", kohya=("unet",)),
    ModelPart("vae", _CONFIG, weights_stem="diffusion_pytorch_model"),
    ModelPart(
        "text_encoder",
        _CONFIG,
        weights_stem="model",
        tokenizer="tokenizer",
        kohya=("te", "te1"),
        embedding_key="clip_l",
    ),
    ModelPart(
        "text_encoder_2",
        _CONFIG,
        bases=("sdxl",),
        weights_stem="model",
        tokenizer="tokenizer_2",
        kohya=("te2",),
        embedding_key="clip_g",
    ),
    ModelPart("tokenizer", _VOCABULARY),
    ModelPart("tokenizer_2", _VOCABULARY, bases=("sdxl",)),
    ModelPart("scheduler", ("scheduler_config.json",)),
)
#: every part with weights, of any base
NETWORKS = tuple(part.name for part in MODEL_PARTS if part.weights_stem)
#: text encoder → its tokenizer
TOKENIZERS: Mapping[PartName, PartName] = {part.name: part.tokenizer for part in MODEL_PARTS if part.tokenizer}
#: parts that a LoRA can change
LORA_PARTS = tuple(part.name for part in MODEL_PARTS if part.kohya)


def parts_of(base: str) -> tuple[ModelPart, ...]:
    """List the parts of a base's models."""
    return tuple(part for part in MODEL_PARTS if base in part.bases)


def networks_of(base: str) -> tuple[PartName, ...]:
    """Name the parts of a base that have weights.

    >>> networks_of("sd15")
    ('unet', 'vae', 'text_encoder')
    """
    return tuple(part.name for part in parts_of(base) if part.weights_stem)


def tokenizers_of(base: str) -> tuple[PartName, ...]:
    """Name the tokenizers of a base, in the order of its text encoders.

    >>> tokenizers_of("sdxl")
    ('tokenizer', 'tokenizer_2')
    """
    return tuple(part.tokenizer for part in parts_of(base) if part.tokenizer)
