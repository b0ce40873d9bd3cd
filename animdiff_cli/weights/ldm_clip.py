"""CLIP text encoders: transformers' names, and the two ways single-file checkpoints write them."""

import re
from collections.abc import Mapping

from animdiff_cli.weights.lazy import LazyTensor, concat_rows

#: where a single file keeps an encoder that is written in transformers' own names, by base
PREFIX = {"sd15": "cond_stage_model.transformer.", "sdxl": "conditioner.embedders.0.transformer."}
#: where SDXL keeps its second encoder, written in OpenCLIP's names
OPEN_CLIP_PREFIX = "conditioner.embedders.1.model."
#: transformers and OpenCLIP, outside the layers
OUTSIDE = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
}
#: transformers and OpenCLIP, inside a layer
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
    """Name a text encoder's weight as single files do; transformers 5 saves without the leading `text_model.`."""
    return key if key.startswith(("text_model.", "text_projection.")) else f"text_model.{key}"


def from_open_clip(key: str, tensor: LazyTensor) -> dict[str, LazyTensor]:
    """Translate one OpenCLIP weight, without its prefix; q, k and v come out apart. Empty if it is none."""
    for theirs, ours in OUTSIDE.items():
        if key == ours:
            return {theirs: tensor.transposed() if key == "text_projection" else tensor}
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
    name = {open_clip: theirs for theirs, open_clip in INSIDE.items()}.get(inside)
    return {f"{stem}.{name}.{kind}": tensor} if name else {}


def to_open_clip(tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Translate a whole encoder to OpenCLIP's names; q, k and v are stacked. Raises `KeyError` on a stranger."""
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
