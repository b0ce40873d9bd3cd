"""Names of CLIP text encoders in transformers, and the two layouts of single-file checkpoints."""

import re
from collections.abc import Mapping

from animdiff_cli.weights.lazy import LazyTensor, concat_rows

#: base → prefix in a single file of the encoder with transformers' names
PREFIX = {"sd15": "cond_stage_model.transformer.", "sdxl": "conditioner.embedders.0.transformer."}
#: prefix in a single file of SDXL's second encoder, with OpenCLIP's names
OPEN_CLIP_PREFIX = "conditioner.embedders.1.model."
#: transformers → OpenCLIP, outside the layers
OUTSIDE = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
}
#: transformers → OpenCLIP, inside a layer
INSIDE = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
PROJECTIONS = ("q_proj", "k_proj", "v_proj")
_LAYER = re.compile(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_OPEN_LAYER = re.compile(r"transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)")


def with_model_prefix(key: str) -> str:
    """Add the prefix `text_model.` that single files have and transformers 5 does not save."""
    return key if key.startswith(("text_model.", "text_projection.")) else f"text_model.{key}"


def from_open_clip(key: str, tensor: LazyTensor) -> dict[str, LazyTensor]:
    """Translate one OpenCLIP weight, given without prefix; q, k and v are split. Empty for unknown keys."""
    for name, open_clip in OUTSIDE.items():
        if key == open_clip:
            return {name: tensor.transposed() if key == "text_projection" else tensor}
    match = _OPEN_LAYER.fullmatch(key)
    if not match:
        return {}
    stem, inside, kind = f"text_model.encoder.layers.{match[1]}", match[2], match[3]
    if inside == "attn.in_proj":
        third = tensor.num_rows // 3
        return {
            f"{stem}.self_attn.{name}.{kind}": tensor.slice(third * place, third * (place + 1))
            for place, name in enumerate(PROJECTIONS)
        }
    layer = {open_clip: name for name, open_clip in INSIDE.items()}.get(inside)
    return {f"{stem}.{layer}.{kind}": tensor} if layer else {}


def to_open_clip(tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Translate an encoder to OpenCLIP names; q, k and v are concatenated. Raises `KeyError` for unknown keys."""
    translated: dict[str, LazyTensor] = {}
    for key, tensor in tensors.items():
        if key in OUTSIDE:
            translated[OUTSIDE[key]] = tensor.transposed() if key == "text_projection.weight" else tensor
            continue
        match = _LAYER.fullmatch(key)
        if not match:
            raise KeyError(key)
        stem = f"transformer.resblocks.{match[1]}"
        if match[2].removeprefix("self_attn.") in PROJECTIONS:
            parts = [
                tensors[f"text_model.encoder.layers.{match[1]}.self_attn.{name}.{match[3]}"] for name in PROJECTIONS
            ]
            translated[f"{stem}.attn.in_proj_{match[3]}"] = concat_rows(parts)
        else:
            translated[f"{stem}.{INSIDE[match[2]]}.{match[3]}"] = tensor
    return translated
