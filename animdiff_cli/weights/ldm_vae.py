"""Names of the VAE in diffusers and in the original layout, which counts decoder levels from the end."""

import re
from collections.abc import Iterable

from animdiff_cli.weights.lazy import LazyTensor

#: diffusers → original
MIDDLE = {"resnets.0": "block_1", "resnets.1": "block_2", "attentions.0": "attn_1"}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
#: names in diffusers before 2023 → present names
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD = re.compile(r"(.*mid_block\.attentions\.0\.)(query|key|value|proj_attn)\.(weight|bias)")
_LEVEL = re.compile(r"(encoder|decoder)\.(?:down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"(encoder|decoder)\.mid_block\.((?:resnets|attentions)\.\d)\.(.+)\.(weight|bias)")
_ORIGINAL_LEVEL = re.compile(r"(encoder|decoder)\.(?:down|up)\.(\d+)\.(block\.(\d+)|downsample|upsample)\.(.+)")
_ORIGINAL_MIDDLE = re.compile(r"(encoder|decoder)\.mid\.(block_1|block_2|attn_1)\.(.+)\.(weight|bias)")
_ENDS = re.compile(r"(?:quant_conv|post_quant_conv)\.\w+|(?:encoder|decoder)\.(?:conv_in|conv_out)\.\w+")


def decoder_levels(keys: Iterable[str]) -> int:
    """Return the number of decoder levels, in either layout."""
    found = [int(match[1]) for key in keys if (match := re.match(r"decoder\.up(?:_blocks)?\.(\d+)\.", key))]
    return 1 + max(found, default=3)


def to_original(key: str, levels: int) -> str | None:
    """Translate a diffusers key to the original layout; None for unknown keys.

    >>> to_original("decoder.up_blocks.0.upsamplers.0.conv.weight", levels=4)
    'decoder.up.3.upsample.conv.weight'
    """
    if _ENDS.fullmatch(key):
        return key
    if "conv_norm_out." in key:
        return key.replace("conv_norm_out", "norm_out")
    if match := _LEVEL.fullmatch(key):
        side, what = match[1], match[3]
        level = int(match[2]) if side == "encoder" else levels - 1 - int(match[2])
        inner = f"block.{match[4]}" if what == "resnets" else what.removesuffix("rs")
        rest = match[5].replace("conv_shortcut", "nin_shortcut")
        return f"{side}.{'down' if side == 'encoder' else 'up'}.{level}.{inner}.{rest}"
    match = _MIDDLE.fullmatch(rename_old_attention(key))
    if not match:
        return None
    inside = ATTENTION.get(match[3], match[3])
    return f"{match[1]}.mid.{MIDDLE[match[2]]}.{inside}.{match[4]}"


def to_diffusers(key: str, levels: int) -> str | None:
    """Translate an original key to diffusers; None for unknown keys."""
    if _ENDS.fullmatch(key):
        return key
    if ".norm_out." in key:
        return key.replace("norm_out", "conv_norm_out")
    if match := _ORIGINAL_LEVEL.fullmatch(key):
        side, inner = match[1], match[3]
        level = int(match[2]) if side == "encoder" else levels - 1 - int(match[2])
        blocks = "down_blocks" if side == "encoder" else "up_blocks"
        place = f"resnets.{match[4]}" if match[4] else f"{inner}rs.0"
        return f"{side}.{blocks}.{level}.{place}.{match[5].replace('nin_shortcut', 'conv_shortcut')}"
    match = _ORIGINAL_MIDDLE.fullmatch(key)
    if not match:
        return None
    place = {original: diffusers for diffusers, original in MIDDLE.items()}[match[2]]
    names = {original: diffusers for diffusers, original in ATTENTION.items()}
    inside = names.get(match[3], match[3]) if match[2] == "attn_1" else match[3]
    return f"{match[1]}.mid_block.{place}.{inside}.{match[4]}"


def rename_old_attention(key: str) -> str:
    """Rename attention keys that diffusers used before 2023. Other keys are returned unchanged."""
    match = _OLD.fullmatch(key)
    return f"{match[1]}{OLD_ATTENTION[match[2]]}.{match[3]}" if match else key


def attention_shape(tensor: LazyTensor, key: str, *, original: bool) -> LazyTensor:
    """Reshape q, k, v and out to a 1×1 convolution `[C, C, 1, 1]` (original) or a matrix `[C, C]` (diffusers)."""
    projection = re.search(r"mid_block\.attentions\.0\.(to_q|to_k|to_v|to_out\.0)\.weight", key)
    if not projection or len(tensor.shape) not in (2, 4):
        return tensor
    square = tensor.shape[:2]
    return tensor.reshape(*square, 1, 1) if original else tensor.reshape(*square)
