"""The forwards of layers around group norms: the norm itself, with the SiLU of ResNets and autoencoders.

Every one of them runs its module's own `forward` where gradients are recorded, since the kernels have no backward pass,
where `torch.compile` traces it, since the compiler fuses more, and where the backend has nothing faster.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.vae import Decoder, Encoder
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from animdiff_cli.diffusion.kernels import Replacement
from animdiff_cli.motion.plug import frames_of_norm


@dataclass(frozen=True, slots=True)
class NormForwards:
    """The forwards of one backend.

    `group_norm` is called as that of `kernels.group_norm`, for input that `supports` accepts.
    """

    group_norm: Callable[..., Tensor]
    supports: Callable[[Tensor], bool]

    def replacements(self, network: nn.Module) -> Iterator[Replacement]:
        """Yield the layers of a UNet, a motion module, a ControlNet or an autoencoder with their faster forwards."""
        activates: set[nn.Module] = set()  # norms with SiLU inside
        for layer in network.modules():
            if isinstance(layer, ResnetBlock2D) and _is_plain(layer):
                yield layer, self._resnet
            elif isinstance(layer, (Encoder, Decoder)) and isinstance(layer.conv_norm_out, nn.GroupNorm):
                activates.add(layer.conv_norm_out)
                yield layer.conv_norm_out, self._norm_and_silu
                yield layer.conv_act, self._silu_unless_done
            elif isinstance(layer, nn.GroupNorm) and layer.affine and layer not in activates:
                yield layer, self._norm

    def runs_plain(self, hidden: Tensor) -> bool:
        """Whether a module computes `hidden` by its own `forward`."""
        return torch.is_grad_enabled() or torch.compiler.is_compiling() or not self.supports(hidden)

    def _norm(self, norm: nn.GroupNorm, input: Tensor, **fused: Any) -> Tensor:
        """`fused`: `added`, `silu` and `num_frames` of `group_norm`, from callers that have checked `runs_plain`."""
        if not fused and self.runs_plain(input):
            return nn.GroupNorm.forward(norm, input)
        return self.group_norm(input, norm.num_groups, norm.weight, norm.bias, norm.eps, **fused)

    def _norm_and_silu(self, norm: nn.GroupNorm, input: Tensor) -> Tensor:
        if self.runs_plain(input):
            return nn.GroupNorm.forward(norm, input)
        return self._norm(norm, input, silu=True)

    def _silu_unless_done(self, silu: nn.SiLU, input: Tensor) -> Tensor:
        return nn.SiLU.forward(silu, input) if self.runs_plain(input) else input

    def _resnet(self, block: Any, input_tensor: Tensor, temb: Tensor | None = None) -> Tensor:
        if self.runs_plain(input_tensor) or block.training:
            plain: Tensor = type(block).forward(block, input_tensor, temb)
            return plain
        added = None
        if temb is not None and block.time_emb_proj is not None:
            added = block.time_emb_proj(block.nonlinearity(temb))
        hidden = block.conv1(_activated(block, block.norm1, input_tensor))
        hidden = block.conv2(_activated(block, block.norm2, hidden, added))
        skipped = input_tensor if block.conv_shortcut is None else block.conv_shortcut(input_tensor)
        output: Tensor = skipped + hidden
        return output


def _is_plain(block: ResnetBlock2D) -> bool:
    """Check that a ResNet is two norms, SiLUs and convolutions with a timestep embedding added between them."""
    resamples = block.upsample is not None or block.downsample is not None
    embeds = block.time_embedding_norm == "default" and not block.skip_time_act
    embeds = embeds or (block.time_embedding_norm == "group" and block.time_emb_proj is None)  # of an autoencoder
    norms = all(isinstance(norm, nn.GroupNorm) and norm.affine for norm in (block.norm1, block.norm2))
    return (
        not resamples
        and embeds
        and norms
        and block.output_scale_factor == 1
        and isinstance(block.nonlinearity, nn.SiLU)
    )


def _activated(block: Any, norm: nn.GroupNorm, hidden: Tensor, added: Tensor | None = None) -> Tensor:
    """Return SiLU(norm(hidden + added)). With hooks that the kernel cannot stand for, the norm is called as it is."""
    num_frames = frames_of_norm(norm)
    if num_frames is None:
        hidden = hidden if added is None else hidden + added[:, :, None, None]
        activated: Tensor = block.nonlinearity(norm(hidden))
        return activated
    forward: Any = norm.forward  # not the module itself: without the hooks that fold frames
    fused: Tensor = forward(hidden, added=added, silu=True, num_frames=num_frames)
    return fused
