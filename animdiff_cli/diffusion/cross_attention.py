"""Cross-attention that reads one prompt for all frames of a clip, and projects it once.

Text keys and values depend on the prompt and the weights only, yet a UNet recomputes them for every frame of every
step. Treating the frames of a clip as more queries of the same attention is the same arithmetic with fewer rows.
"""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from torch import Tensor, nn


class SharedTextProcessor:
    """Attention processor for text [B, L, D] and image tokens [B*F, P, C]: each text row serves F consecutive rows.

    Keeps the projected keys and values of the last prompt; a changed prompt, weight, adapter or adapter scale is
    noticed and projected anew.
    """

    def __init__(self) -> None:
        self._text: Tensor | None = None
        self._state: tuple[object, ...] = ()
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
            return AttnProcessor2_0()(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        key, value = self._project(attn, encoder_hidden_states)
        texts, _, head_dim = key.shape[0], key.shape[1], key.shape[-1]
        query = attn.to_q(hidden_states).view(texts, -1, attn.heads, head_dim).transpose(1, 2)
        attended = F.scaled_dot_product_attention(query, key, value, scale=attn.scale)
        attended = attended.transpose(1, 2).reshape(*hidden_states.shape[:2], attn.heads * head_dim)
        return attn.to_out[1](attn.to_out[0](attended.to(query.dtype)))

    def _project(self, attn: Attention, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values [B, heads, L, head_dim]."""
        if torch.compiler.is_compiling() or torch.is_grad_enabled():
            return _keys_and_values(attn, text)
        state = (_edits(text), *_state_of(attn.to_k), *_state_of(attn.to_v))
        if self._projected is None or self._text is not text or self._state != state:
            self._projected = _keys_and_values(attn, text)
            self._text, self._state = text, state
        return self._projected


def share_text(unet: Any) -> bool:
    """Let the cross-attentions of `unet` take text [B, L, D] for image batches [B*F, ...]; say whether they do.

    A UNet with foreign attention processors (IP-Adapter, say) is left as it is, and its text must be repeated for every
    frame, [B*F, L, D]. May be called any number of times; text repeated by the caller stays right either way.
    """
    layers = [module for name, module in unet.named_modules() if _is_cross_attention(name, module)]
    if not layers or not all(_is_plain(attention) for attention in layers):
        return False
    for attention in layers:
        if not isinstance(attention.processor, SharedTextProcessor):
            attention.processor = SharedTextProcessor()
    return True


def unshare_text(unet: Any) -> None:
    """Give the cross-attentions their stock processors back."""
    for module in unet.modules():
        if isinstance(module, Attention) and isinstance(module.processor, SharedTextProcessor):
            module.processor = AttnProcessor2_0()


def _is_cross_attention(name: str, module: nn.Module) -> bool:
    return isinstance(module, Attention) and name.endswith("attn2")


def _is_plain(attention: Attention) -> bool:
    """Tell whether this attention is nothing but four projections and a softmax."""
    extras = (attention.spatial_norm, attention.group_norm, attention.norm_cross, attention.norm_q, attention.norm_k)
    plain = not any(extras) and not attention.residual_connection and attention.rescale_output_factor == 1
    known = (AttnProcessor, AttnProcessor2_0, SharedTextProcessor)
    return plain and isinstance(attention.processor, known) and attention.add_k_proj is None


def _keys_and_values(attn: Attention, text: Tensor) -> tuple[Tensor, Tensor]:
    key, value = attn.to_k(text), attn.to_v(text)
    heads = (*text.shape[:2], attn.heads, key.shape[-1] // attn.heads)
    return key.view(heads).transpose(1, 2), value.view(heads).transpose(1, 2)


def _state_of(projection: nn.Module) -> tuple[object, ...]:
    """Describe everything a projection's result depends on: storage, in-place changes, adapters and their scales."""
    weights = tuple((id(p), p.data_ptr(), _edits(p)) for p in projection.parameters())
    adapters = getattr(projection, "active_adapters", None)
    scaling = tuple(sorted(getattr(projection, "scaling", {}).items()))
    merged = tuple(getattr(projection, "merged_adapters", ()))
    return (*weights, *(adapters or ()), *scaling, *merged, getattr(projection, "disable_adapters", None))


def _edits(tensor: Tensor) -> int:
    """Count in-place changes; tensors made in inference mode keep no count and cannot be changed outside of it."""
    return 0 if tensor.is_inference() else tensor._version
