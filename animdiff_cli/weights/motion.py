"""Names of motion-module weights in the official, diffusers and Hotshot-XL layouts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from animdiff_cli.core.text import counted
from animdiff_cli.errors import IntegrityError

POSITION_SUFFIX = ".pos_encoder.pe"
#: suffix of diffusers' positional encoding, one per transformer block
SHARED_POSITION_SUFFIX = ".pos_embed.pe"
#: (diffusers MotionAdapter, official), applied in order to what follows `motion_modules.N.`
RENAMES = (
    (".attn1.", ".attention_blocks.0."),
    (".attn2.", ".attention_blocks.1."),
    (".norm1.", ".norms.0."),
    (".norm2.", ".norms.1."),
    (".norm3.", ".ff_norm."),
)
_SITE = r"(?P<site>(?:(?:down|up)_blocks\.\d+|mid_block)\.motion_modules\.\d+)\."
_OFFICIAL = re.compile(_SITE + r"temporal_transformer\.(?P<rest>.+)")
_DIFFUSERS = re.compile(_SITE + r"(?P<rest>(?:norm|proj_in|proj_out|transformer_blocks)\..+)")
_HOTSHOT = re.compile(
    r"(?P<block>(?:(?:down|up)_blocks\.\d+|mid_block))\.temporal_attentions\.(?P<layer>\d+)\.(?P<rest>.+)"
)
_NUM_ATTENTIONS = 2


class Shaped(Protocol):
    """A tensor or lazy tensor."""

    @property
    def shape(self) -> tuple[int, ...]: ...


T = TypeVar("T", bound=Shaped)


@dataclass(frozen=True, slots=True)
class MotionLayout:
    """Width of each temporal transformer, and the length of the positional encoding if the file has it."""

    widths: dict[str, int]  # `down_blocks.0.motion_modules.0` → D
    max_frames: int | None

    def block(self, group: str) -> tuple[tuple[int, ...], ...]:
        """Return the widths of each block of `down_blocks` or `up_blocks`, in order."""
        named = {_place(site): width for site, width in self.widths.items() if site.startswith(group)}
        count = 1 + max((block for block, _ in named), default=-1)
        return tuple(tuple(named[key] for key in sorted(named) if key[0] == block) for block in range(count))

    @property
    def mid(self) -> tuple[int, ...]:
        return tuple(width for site, width in self.widths.items() if site.startswith("mid_block"))


def to_official(tensors: Mapping[str, T]) -> dict[str, T]:
    """Rename motion weights to the official layout. Other weights are dropped, and so is a `module.` prefix.

    Raises `IntegrityError` if there are no motion weights.
    """
    renamed: dict[str, T] = {}
    for key, tensor in tensors.items():
        official = official_name(key.removeprefix("module."))
        if official is not None:
            renamed[official] = tensor
    if not renamed:
        example = next(iter(tensors), "nothing")
        raise IntegrityError(
            f"no motion-module weights among {counted(len(tensors), 'tensor')} (first: `{example}`)",
            hint="name a motion module such as v3_sd15_mm.ckpt, not a checkpoint or LoRA",
        )
    return _repeat_positions(renamed)


def read_layout(official: Mapping[str, Shaped]) -> MotionLayout:
    """Read the layout from official names. Raises `IntegrityError` if it is incomplete or inconsistent."""
    widths = {
        _site(key): tensor.shape[0]
        for key, tensor in sorted(official.items())
        if key.endswith(".temporal_transformer.norm.weight")
    }
    lengths = {tensor.shape[-2] for key, tensor in official.items() if key.endswith(POSITION_SUFFIX)}
    if len(lengths) > 1:
        raise IntegrityError(f"positional encodings of different lengths in one motion module: {sorted(lengths)}")
    if missing := sorted({_site(key) for key in official} - widths.keys()):
        raise IntegrityError(f"`{missing[0]}` has no norm: the motion module is incomplete")
    return MotionLayout(widths, next(iter(lengths), None))


def official_name(key: str) -> str | None:
    """Translate the name of a motion weight to the official layout; None for other keys.

    >>> official_name("mid_block.motion_modules.0.transformer_blocks.0.attn2.to_q.weight")
    'mid_block.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.1.to_q.weight'
    """
    if match := _HOTSHOT.fullmatch(key):
        rest = match["rest"].replace("pos_encoder.positional_encoding", "pos_encoder.pe")
        return f"{match['block']}.motion_modules.{match['layer']}.temporal_transformer.{rest}"
    if _OFFICIAL.fullmatch(key):
        return key
    match = _DIFFUSERS.fullmatch(key)
    return match and f"{match['site']}.temporal_transformer{_renamed('.' + match['rest'], RENAMES)}"


def in_hotshot_names(keys: Iterable[str]) -> bool:
    """Return whether any key is a name of Hotshot-XL, which identifies the version."""
    return any(_HOTSHOT.fullmatch(key.removeprefix("module.")) for key in keys)


def diffusers_name(key: str) -> str | None:
    """Translate the name of a motion weight to diffusers; None for other keys. Encodings stay one per attention.

    >>> diffusers_name("up_blocks.0.motion_modules.2.temporal_transformer.transformer_blocks.0.ff_norm.bias")
    'up_blocks.0.motion_modules.2.transformer_blocks.0.norm3.bias'
    """
    official = official_name(key)
    match = official and _OFFICIAL.fullmatch(official)
    if not match:
        return None
    back = tuple((official, diffusers) for diffusers, official in RENAMES)
    return match["site"] + _renamed("." + match["rest"], back)


def is_position(key: str) -> bool:
    """Return whether a key names a positional encoding. Files may leave it out, since it is computed."""
    return key.endswith((POSITION_SUFFIX, SHARED_POSITION_SUFFIX))


def missing_weights(expected: Iterable[str], found: Iterable[str]) -> list[str]:
    """List the learned weights that `found` lacks. Positional encodings are computed and need not be there."""
    return sorted(key for key in set(expected) - set(found) if not is_position(key))


def _renamed(rest: str, table: Iterable[tuple[str, str]]) -> str:
    for old, new in table:
        # the module name of a LoRA ends without a dot
        rest = (rest + ".").replace(old, new).removesuffix(".")
    return rest


def _repeat_positions(tensors: Mapping[str, T]) -> dict[str, T]:
    """Replace diffusers' one `pos_embed.pe` per transformer block by the official one per attention."""
    spread = {}
    for key, tensor in tensors.items():
        stem, is_shared, _ = key.partition(SHARED_POSITION_SUFFIX)
        if not is_shared:
            spread[key] = tensor
            continue
        for attention in range(_NUM_ATTENTIONS):
            spread[f"{stem}.attention_blocks.{attention}{POSITION_SUFFIX}"] = tensor
    return spread


def _site(key: str) -> str:
    return key.partition(".temporal_transformer")[0]


def _place(site: str) -> tuple[int, int]:
    _, block, _, layer = site.split(".")
    return int(block), int(layer)
