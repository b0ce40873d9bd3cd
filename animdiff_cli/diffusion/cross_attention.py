"""Cross-attention that projects text to keys and values once per clip.

Keys and values of the text depend on the prompt and the weights only, but a UNet computes them again for every frame
of every step. The processor here treats the frames of a clip as more queries of the same attention: the same
arithmetic on fewer rows.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from torch import Tensor

from animdiff_cli.diffusion.frame_texts import Mix
from animdiff_cli.diffusion.regions import ShownRegions
from animdiff_cli.motion.beside import is_changed_beside
from animdiff_cli.motion.unet import UNet


@dataclass(slots=True)
class Mixing:
    """The mix of texts in the current call of a UNet, which all of its processors read."""

    mix: Mix | None = None


@dataclass(slots=True)
class ShownPictures:
    """The picture prompts of the current call of a UNet, which all of its processors read."""

    mix: Mix | None = None  # of pictures, for each row of guidance or for each image; None: no picture has an effect
    scale: Tensor | float = 1.0  # one number, or one for each image [B*F, 1, 1]


@dataclass(frozen=True, slots=True)
class PictureKeys:
    """Keys and values of T pictures in one layer, [T, heads, L, head_dim]: a second attention (IP-Adapter)."""

    key: Tensor
    value: Tensor
    shown: ShownPictures

    def attend(self, attn: Attention, query: Tensor) -> Tensor | None:
        """Return what image tokens [B*F, P, C] read from the pictures of the current call, in the same shape."""
        if self.shown.mix is None:
            return None
        key, value = self.shown.mix.of(self.key), self.shown.mix.of(self.value)
        return self.shown.scale * _attend(attn, query, key, value)


class SharedTextProcessor:
    """Attention processor for text [B, L, D] and image tokens [B*F, P, C]: each text row serves F consecutive images.

    With `cache` the keys and values of a text tensor are computed once. Weights and text must then stay as they are:
    use it inside `cached_text` only. With `mixing` the text holds T texts, and each image has keys and values that are
    mixed from those of two. Tokens in `regions` read other texts. What tokens read from `pictures` is added.
    """

    def __init__(
        self,
        *,
        cache: bool = False,
        mixing: Mixing | None = None,
        pictures: tuple[PictureKeys, ...] = (),
        regions: ShownRegions | None = None,
    ) -> None:
        self._cache = cache
        self._mixing = mixing
        self.pictures = pictures
        self.regions = regions
        self.projected: dict[str, tuple[Tensor, tuple[Tensor, Tensor]]] = {}

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
        key, value = self._project(attn, encoder_hidden_states, "clip")
        if self._mixing and self._mixing.mix:
            key, value = self._mixing.mix.of(key), self._mixing.mix.of(value)
        query = attn.to_q(hidden_states)
        attended = _attend(attn, query, key, value)
        if self.regions:
            attended = self.regions.blended(attended, partial(self._read_regions, attn, query))
        for pictures in self.pictures:
            if (read := pictures.attend(attn, query)) is not None:
                attended = attended + read.to(attended.dtype)
        output: Tensor = attn.to_out[1](attn.to_out[0](attended.to(query.dtype)))
        return output

    def _read_regions(self, attn: Attention, query: Tensor, count: int) -> Tensor:
        """Return what the last row of image tokens [rows*F, P, C] reads from the text of each region: [R*F, P, C]."""
        assert self.regions
        if is_changed_beside(attn.to_k) or is_changed_beside(attn.to_v):  # by frame, perhaps
            key, value = _keys_and_values(attn, self.regions.by_frame)
        else:
            key, value = self._project(attn, self.regions.all_texts, "regions")
            if mix := self.regions.mix:
                key, value = mix.of(key), mix.of(value)
        return _attend(attn, query[-self.regions.num_frames :].repeat(count, 1, 1), key, value)

    def _project(self, attn: Attention, text: Tensor, of: str) -> tuple[Tensor, Tensor]:
        """Return keys and values [B, heads, L, head_dim]. `of` names the text in the cache."""
        if not self._cache or torch.compiler.is_compiling() or torch.is_grad_enabled():
            return _keys_and_values(attn, text)
        if of not in self.projected or self.projected[of][0] is not text:
            self.projected[of] = text, _keys_and_values(attn, text)
        return self.projected[of][1]


def share_text(unet: UNet, *, cache: bool = False, mixing: Mixing | None = None) -> bool:
    """Let the cross-attentions of `unet` take text [B, L, D] for image batches [B*F, ...]; return whether they do.

    A UNet with other attention processors (of an IP-Adapter, for example) is left as it is, and its text must be
    repeated for every frame: [B*F, L, D]. Repeated text gives the right result either way.
    """
    layers = cross_attentions(unet)
    if not layers or not all(_is_plain(attention) for attention in layers):
        return False
    for attention in layers:
        _replace_processor(attention, cache=cache, mixing=mixing)
    return True


@contextmanager
def cached_text(unet: UNet, mixing: Mixing | None = None) -> Iterator[bool]:
    """Share text and cache its keys and values inside this context; yield whether `unet` takes shared text.

    At the end the caches are dropped and the earlier processors are back.
    """
    with _earlier_processors_back(unet):
        yield share_text(unet, cache=True, mixing=mixing)


@contextmanager
def with_pictures(unet: UNet, keys: Sequence[PictureKeys]) -> Iterator[None]:
    """Let the cross-attentions of `unet`, in its order, read pictures as well inside this context."""
    with _earlier_processors_back(unet) as layers:
        for attention, own in zip(layers, keys, strict=True):
            _replace_processor(attention, pictures=(own,))
        yield


@contextmanager
def with_regions(unet: UNet, regions: ShownRegions) -> Iterator[None]:
    """Let tokens in regions read their own texts inside this context."""
    with _earlier_processors_back(unet) as layers:
        for attention in layers:
            _replace_processor(attention, regions=regions)
        yield


@contextmanager
def _earlier_processors_back(unet: UNet) -> Iterator[list[Attention]]:
    """Yield the cross-attentions of `unet`; at the end of the context their processors are those of before."""
    before = [(attention, attention.processor) for attention in cross_attentions(unet)]
    try:
        yield [attention for attention, _ in before]
    finally:
        for attention, processor in before:
            attention.processor = processor


def cross_attentions(unet: UNet) -> list[Attention]:
    """List the cross-attentions of a UNet in the order in which its blocks are registered: down, up, middle."""
    return [module for name, module in unet.named_modules() if isinstance(module, Attention) and name.endswith("attn2")]


def text_keys_and_values(unet: UNet) -> list[tuple[Tensor, Tensor]]:
    """List the keys and values of the texts that are cached now."""
    processors = [attention.processor for attention in cross_attentions(unet)]
    cached = [processor.projected for processor in processors if isinstance(processor, SharedTextProcessor)]
    return [pair for texts in cached for _, pair in texts.values()]


def _replace_processor(attention: Attention, *, pictures: tuple[PictureKeys, ...] = (), **changes: Any) -> None:
    """Give an attention another processor, which reads the same regions and pictures, and more."""
    if isinstance(before := attention.processor, SharedTextProcessor):
        pictures, changes = (*before.pictures, *pictures), {"regions": before.regions, **changes}
    attention.processor = SharedTextProcessor(pictures=pictures, **changes)  # type: ignore[assignment]  # any callable will do


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
    return by_head(attn, attn.to_k(text)), by_head(attn, attn.to_v(text))


def by_head(attn: Attention, projected: Tensor) -> Tensor:
    """Split tokens [B, L, C] into the heads of an attention: [B, heads, L, C/heads]."""
    return projected.view(*projected.shape[:2], attn.heads, -1).transpose(1, 2)


def _attend(attn: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend from [B*F, P, C] to keys and values [B or B*F, heads, L, head_dim]; return [B*F, P, C]."""
    split = query.reshape(len(key), -1, query.shape[-1])
    attended = F.scaled_dot_product_attention(by_head(attn, split), key, value, scale=attn.scale)
    return attended.transpose(1, 2).reshape(query.shape)
