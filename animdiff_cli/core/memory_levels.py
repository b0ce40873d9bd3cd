"""How a render fits into the memory of a device: levels, each with less memory and more time than the one before."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from animdiff_cli.core.choices import LowVram

MemoryMode = Literal["off", "offload", "sequential"]
Phase = Literal["denoising", "decoding"]

MODES: tuple[MemoryMode, ...] = ("off", "offload", "sequential")
#: more groups save nothing: then other layers need the most
GROUPS = (1, 4)
CHUNKS = (4, 2, 1)
TILES = (None, 64, 32)
#: units of weights on the device while weights are streamed: one that runs, one that is queued, one that is copied
UNITS = 3
#: share of the memory that a count leaves out: workspaces of libraries and gaps between blocks. A guess: the
#: activations of SD1.5 on an H100 were 0.4 % below their count, what the allocator keeps beside them was not measured
HEADROOM = 0.1


@dataclass(frozen=True, slots=True)
class MemoryLevel:
    """One level. The default keeps everything on the device."""

    mode: MemoryMode = "off"
    groups: int = 1  # of frames, in the feed-forward layers of transformers
    chunk: int = CHUNKS[0]  # frames that are decoded at once
    tile: int | None = None  # side of the tiles that the VAE decodes, in latents; None decodes whole frames

    def __str__(self) -> str:
        """Return what a recipe contains, such as `sequential, 4 frame groups`. Chunks change no pixel."""
        groups = f", {self.groups} frame groups" if self.groups > 1 else ""
        return f"{self.mode}{groups}{f', VAE tiles of {8 * self.tile} pixels' if self.tile else ''}"

    def next(self, phase: Phase, *, can_group: bool = True) -> "MemoryLevel | None":
        """Return the level with less memory in a phase; None after the last.

        >>> str(MemoryLevel("sequential").next("denoising"))
        'sequential, 4 frame groups'
        """
        if self.mode == "off" or (self.mode == "offload" and phase == "denoising"):
            return replace(self, mode=MODES[MODES.index(self.mode) + 1])
        if phase == "denoising":
            groups = dict(pairwise(GROUPS)).get(self.groups) if can_group else None
            return replace(self, groups=groups) if groups else None
        if chunk := dict(pairwise(CHUNKS)).get(self.chunk):
            return replace(self, chunk=chunk)
        tile = dict(pairwise(TILES)).get(self.tile)
        return replace(self, tile=tile) if tile else None

    def below(self, phase: Phase, *, can_group: bool = True) -> Iterator["MemoryLevel"]:
        """Yield this level and those with less memory in a phase."""
        level: MemoryLevel | None = self
        while level is not None:
            yield level
            level = level.next(phase, can_group=can_group)


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes that a clip needs on its device, by what can be reduced."""

    denoiser: int  # weights of the UNet, the motion module, controls and IP-Adapters
    resident: int  # the part of them that never moves
    others: int  # weights of text encoders, the VAE and the image encoder
    vae: int  # weights of the VAE
    unit: int  # the largest unit of weights that is streamed, or that is in 8 bits while it does not run
    activations: int  # of a UNet call
    grouped: int  # of one in groups of frames
    frame: int  # activations while the VAE decodes one frame
    latent_side: int  # the longer side of a frame's latents
    frames: int
    is_compressed: bool = False  # weights of the denoiser are in 8 bits

    def denoising(self, level: MemoryLevel) -> int:
        """Return the bytes at the peak of denoising."""
        streamed = self.resident + UNITS * self.unit
        weights = {"off": self.denoiser + self.others, "offload": self.denoiser, "sequential": streamed}[level.mode]
        weights += self.unit if self.is_compressed and level.mode != "sequential" else 0
        return weights + (self.grouped if level.groups > 1 else self.activations)

    def decoding(self, level: MemoryLevel) -> int:
        """Return the bytes at the peak of decoding."""
        weights = self.denoiser + self.others if level.mode == "off" else self.resident + self.vae
        tile = min(1.0, (level.tile / self.latent_side) ** 2) if level.tile else 1.0
        return weights + round(min(level.chunk, self.frames) * self.frame * tile)

    def of(self, level: MemoryLevel) -> int:
        """Return the bytes at the peak."""
        return max(self.denoising(level), self.decoding(level))


def choose_level(requested: LowVram, need: MemoryNeed, free: int | None, *, can_group: bool = True) -> MemoryLevel:
    """Choose the fastest level that fits into `free` bytes; the last one if none does.

    It is at least the requested mode; `off` is always itself. An unknown `free` fits all.
    """
    first = MemoryLevel("off" if requested == "auto" else requested)
    if requested == "off" or free is None:
        return first
    usable = free / (1 + HEADROOM)
    levels = list(first.below("denoising", can_group=can_group))
    fits = (level for level in levels if need.denoising(level) <= usable and _decodes(need, level, usable))
    levels = list(next(fits, levels[-1]).below("decoding"))
    return next((level for level in levels if need.decoding(level) <= usable), levels[-1])


def _decodes(need: MemoryNeed, level: MemoryLevel, usable: float) -> bool:
    """Whether a frame can be decoded at this level, or there is nothing to move away for it."""
    return level.mode != "off" or need.decoding(replace(level, chunk=CHUNKS[-1])) <= usable
