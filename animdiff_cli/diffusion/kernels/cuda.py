"""The forwards of layers that run in Triton: group norms, with the SiLU of ResNets and autoencoders, and GEGLU.

Every one of them runs its module's own `forward` where gradients are recorded, since the kernels have no backward pass,
and where `torch.compile` traces it, since the compiler fuses more.
"""

from collections.abc import Iterator
from typing import Any

import torch
import triton
from diffusers.models.activations import GEGLU
from diffusers.models.autoencoders.vae import Decoder, Encoder
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from animdiff_cli.diffusion.kernels import Replacement
from animdiff_cli.diffusion.kernels.geglu import _gate, gated
from animdiff_cli.diffusion.kernels.group_norm import group_norm
from animdiff_cli.motion import module
from animdiff_cli.motion.plug import frames_of_norm

IS_INTERPRETED = not isinstance(_gate, triton.JITFunction)  # TRITON_INTERPRET=1: on the CPU, for tests
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def replacements(network: nn.Module) -> Iterator[Replacement]:
    """Yield the layers of a UNet, a motion module, a ControlNet or an autoencoder with their faster forwards."""
    vectors = (weight for weight in network.parameters() if weight.dim() == 1)  # matrices may rest in 8 bits
    if next(vectors).dtype not in DTYPES:
        return
    activates: set[nn.Module] = set()  # norms with SiLU inside
    for layer in network.modules():
        if isinstance(layer, (GEGLU, module.GEGLU)):
            yield layer, _geglu
        elif isinstance(layer, ResnetBlock2D) and _is_plain(layer):
            yield layer, _resnet
        elif isinstance(layer, (Encoder, Decoder)) and isinstance(layer.conv_norm_out, nn.GroupNorm):
            activates.add(layer.conv_norm_out)
            yield layer.conv_norm_out, _group_norm_and_silu
            yield layer.conv_act, _silu_unless_done
        elif isinstance(layer, nn.GroupNorm) and layer.affine and layer not in activates:
            yield layer, _group_norm


def _is_plain(block: ResnetBlock2D) -> bool:
    """Check that a ResNet is two norms, SiLUs and convolutions with a timestep embedding added between them."""
    resamples = block.upsample is not None or block.downsample is not None
    embeds = block.time_embedding_norm == "default" and not block.skip_time_act
    norms = all(isinstance(norm, nn.GroupNorm) and norm.affine for norm in (block.norm1, block.norm2))
    return (
        not resamples
        and embeds
        and norms
        and block.output_scale_factor == 1
        and isinstance(block.nonlinearity, nn.SiLU)
    )


def _runs_plain(hidden: Tensor) -> bool:
    on_device = hidden.is_cuda or IS_INTERPRETED
    return not on_device or torch.is_grad_enabled() or torch.compiler.is_compiling()


def _group_norm(self: nn.GroupNorm, input: Tensor, **fused: Any) -> Tensor:
    """`fused`: `added`, `silu` and `num_frames` of `group_norm`, from callers that have checked `_runs_plain`."""
    if not fused and _runs_plain(input):
        return nn.GroupNorm.forward(self, input)
    return group_norm(input, self.num_groups, self.weight, self.bias, self.eps, **fused)


def _group_norm_and_silu(self: nn.GroupNorm, input: Tensor) -> Tensor:
    if _runs_plain(input):
        return nn.GroupNorm.forward(self, input)
    return _group_norm(self, input, silu=True)


def _silu_unless_done(self: nn.SiLU, input: Tensor) -> Tensor:
    return nn.SiLU.forward(self, input) if _runs_plain(input) else input


def _geglu(self: Any, hidden_states: Tensor) -> Tensor:
    if _runs_plain(hidden_states):
        plain: Tensor = type(self).forward(self, hidden_states)
        return plain
    projected: Tensor = self.proj(hidden_states)
    return gated(projected)


def _resnet(self: Any, input_tensor: Tensor, temb: Tensor | None = None) -> Tensor:
    if _runs_plain(input_tensor) or self.training:
        plain: Tensor = type(self).forward(self, input_tensor, temb)
        return plain
    added = None
    if temb is not None and self.time_emb_proj is not None:
        added = self.time_emb_proj(self.nonlinearity(temb))
    hidden = self.conv1(_activated(self, self.norm1, input_tensor))
    hidden = self.conv2(_activated(self, self.norm2, hidden, added))
    skipped = input_tensor if self.conv_shortcut is None else self.conv_shortcut(input_tensor)
    output: Tensor = skipped + hidden
    return output


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
