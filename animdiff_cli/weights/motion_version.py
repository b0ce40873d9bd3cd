"""Detect the version of a motion module: the one rule that `inspect` and loading share.

The rules are those of other loaders, applied in this order: recorded metadata, Hotshot-XL's names, PIA's input
convolution, mid block, number of levels, length of the positional encoding.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from animdiff_cli.core.choices import Family, MotionVersion
from animdiff_cli.files.untrusted import read_json
from animdiff_cli.weights.files import WeightFile
from animdiff_cli.weights.info import FRAMES_KEY, VERSION_KEY
from animdiff_cli.weights.motion import Shaped, in_hotshot_names, official_name

#: longer than any published module, short enough to allocate
MAX_FRAMES = 4096
#: The official code falls back to 24 positions, the v1 setting, and its training config has the v1 layout: a module
#: trained for fewer frames is a v1. No published v3 has fewer than 32.
V1_FRAMES = 24
V2_FRAMES = 32
HOTSHOT_FRAMES = 24
SDXL_LEVELS = 3
#: family → the version whose architecture it has
ARCHITECTURES: Mapping[Family, MotionVersion] = {
    **{version: version for version in get_args(MotionVersion)},
    "lcm": "v2",
    "lightning": "v2",
    "long": "v2",
}
#: channels that PIA's input convolution takes: latents, a score, and latents of a picture
PIA_CHANNELS = 9
_POSITIONS = (".pos_encoder.pe", ".pos_embed.pe", ".positional_encoding")
_LEVEL = re.compile(r"(?:down|up)_blocks\.(\d+)\.")


def detect_family(tensors: Mapping[str, Shaped], metadata: Mapping[str, str], max_frames: int | None) -> Family | None:
    """Return the family of a motion module from its tensor names; None if v1 and v3 cannot be told apart."""
    keys = list(tensors)
    recorded: Family
    for recorded in get_args(Family):
        if metadata.get(VERSION_KEY) == recorded:
            return recorded
    if in_hotshot_names(keys):
        return "hotshot"
    if pia_input(tensors):
        return "pia"
    motion_keys = [key for key in keys if official_name(key.removeprefix("module."))]
    if any(key.removeprefix("module.").startswith("mid_block.") for key in motion_keys):
        if max_frames is None:
            return "lcm"
        return "long" if max_frames > V2_FRAMES else "v2"
    levels = 1 + max((int(match[1]) for key in motion_keys if (match := _LEVEL.search(key))), default=-1)
    if levels == SDXL_LEVELS:
        return "hotshot" if max_frames == HOTSHOT_FRAMES else "sdxl"
    if max_frames is None:
        return None
    return "v1" if max_frames <= V1_FRAMES else "v3"


def pia_input(tensors: Mapping[str, Shaped]) -> str | None:
    """Return the key of PIA's input convolution; None for other modules and for the whole UNet of a training."""
    for key in ("conv_in.weight", "module.conv_in.weight"):
        shape = tensors[key].shape if key in tensors else ()
        if len(shape) == 4 and shape[1] == PIA_CHANNELS and not any(".resnets." in other for other in tensors):
            return key
    return None


def motion_frames(file: WeightFile, folder: Path | None = None) -> int | None:
    """Return the length of the positional encoding: from the tensors, the metadata, or `config.json` in `folder`."""
    lengths = [t.shape[-2] for key, t in file.tensors.items() if key.endswith(_POSITIONS) and len(t.shape) > 1]
    return max(lengths) if lengths else recorded_frames(file.metadata) or _configured_frames(folder or file.path)


def recorded_frames(metadata: Mapping[str, str]) -> int | None:
    """Return the length recorded in metadata; None if it is missing or not in 1 … `MAX_FRAMES`."""
    text = metadata.get(FRAMES_KEY, "")
    return int(text) if text.isdecimal() and len(text) < 5 and 0 < int(text) <= MAX_FRAMES else None


def _configured_frames(folder: Path) -> int | None:
    config = folder / "config.json"
    if not config.is_file():
        return None
    try:
        length = read_json(config).get("motion_max_seq_length")
    except (ValueError, AttributeError):
        return None
    return length if type(length) is int and 0 < length <= MAX_FRAMES else None
