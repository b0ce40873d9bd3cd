"""Identify weight files by tensor names and shapes. File names are ignored."""

import re
from collections import Counter
from pathlib import Path
from typing import get_args

from animdiff_cli.core.refs import path_hint
from animdiff_cli.errors import NotFound
from animdiff_cli.weights import kind_readers
from animdiff_cli.weights.files import WeightFile, open_weights, refuse_unusable
from animdiff_cli.weights.folders import open_folder
from animdiff_cli.weights.info import KIND_KEY, WeightsInfo, WeightsKind
from animdiff_cli.weights.preprocessors import detector_of
from animdiff_cli.weights.unknown_files import raise_unknown_file

_MOTION = r"(?:module\.)?(?:(?:down|up)_blocks\.\d+|mid_block)\.(?:motion_modules|temporal_attentions)\."
_LORA = (
    r"lora_down|lora_up|lora_A|lora_B|lora\.(?:down|up)|_lora\.(?:down|up)|lora_linear_layer"
    r"|hada_w|lokr_w|\.a1\.weight$|\.oft_blocks$|\.on_input$"
)
_FULL = r"\.diff$|\.w_norm$"
#: kind → patterns that must each match some key. The first matching kind wins, so the order matters: a SparseCtrl
#: contains motion modules, a MotionLoRA names them, a checkpoint contains a VAE.
SIGNATURES: tuple[tuple[WeightsKind, tuple[str, ...]], ...] = (
    ("sparsectrl", (r"(?:module\.)?controlnet_cond_embedding\.(?:weight|conv_in)", r".*motion_modules\.")),
    ("ip-adapter", (r"ip_adapter\.", r"image_proj\.")),
    ("motion-lora", (rf".*(?:motion_modules|temporal_attentions).*(?:{_LORA})",)),
    ("domain-adapter", (r"(?:down|up)_blocks.*attn[12]\.processor\.to_q_lora\.down\.weight$",)),
    ("lora", (rf".*(?:{_LORA}|{_FULL})",)),
    (
        "controlnet",
        (r"(?:control_model\.|module\.)?(?:input_hint_block\.|controlnet_cond_embedding\.|zero_convs\.|lllite)",),
    ),
    ("embedding", (r"(?:string_to_param\.[^.]+|emb_params|clip_g|text_encoders_0)$",)),
    ("motion-module", (_MOTION,)),
    ("base", (r"(?:model\.diffusion_model\.|unet\.conv_in\.)",)),
    ("vae", (r"(?:first_stage_model\.|vae\.)?decoder\.(?:up\.|up_blocks\.)",)),
    ("unet", (r"(?:module\.)?down_blocks\.\d+\.resnets\.", r"(?:module\.)?time_embedding\.")),
    ("text-encoder", (r"(?:text_model\.)?embeddings\.token_embedding\.",)),
    ("image-encoder", (r"(?:vision_model\.)?embeddings\.patch_embedding\.", r"visual_projection\.")),
)
#: rank of the published domain adapter; LoRAs of diffusers' first training script have the same keys and rank 4
ADAPTER_RANK = 128
DTYPES = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F64": "fp64", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}


def identify(path: Path) -> WeightsInfo:
    """Identify a weight file or diffusers folder.

    Raises `NotFound` if it does not exist, `IntegrityError` if it is damaged, unsafe or unknown.
    """
    return identify_file(open_any(path))


def open_any(path: Path) -> WeightFile:
    """Open a weight file, or a diffusers folder as one file. Raises `NotFound` if the path does not exist."""
    if not path.exists():
        raise NotFound(f"no file or folder {path}", hint=path_hint(str(path)) or f"check the path: `ls {path.parent}`")
    return open_folder(path) if path.is_dir() else open_weights(path)


def identify_file(file: WeightFile) -> WeightsInfo:
    """Identify an open file. Raises `IntegrityError` if it is of no known kind."""
    with refuse_unusable(file.path.name):
        kind = kind_of(file)
        if kind is None:
            raise_unknown_file(file)
        details = kind_readers.READERS.get(kind, kind_readers.image_weights)(file)
    return WeightsInfo(
        kind=kind,
        base=details.base,
        version=details.version,
        format=details.format,
        family=details.family,
        rank=details.rank,
        dtype=_dtype(file),
        parameters=sum(tensor.numel for tensor in file.tensors.values()),
        tensors=len(file.tensors),
        max_frames=details.max_frames,
        container=file.container,
        metadata=file.metadata,
        notes=details.notes + _other_entries(file),
    )


def kind_of(file: WeightFile) -> WeightsKind | None:
    """Return the kind of an open file by its metadata, or by its names and shapes; None if it is unknown."""
    recorded: WeightsKind
    for recorded in get_args(WeightsKind):
        if file.metadata.get(KIND_KEY) == recorded and _agrees(recorded, file):
            return recorded
    kind = next((kind for kind, needs in SIGNATURES if _matches(file, needs)), None)
    if kind == "domain-adapter" and kind_readers.rank_of(file) != ADAPTER_RANK:
        return "lora"
    if kind is None and detector_of(file):
        return "preprocessor"
    return kind or ("embedding" if kind_readers.is_bare_embedding(file) else None)


def _agrees(kind: WeightsKind, file: WeightFile) -> bool:
    """Return whether the keys agree with a recorded kind. A converted domain adapter has the keys of any LoRA."""
    if kind == "preprocessor":
        return detector_of(file) is not None
    signature = dict(SIGNATURES)["lora" if kind == "domain-adapter" else kind]
    return _matches(file, signature)


def _matches(file: WeightFile, needs: tuple[str, ...]) -> bool:
    patterns = [re.compile(need) for need in needs]
    return all(any(pattern.match(key) for key in file.tensors) for pattern in patterns)


def _dtype(file: WeightFile) -> str:
    floats: Counter[str] = Counter()
    for tensor in file.tensors.values():
        if tensor.dtype in DTYPES:
            floats[DTYPES[tensor.dtype]] += tensor.numel
    return "+".join(sorted(floats, key=lambda name: -floats[name])) or "none"


def _other_entries(file: WeightFile) -> tuple[str, ...]:
    return (f"entries that are not tensors: {', '.join(file.others[:5])}",) if file.others else ()
