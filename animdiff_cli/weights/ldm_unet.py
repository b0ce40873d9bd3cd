"""Names of the UNet in diffusers, by level, and in the original layout, by one running number."""

import re
from collections.abc import Iterable, Mapping

#: diffusers → original, outside the blocks
TRUNK = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
#: diffusers → original, inside a ResNet
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
MIDDLE = {"resnets.0": "0", "attentions.0": "1", "resnets.1": "2"}
_LEVEL = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
_NUMBERED = re.compile(r"(input|output)_blocks\.(\d+)\.(\d+)\.(.+)")
_ORIGINAL_MIDDLE = re.compile(r"middle_block\.(\d+)\.(.+)")
_FIRST_DOWNSAMPLER = re.compile(r"input_blocks\.(\d+)\.0\.op\.weight")


def layers_of_diffusers(keys: Iterable[str]) -> int:
    """Return the number of ResNets per level, from diffusers names."""
    found = [int(match[4]) for key in keys if (match := _LEVEL.fullmatch(key)) and match[1] == "down"]
    return 1 + max(found, default=1)


def layers_of_original(keys: Iterable[str]) -> int:
    """Return the number of ResNets per level, from original names: the number of the first downsampler minus 1."""
    found = [int(match[1]) for key in keys if (match := _FIRST_DOWNSAMPLER.fullmatch(key))]
    return min(found, default=3) - 1


def to_original(key: str, layers: int, attended: frozenset[int]) -> str | None:
    """Translate a diffusers key to the original layout; None for unknown keys.

    `attended`: up levels with attention.

    >>> to_original("down_blocks.1.attentions.0.proj_in.weight", layers=2, attended=frozenset())
    'input_blocks.4.1.proj_in.weight'
    """
    if match := _LEVEL.fullmatch(key):
        return _level_to_original(match, layers, attended)
    if match := _MIDDLE.fullmatch(key):
        place = MIDDLE.get(f"{match[1]}.{match[2]}")
        return place and f"middle_block.{place}.{_inside(match[1], match[3], RESNET)}"
    return _trunk(key, TRUNK)


def to_diffusers(key: str, layers: int) -> str | None:
    """Translate an original key to diffusers; None for unknown keys.

    >>> to_diffusers("output_blocks.2.1.conv.weight", layers=2)
    'up_blocks.0.upsamplers.0.conv.weight'
    """
    trunk = _trunk(key, {original: diffusers for diffusers, original in TRUNK.items()})
    if trunk:
        return trunk
    if match := _NUMBERED.fullmatch(key):
        return _numbered_to_diffusers(match, layers)
    if match := _ORIGINAL_MIDDLE.fullmatch(key):
        place = {number: name for name, number in MIDDLE.items()}.get(match[1])
        return place and f"mid_block.{place}.{_inside(place, match[2], _flip(RESNET))}"
    return None


def attended_levels(keys: Iterable[str]) -> frozenset[int]:
    """Return the up levels with attention, from diffusers names."""
    found = (_LEVEL.fullmatch(key) for key in keys)
    return frozenset(int(match[2]) for match in found if match and match[1] == "up" and match[3] == "attentions")


def _level_to_original(match: re.Match[str], layers: int, attended: frozenset[int]) -> str:
    side, level, what, index, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    if what == "downsamplers":
        return f"input_blocks.{(level + 1) * (layers + 1)}.0.{rest.replace('conv.', 'op.', 1)}"
    if what == "upsamplers":
        return f"output_blocks.{(level + 1) * (layers + 1) - 1}.{2 if level in attended else 1}.{rest}"
    number = level * (layers + 1) + index + (1 if side == "down" else 0)
    block = "input_blocks" if side == "down" else "output_blocks"
    return f"{block}.{number}.{0 if what == 'resnets' else 1}.{_inside(what, rest, RESNET)}"


def _numbered_to_diffusers(match: re.Match[str], layers: int) -> str | None:
    side, number, sub, rest = match[1], int(match[2]), int(match[3]), match[4]
    if side == "input":
        level, index = divmod(number - 1, layers + 1)
        if sub == 0 and rest.startswith("op."):
            return f"down_blocks.{level}.downsamplers.0.{rest.replace('op.', 'conv.', 1)}"
    else:
        level, index = divmod(number, layers + 1)
        if sub and rest.startswith("conv."):
            return f"up_blocks.{level}.upsamplers.0.{rest}"
    if number < 1 and side == "input":
        return None
    what = "attentions" if sub else "resnets"
    return f"{'down' if side == 'input' else 'up'}_blocks.{level}.{what}.{index}.{_inside(what, rest, _flip(RESNET))}"


def _inside(what: str, rest: str, table: Mapping[str, str]) -> str:
    return (_trunk(rest, table) or rest) if what.startswith("resnets") else rest


def _trunk(key: str, table: Mapping[str, str]) -> str | None:
    """Translate the prefix of `name.rest`, or a key that equals `name`, as the modules of LoRAs do."""
    for old, new in table.items():
        if key == old or key.startswith(f"{old}."):
            return new + key[len(old) :]
    return None


def _flip(table: Mapping[str, str]) -> dict[str, str]:
    return {new: old for old, new in table.items()}
