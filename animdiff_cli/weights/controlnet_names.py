"""Names of a ControlNet's weights in diffusers and in the original layout, and of networks that resemble one."""

import re

from animdiff_cli.weights import ldm_unet
from animdiff_cli.weights.files import WeightFile

#: prefix of the network in the original layout
ORIGINAL_PREFIX = "control_model."
_PREFIXES = (ORIGINAL_PREFIX, "module.", "controlnet.")
#: number of the convolution in `input_hint_block` → name in `controlnet_cond_embedding`; SiLU layers are between them
HINT = {"0": "conv_in"} | {str(2 * number + 2): f"blocks.{number}" for number in range(6)} | {"14": "conv_out"}

#: (pattern of a key, what such a file is): networks that steer an image model like a ControlNet, and are none
OTHER_CONTROLS: tuple[tuple[str, str], ...] = (
    (r"lora_controlnet|.*\.to_q\.(?:up|down)", "a Control-LoRA"),
    (r"lllite_.*", "a ControlNet-LLLite"),
    (r"(?:task_embedding|transformer_layes\..*|control_add_embedding\..*)", "a ControlNet-Union"),
    (r"difference", "a ControlNet stored as its difference to an image model"),
)


def other_control(file: WeightFile) -> str | None:
    """Return what a file with the kind of a ControlNet is if it is none; None for a ControlNet."""
    keys = [bare_name(key) for key in file.tensors]
    return next((name for pattern, name in OTHER_CONTROLS if any(re.fullmatch(pattern, key) for key in keys)), None)


def bare_name(key: str) -> str:
    """Return a key without the prefix of the network."""
    for prefix in _PREFIXES:
        if key.startswith(prefix):
            return key.removeprefix(prefix)
    return key


def from_original(name: str, layers: int) -> str | None:
    """Translate an original name to diffusers; None for unknown names. `layers` are the ResNets per level."""
    head, _, rest = name.partition(".")
    number, _, last = rest.partition(".")
    if head == "input_hint_block":
        return f"controlnet_cond_embedding.{HINT[number]}.{last}" if number in HINT else None
    if head == "zero_convs":
        return f"controlnet_down_blocks.{number}.{last.removeprefix('0.')}"
    if head == "middle_block_out":
        return f"controlnet_mid_block.{last}"
    return ldm_unet.to_diffusers(name, layers)


def to_original(name: str, layers: int) -> str | None:
    """Translate a name of diffusers to the original layout; None for unknown names."""
    numbers = {own: number for number, own in HINT.items()}
    if match := re.fullmatch(r"controlnet_cond_embedding\.(conv_in|conv_out|blocks\.\d)\.(.+)", name):
        return f"input_hint_block.{numbers[match[1]]}.{match[2]}" if match[1] in numbers else None
    if match := re.fullmatch(r"controlnet_down_blocks\.(\d+)\.(.+)", name):
        return f"zero_convs.{match[1]}.0.{match[2]}"
    if match := re.fullmatch(r"controlnet_mid_block\.(.+)", name):
        return f"middle_block_out.0.{match[1]}"
    return ldm_unet.to_original(name, layers, frozenset())
