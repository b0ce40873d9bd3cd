"""The noise of a seed, the same on every device."""

import torch
from torch import Tensor

LATENT_CHANNELS = 4


def seeded_generator(seed: int) -> torch.Generator:
    """Return a CPU generator for any unsigned 64-bit seed."""
    return torch.Generator("cpu").manual_seed(seed)


def initial_noise(generator: torch.Generator, num_frames: int, height: int, width: int) -> Tensor:
    """Draw float32 noise of unit variance, [1, 4, F, height, width] in latents, as diffusers does.

    The frames are independent, so this noise also fits a clip that loops.
    """
    return torch.randn((1, LATENT_CHANNELS, num_frames, height, width), generator=generator, dtype=torch.float32)


def free_noise(
    generator: torch.Generator,
    num_frames: int,
    height: int,
    width: int,
    *,
    context_length: int,
    stride: int,
    loop: bool = False,
) -> Tensor:
    """Draw noise whose frames come again, shuffled: windows far apart then agree on the scene.

    FreeNoise (Qiu et al. 2023, arXiv 2310.15169, section 3.2). `stride` is the number of frames from one context window
    to the next. With one window the noise is that of `initial_noise`.
    """
    drawn = initial_noise(generator, distinct_frames(num_frames, context_length, loop=loop), height, width)
    arrange = looped_order if loop else shuffled_order
    return drawn[:, :, arrange(generator, num_frames, context_length, stride)]


def distinct_frames(num_frames: int, context_length: int, *, loop: bool) -> int:
    """Return the number of frames that FreeNoise draws.

    A loop is divided into as many equal parts as can be `context_length` long, also across its end. Equal frames then
    have at least `context_length - stride` others between them both ways round, so a window may hold a frame twice.
    """
    return -(-num_frames // max(1, num_frames // context_length)) if loop else min(num_frames, context_length)


def shuffled_order(generator: torch.Generator, num_frames: int, context_length: int, stride: int) -> list[int]:
    """Return the drawn frame of each frame: the first window, then stretches of `stride` frames.

    A stretch holds the frames of the stretch one window earlier in another order. Windows that begin at multiples of
    `stride`, and the last window, thus hold every drawn frame once. The last stretch may be shorter: then it shuffles
    only as many frames as it has, those that the last window leaves behind.
    """
    order = list(range(min(num_frames, context_length)))
    for start in range(context_length, num_frames, stride):
        end = min(start + stride, num_frames)
        order += _shuffled(generator, order[start - context_length : end - context_length])
    return order


def looped_order(generator: torch.Generator, num_frames: int, context_length: int, stride: int) -> list[int]:
    """Return the drawn frame of each frame of a loop: equal parts, each with its stretches shuffled in place.

    A part stays in the order of the first outside of its stretches, so the last part leads into the first as it leads
    into any other.
    """
    parts = max(1, num_frames // context_length)
    order = list(range(-(-num_frames // parts)))
    for part in range(1, parts):
        length = num_frames // parts + (part < num_frames % parts)
        for start in range(0, length, stride):
            order += _shuffled(generator, range(start, min(start + stride, length)))
    return order


def _shuffled(generator: torch.Generator, frames: list[int] | range) -> list[int]:
    return [frames[index] for index in torch.randperm(len(frames), generator=generator).tolist()]
