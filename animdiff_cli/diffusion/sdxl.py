"""What SDXL's UNet is told: two encoders' texts side by side, a summary of the prompt, and sizes.

Podell et al. 2023, section 2.2. The denoising loop is the one of Stable Diffusion 1.5; this is added to it.
"""

from collections.abc import Callable
from typing import Any

import torch

from animdiff_cli.diffusion.build import Components
from animdiff_cli.diffusion.denoise import Added, Conditioning
from animdiff_cli.diffusion.text import Text, tokenize
from animdiff_cli.motion import MotionModule

Report = Callable[[str], None]
#: original height and width, upper and left corner, target height and width, in pixels
Sizes = tuple[int, int, int, int, int, int]


def sizes_of(height: int, width: int, motion: MotionModule | None = None) -> Sizes:
    """Say that the picture was made at this size and nothing was cut off it, unless `motion` was trained on others."""
    own = motion.spec.traits.size_ids if motion else None
    return own or (height, width, 0, 0, height, width)


def condition(
    parts: Components,
    prompt: str,
    negative: str | None,
    guidance_scale: float,
    sizes: Sizes,
    *,
    clip_skip: int = 0,
    report: Report = lambda message: None,
) -> Conditioning:
    """Encode prompt and negative prompt for an SDXL model; `negative` is None when guidance is off.

    An empty negative prompt is zeros where the model was trained so (`force_zeros_for_empty_prompt` in diffusers).
    """
    positive = encode_both(parts, prompt, clip_skip=clip_skip, report=report)
    if negative is None:
        return tell(positive, None, guidance_scale, sizes)
    is_none = not negative and parts.zeros_for_empty
    other = positive.zeros() if is_none else encode_both(parts, negative, clip_skip=clip_skip, report=report)
    return tell(positive, other, guidance_scale, sizes)


def tell(positive: Text, negative: Text | None, guidance_scale: float, sizes: Sizes) -> Conditioning:
    """Put together what an SDXL UNet is told from texts that are encoded; `negative` is None when guidance is off."""
    if negative is None:
        return Conditioning(positive.tokens, None, guidance_scale, _added([positive], sizes))
    return Conditioning(positive.tokens, negative.tokens, guidance_scale, _added([negative, positive], sizes))


@torch.no_grad()
def encode_both(parts: Components, prompt: str, *, clip_skip: int = 0, report: Report = lambda message: None) -> Text:
    """Encode one prompt with both encoders.

    SDXL reads the layer before the last, without the final norm; `clip_skip` counts from there, as in diffusers.
    """
    read = []
    for tokenizer, encoder in ((parts.tokenizer, parts.text_encoder), (parts.tokenizer_2, parts.text_encoder_2)):
        tokens = tokenize(tokenizer, prompt, report)
        read.append(encoder(tokens.to(encoder.device), output_hidden_states=True))
    layers: list[Any] = [output.hidden_states[-(clip_skip + 2)] for output in read]
    return Text(torch.cat(layers, dim=-1), read[1].text_embeds)


def _added(texts: list[Text], sizes: Sizes) -> Added:
    pooled = torch.cat([text.pooled for text in texts if text.pooled is not None])
    row = torch.tensor([sizes], dtype=torch.float32, device=pooled.device)
    return Added(pooled, row.repeat(len(texts), 1))
