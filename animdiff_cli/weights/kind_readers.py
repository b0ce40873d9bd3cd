"""Read the facts of a weight file of a known kind: base, version, layout, rank, number of frames."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

from animdiff_cli.core.choices import Base, Family
from animdiff_cli.core.text import counted
from animdiff_cli.weights.controlnet_names import other_control
from animdiff_cli.weights.files import WeightFile
from animdiff_cli.weights.info import BASE_KEY, BUILT_LIKE, VERSION_KEY
from animdiff_cli.weights.ip_adapter import is_face_id, sizes_of, variant_of
from animdiff_cli.weights.lora_names import BUNDLED, LoraName, family, parse_key
from animdiff_cli.weights.motion_version import detect_family, motion_frames
from animdiff_cli.weights.preprocessors import detector_of

#: width of the text embeddings in cross-attention → base
TEXT_WIDTHS = {768: "sd15", 1024: "sd2", 2048: "sdxl"}
#: width of a textual inversion → base
EMBEDDING_WIDTHS = {768: "sd15", 1024: "sd2", 1280: "sdxl"}
#: highest level with motion modules or attentions → base
LEVELS = {2: "sdxl", 3: "sd15"}
#: key prefix that only checkpoints of one base have → base, used where widths are inconclusive
BASE_PREFIXES = {
    "conditioner.embedders.1.": "sdxl",
    "conditioner.embedders.0.transformer.": "sdxl",
    "text_encoder_2.": "sdxl",
    "cond_stage_model.model.": "sd2",
    "cond_stage_model.transformer.": "sd15",
    "text_encoder.": "sd15",
}
#: notes on the pictures that a SparseCtrl takes
RGB, SCRIBBLE = "condition: rgb", "condition: scribble"
_CROSS = re.compile(r".*attn2[._](?:processor\.)?to_k[._].*")


@dataclass(frozen=True, slots=True)
class KindDetails:
    """The facts that depend on the kind."""

    format: str
    base: str | None = None
    version: str | None = None
    family: str | None = None
    rank: int | None = None
    max_frames: int | None = None
    notes: tuple[str, ...] = ()


def image_weights(file: WeightFile) -> KindDetails:
    """Read the layout and base of weights of an image model."""
    return KindDetails(format=_format(file), base=text_base(file) or _prefix_base(file) or _level_base(file))


def motion_module(file: WeightFile) -> KindDetails:
    """Read version, frames and layout of a motion module or a training checkpoint with one."""
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
    """Read a MotionLoRA. Keys of the mid block mean that it was made for v2."""
    details = lora(file)
    middle = any("mid_block" in key for key in file.tensors)
    base = _recorded_base(file, _level_base(file)) or "sd15"
    notes = () if middle or base == "sdxl" else ("no mid block: for v1 or v3",)
    recorded = file.metadata.get(VERSION_KEY)
    version = recorded if recorded in get_args(Family) else "v2" if middle else None
    return KindDetails(details.format, base, version, details.family, details.rank, notes=notes + details.notes)


def domain_adapter(file: WeightFile) -> KindDetails:
    """Read a domain adapter. It was made for v3 unless its metadata records another version."""
    details = lora(file)
    recorded = file.metadata.get(VERSION_KEY)
    version = recorded if recorded in get_args(Family) else "v3"
    return KindDetails(details.format, details.base, version, details.family, details.rank, notes=details.notes)


def sparsectrl(file: WeightFile) -> KindDetails:
    """Read a SparseCtrl: RGB if its condition encoder is one convolution, scribble if it is a stack."""
    simplified = any(key.endswith("controlnet_cond_embedding.weight") for key in file.tensors)
    notes = (RGB if simplified else SCRIBBLE,)
    keys = [key.removeprefix("module.") for key in file.tensors]
    base = _recorded_base(file, _level_base(file))
    return KindDetails(_motion_format(keys), base, "v3", max_frames=motion_frames(file), notes=notes)


def controlnet(file: WeightFile) -> KindDetails:
    """Read the layout and base of a ControlNet; name a similar network that cannot be used."""
    details = image_weights(file)
    other = other_control(file)
    notes = (f"{other}: no command can use it",) if other else ()
    return KindDetails(details.format, _recorded_base(file, details.base), notes=notes)


def ip_adapter(file: WeightFile) -> KindDetails:
    """Read an IP-Adapter: its base, its variant, and the image encoder it needs."""
    widths = {tensor.shape[-1] for key, tensor in file.tensors.items() if key.endswith("to_k_ip.weight")}
    base = _recorded_base(file, TEXT_WIDTHS.get(next(iter(widths), 0)))
    if is_face_id(file):
        return KindDetails("original", base, notes=("FaceID: needs face embeddings, and no command can use it",))
    variant = variant_of(file)
    if variant is None:
        return KindDetails("original", base)
    sizes = sizes_of(variant, file)
    tokens = sizes.get("num_tokens")
    count = f"{counted(tokens, 'token')} for a picture" if tokens else "a token for each patch of a picture"
    return KindDetails("original", base, notes=(f"{variant}: {count}, from width {sizes['input_width']}",))


def image_encoder(file: WeightFile) -> KindDetails:
    """Read an image encoder, which fits image models of every base."""
    return KindDetails("diffusers")


def lora(file: WeightFile) -> KindDetails:
    """Read layout, family, rank and base of a LoRA."""
    parsed = _parsed(file)
    if not parsed:
        return KindDetails(format="unknown")
    names = [name for _, name in parsed.values()]
    layouts = {layout for layout, _ in parsed.values()}
    convolutions = any(_is_convolution(file.tensors[key].shape) for key, (_, name) in parsed.items())
    bundled = [key.removeprefix(BUNDLED).partition(".")[0] for key in file.tensors if key.startswith(BUNDLED)]
    unknown = len(file.tensors) - len(parsed) - len(bundled)
    notes: tuple[str, ...] = (f"{counted(unknown, 'key')} of no known LoRA layout",) if unknown else ()
    notes += (f"with textual inversions: {', '.join(dict.fromkeys(bundled))}",) if bundled else ()
    kind = family(_family_roles(file), convolutions=convolutions)
    base = _recorded_base(file, _lora_base(file, names))
    return KindDetails(sorted(layouts)[0], base, None, kind, rank_of(file), notes=notes)


def embedding(file: WeightFile) -> KindDetails:
    """Read a textual inversion."""
    matrices = {key: tensor.shape for key, tensor in file.tensors.items() if tensor.shape}
    widths = {shape[-1] for shape in matrices.values()}
    base = "sdxl" if matrices.keys() & {"clip_g", "text_encoders_1"} else EMBEDDING_WIDTHS.get(next(iter(widths), 0))
    tokens = max((shape[0] if len(shape) > 1 else 1 for shape in matrices.values()), default=0)
    is_original = any(key == "emb_params" or key.startswith("string_to_param.") for key in matrices)
    layout = "original" if is_original else "diffusers"
    return KindDetails(layout, base, notes=(f"{counted(tokens, 'token')}",))


def is_bare_embedding(file: WeightFile) -> bool:
    """Return whether this is diffusers' textual inversion: a single vector or matrix, named after its token."""
    shapes = [tensor.shape for tensor in file.tensors.values()]
    return len(shapes) == 1 and len(shapes[0]) in (1, 2) and shapes[0][-1] in EMBEDDING_WIDTHS


def rank_of(file: WeightFile) -> int | None:
    """Return the largest rank of a LoRA; None if it has none."""
    rank_dim = {"down": 0, "a2": 0, "hada_w1_b": 0, "hada_w2_b": 0, "lokr_w1_b": 0, "lokr_w2_b": 0}
    ranks = [
        file.tensors[key].shape[rank_dim[name.role]]
        for key, (_, name) in _parsed(file).items()
        if name.role in rank_dim and file.tensors[key].shape
    ]
    return max(ranks, default=None)


def text_base(file: WeightFile) -> str | None:
    """Return the base by the width of the text embeddings in cross-attention; None if unknown."""
    found = (tensor.shape for key, tensor in file.tensors.items() if _CROSS.fullmatch(key))
    widths = [shape[1] for shape in found if len(shape) > 1]
    return next((TEXT_WIDTHS[width] for width in widths if width in TEXT_WIDTHS), None)


def _parsed(file: WeightFile) -> dict[str, tuple[str, LoraName]]:
    parsed = {key: parse_key(key) for key in file.tensors}
    return {key: found for key, found in parsed.items() if found is not None}


def _family_roles(file: WeightFile) -> Iterator[str]:
    """Iterate over the roles in a LoRA. BOFT has the keys of Diag-OFT, with one more dimension."""
    for key, (_, name) in _parsed(file).items():
        stages = name.role == "oft_blocks" and len(file.tensors[key].shape) == 4
        yield "boft_blocks" if stages else name.role


def _is_convolution(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[2:] != (1, 1)


def _recorded_base(file: WeightFile, detected: str | None) -> str | None:
    """Return the recorded base, unless it contradicts the one detected from names and shapes."""
    recorded = file.metadata.get(BASE_KEY, "")
    agrees = detected in (None, BUILT_LIKE.get(recorded, recorded))
    return recorded if recorded in get_args(Base) and agrees else detected


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


def _prefix_base(file: WeightFile) -> str | None:
    return next(
        (base for prefix, base in BASE_PREFIXES.items() if any(key.startswith(prefix) for key in file.tensors)), None
    )


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
    originals = (
        *("model.diffusion_model.", "first_stage_model.", "cond_stage_model."),
        *("control_model.", "input_hint", "zero_convs."),
    )
    ldm_vae = re.compile(r"(?:encoder\.down|decoder\.up)\.\d+\.")
    is_original = any(key.startswith(originals) or ldm_vae.match(key) for key in file.tensors)
    return "original" if is_original else "diffusers"


def preprocessor(file: WeightFile) -> KindDetails:
    """Tell what control pictures a network makes. They fit any base."""
    detector = detector_of(file)
    notes = (f"makes control pictures of `--preprocess {detector.makes}`",) if detector else ()
    return KindDetails(format="diffusers" if file.path.is_dir() else "original", notes=notes)


READERS: Mapping[str, Callable[[WeightFile], KindDetails]] = {
    "motion-module": motion_module,
    "motion-lora": motion_lora,
    "domain-adapter": domain_adapter,
    "sparsectrl": sparsectrl,
    "controlnet": controlnet,
    "ip-adapter": ip_adapter,
    "image-encoder": image_encoder,
    "lora": lora,
    "embedding": embedding,
    "preprocessor": preprocessor,
}
