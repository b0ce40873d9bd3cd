"""Cross-attention that projects text to keys and values once per clip.

Keys and values of the text depend on the prompt and the weights only, but a UNet computes them again for every frame
of every step. The processor here treats the frames of a clip as more queries of the same attention: the same
arithmetic on fewer rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from torch import Tensor, nn

from animdiff_cli.diffusion.frame_texts import Mix
from animdiff_cli.motion.beside import is_changed_beside
from animdiff_cli.motion.unet import UNet


@dataclass(slots=True)
class Mixing:
    """The mix of texts in the current call of a UNet, which all of its processors read."""

    mix: Mix | None = None


class SharedTextProcessor:
    """Attention processor for text [B, L, D] and image tokens [B*F, P, C]: each text row serves F consecutive images.

    With `cache` the keys and values of a text tensor are computed once. Weights and text must then stay as they are:
    use it inside `cached_text` only. With `mixing` the text holds T texts, and each image has keys and values that are
    mixed from those of two.
    """

    def __init__(self, *, cache: bool = False, mixing: Mixing | None = None) -> None:
        self._cache = cache
        self._mixing = mixing
        self._text: Tensor | None = None
        self._projected: tuple[Tensor, Tensor] | None = None

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        if attention_mask is not None:
            stock: Any = AttnProcessor2_0()  # type: ignore[no-untyped-call]  # diffusers
            masked: Tensor = stock(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
            return masked
        key, value = self._project(attn, encoder_hidden_states)
        if self._mixing and self._mixing.mix:
            key, value = self._mixing.mix.of(key), self._mixing.mix.of(value)
        texts, _, head_dim = key.shape[0], key.shape[1], key.shape[-1]
        query = attn.to_q(hidden_states).view(texts, -1, attn.heads, head_dim).transpose(1, 2)
        attended = F.scaled_dot_product_attention(query, key, value, scale=attn.scale)
        attended = attended.transpose(1, 2).reshape(*hidden_states.shape[:2], attn.heads * head_dim)
        output: Tensor = attn.to_out[1](attn.to_out[0](attended.to(query.dtype)))
        return output

    def _project(self, attn: Attention, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values [B, heads, L, head_dim]."""
        if not self._cache or torch.compiler.is_compiling() or torch.is_grad_enabled():
            return _keys_and_values(attn, text)
        if self._projected is None or self._text is not text:
            self._text, self._projected = text, _keys_and_values(attn, text)
        return self._projected


def share_text(unet: UNet, *, cache: bool = False, mixing: Mixing | None = None) -> bool:
    """Let the cross-attentions of `unet` take text [B, L, D] for image batches [B*F, ...]; return whether they do.

    A UNet with other attention processors (of an IP-Adapter, for example) is left as it is, and its text must be
    repeated for every frame: [B*F, L, D]. Repeated text gives the right result either way.
    """
    layers = _cross_attentions(unet)
    if not layers or not all(_is_plain(attention) for attention in layers):
        return False
    for attention in layers:
        attention.processor = SharedTextProcessor(cache=cache, mixing=mixing)  # type: ignore[assignment]  # any callable will do
    return True


@contextmanager
def cached_text(unet: UNet, mixing: Mixing | None = None) -> Iterator[bool]:
    """Share text and cache its keys and values inside this context; yield whether `unet` takes shared text.

    At the end the caches are dropped and the earlier processors are back.
    """
    before = [(attention, attention.processor) for attention in _cross_attentions(unet)]
    try:
        yield share_text(unet, cache=True, mixing=mixing)
    finally:
        for attention, processor in before:
            attention.processor = processor


def _cross_attentions(unet: UNet) -> list[Attention]:
    return [module for name, module in unet.named_modules() if isinstance(module, Attention) and name.endswith("attn2")]


def _is_plain(attention: Attention) -> bool:
    """Check that this attention is nothing but four projections and a softmax."""
    extras = (attention.spatial_norm, attention.group_norm, attention.norm_cross, attention.norm_q, attention.norm_k)
    plain = not any(extras) and not attention.residual_connection and attention.rescale_output_factor == 1
    plain = plain and all(getattr(layer, "bias", None) is None for layer in (attention.to_k, attention.to_v))
    known = (AttnProcessor, AttnProcessor2_0, SharedTextProcessor)
    if is_changed_beside(attention.to_k) or is_changed_beside(attention.to_v):
        return False  # keys and values differ by frame or step
    return plain and type(attention.processor) in known and attention.add_k_proj is None


def _keys_and_values(attn: Attention, text: Tensor) -> tuple[Tensor, Tensor]:
    def heads(projection: nn.Module) -> Tensor:
        projected: Tensor = projection(text)
        shape = (*text.shape[:2], attn.heads, projected.shape[-1] // attn.heads)
        return projected.view(shape).transpose(1, 2)

    return heads(attn.to_k), heads(attn.to_v)
