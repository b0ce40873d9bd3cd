"""What the tensors of each kind tell beyond the kind: base, version, layout, rank, frames."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import get_args

from animdiff_cli.core.choices import Base, Family
from animdiff_cli.weights.files import WeightFile
from animdiff_cli.weights.info import BASE_KEY, BUILT_LIKE, VERSION_KEY
from animdiff_cli.weights.lora_names import LoraName, family, parse_key
from animdiff_cli.weights.motion_version import detect_family, motion_frames

#: width of the text that cross-attention reads, by base
TEXT_WIDTHS = {768: "sd15", 1024: "sd2", 2048: "sdxl"}
EMBEDDING_WIDTHS = {768: "sd15", 1024: "sd2", 1280: "sdxl"}
#: highest level with motion modules, or with attentions on the way up, by base
LEVELS = {2: "sdxl", 3: "sd15"}
#: what only the checkpoints of one base are built of, looked for where widths say nothing
BASE_MARKS = {
    "conditioner.embedders.1.": "sdxl",
    "conditioner.embedders.0.transformer.": "sdxl",
    "text_encoder_2.": "sdxl",
    "cond_stage_model.model.": "sd2",
    "cond_stage_model.transformer.": "sd15",
    "text_encoder.": "sd15",
}
_CROSS = re.compile(r".*attn2[._](?:processor\.)?to_k[._].*")


@dataclass(frozen=True, slots=True)
class KindDetails:
    """The part of a card that differs by kind."""

    format: str
    base: str | None = None
    version: str | None = None
    family: str | None = None
    rank: int | None = None
    max_frames: int | None = None
    notes: tuple[str, ...] = ()


def plain(file: WeightFile) -> KindDetails:
    """Read what any image-model weights tell."""
    return KindDetails(format=_format(file), base=text_base(file) or _marked_base(file) or _level_base(file))


def motion_module(file: WeightFile) -> KindDetails:
    """Read version, frames and layout of a motion module; of a training checkpoint around one, too."""
    keys = [key.removeprefix("module.") for key in file.tensors]
    frames = motion_frames(file)
    base = _recorded_base(file, _level_base(file))
    version = detect_family(file.tensors, file.metadata, frames)
    notes: tuple[str, ...] = ()
    if version is None:
        notes += ("no positional encoding: v1 and v3 cannot be told apart",)
    elif version == "lcm" and file.metadata.get(VERSION_KEY) != version:
        notes += ("no positional encoding: AnimateLCM, or a v2 module from diffusers",)
    if any(".resnets." in key for key in keys):
        notes += ("a training checkpoint: the whole UNet with its motion module",)
    return KindDetails(_motion_format(keys), base, version, max_frames=frames, notes=notes)


def motion_lora(file: WeightFile) -> KindDetails:
    """Read rank, layout, and by the mid block the version a MotionLoRA was made for."""
    details = lora(file)
    middle = any("mid_block" in key for key in file.tensors)
    base = _recorded_base(file, _level_base(file)) or "sd15"
    notes = () if middle or base == "sdxl" else ("without mid block: for v1 or v3",)
    recorded = file.metadata.get(VERSION_KEY)
    version = recorded if recorded in get_args(Family) else "v2" if middle else None
    return KindDetails(details.format, base, version, details.family, details.rank, notes=notes + details.notes)


def domain_adapter(file: WeightFile) -> KindDetails:
    """Read a domain adapter, which was made for v3 unless it says of itself what for."""
    details = lora(file)
    recorded = file.metadata.get(VERSION_KEY)
    version = recorded if recorded in get_args(Family) else "v3"
    return KindDetails(details.format, details.base, version, details.family, details.rank, notes=details.notes)


def sparsectrl(file: WeightFile) -> KindDetails:
    """Tell RGB from scribble by the condition encoder: one convolution, or a stack of them."""
    simplified = any(key.endswith("controlnet_cond_embedding.weight") for key in file.tensors)
    notes = ("condition: " + ("rgb" if simplified else "scribble"),)
    keys = [key.removeprefix("module.") for key in file.tensors]
    return KindDetails(_motion_format(keys), _level_base(file), "v3", max_frames=motion_frames(file), notes=notes)


def lora(file: WeightFile) -> KindDetails:
    """Read layout, family and rank of any LoRA."""
    parsed = _parsed(file)
    if not parsed:
        return KindDetails(format="unknown")
    names = [name for _, name in parsed.values()]
    layouts = {layout for layout, _ in parsed.values()}
    convolutions = any(_is_convolution(file.tensors[key].shape) for key, (_, name) in parsed.items())
    strange = len(file.tensors) - len(parsed)
    notes = (f"{strange} keys of no known LoRA layout",) if strange else ()
    kind = family((name.role for name in names), convolutions=convolutions)
    base = _recorded_base(file, _lora_base(file, names))
    return KindDetails(sorted(layouts)[0], base, None, kind, rank_of(file), notes=notes)


def embedding(file: WeightFile) -> KindDetails:
    """Read a textual inversion; its rank is how many tokens it stands for."""
    matrices = {key: tensor.shape for key, tensor in file.tensors.items() if tensor.shape}
    widths = {shape[-1] for shape in matrices.values()}
    base = "sdxl" if "clip_g" in matrices else EMBEDDING_WIDTHS.get(next(iter(widths), 0))
    tokens = max((shape[0] if len(shape) > 1 else 1 for shape in matrices.values()), default=0)
    layout = "original" if {"emb_params", "string_to_param.*"} & matrices.keys() else "diffusers"
    return KindDetails(layout, base, notes=(f"stands for {tokens} tokens",))


def is_bare_embedding(file: WeightFile) -> bool:
    """Recognise diffusers' textual inversion: one vector or a few, named by nothing but their token."""
    shapes = [tensor.shape for tensor in file.tensors.values()]
    return len(shapes) == 1 and len(shapes[0]) in (1, 2) and shapes[0][-1] in EMBEDDING_WIDTHS


def rank_of(file: WeightFile) -> int | None:
    """Find the largest rank in a LoRA."""
    side = {"down": 0, "hada_w1_b": 0, "hada_w2_b": 0, "lokr_w1_b": 0, "lokr_w2_b": 0}
    ranks = [
        file.tensors[key].shape[side[name.role]]
        for key, (_, name) in _parsed(file).items()
        if name.role in side and file.tensors[key].shape
    ]
    return max(ranks, default=None)


def text_base(file: WeightFile) -> str | None:
    """Tell the base by the width of the text that cross-attention reads."""
    found = (tensor.shape for key, tensor in file.tensors.items() if _CROSS.fullmatch(key))
    widths = [shape[1] for shape in found if len(shape) > 1]
    return next((TEXT_WIDTHS[width] for width in widths if width in TEXT_WIDTHS), None)


def _parsed(file: WeightFile) -> dict[str, tuple[str, LoraName]]:
    parsed = {key: parse_key(key) for key in file.tensors}
    return {key: found for key, found in parsed.items() if found is not None}


def _is_convolution(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[2:] != (1, 1)


def _recorded_base(file: WeightFile, told: str | None) -> str | None:
    """Believe what a file of this program says of its base, unless names and shapes told another."""
    recorded = file.metadata.get(BASE_KEY, "")
    is_believed = recorded in get_args(Base) and told in (None, BUILT_LIKE.get(recorded, recorded))
    return recorded if is_believed else told


def _lora_base(file: WeightFile, names: list[LoraName]) -> str | None:
    if any(name.part == "text_encoder_2" for name in names):
        return "sdxl"
    if base := text_base(file):
        return base
    widths = {
        file.tensors[key].shape[1]
        for key, (_, name) in _parsed(file).items()
        if name.part == "text_encoder" and name.role == "down" and name.module.endswith("q_proj")
    }
    return next((TEXT_WIDTHS[width] for width in widths if width in TEXT_WIDTHS), None) or _level_base(file)


def _marked_base(file: WeightFile) -> str | None:
    return next((base for mark, base in BASE_MARKS.items() if any(key.startswith(mark) for key in file.tensors)), None)


def _level_base(file: WeightFile) -> str | None:
    levels = [int(match[1]) for key in file.tensors if (match := re.search(r"(?:down|up)_blocks[._](\d+)", key))]
    if any(".input_blocks.10." in key for key in file.tensors):
        return "sd15"
    return LEVELS.get(max(levels, default=-1))


def _motion_format(keys: list[str]) -> str:
    if any("temporal_attentions" in key for key in keys):
        return "hotshot"
    return "original" if any(".temporal_transformer." in key for key in keys) else "diffusers"


def _format(file: WeightFile) -> str:
    originals = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "control_model.", "input_hint")
    ldm_vae = re.compile(r"(?:encoder\.down|decoder\.up)\.\d+\.")
    is_original = any(key.startswith(originals) or ldm_vae.match(key) for key in file.tensors)
    return "original" if is_original else "diffusers"


READERS: Mapping[str, Callable[[WeightFile], KindDetails]] = {
    "motion-module": motion_module,
    "motion-lora": motion_lora,
    "domain-adapter": domain_adapter,
    "sparsectrl": sparsectrl,
    "lora": lora,
    "embedding": embedding,
}
