"""The paper's ablation (section 5.3): a motion module with temporal convolutions instead of temporal attention.

Everything else is unchanged: plug points, norms, positional encodings, feed-forwards, zero-initialized outputs. In the
v2 and v3 layouts these work on single frames, so only the convolutions exchange information between frames.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from animdiff_cli.errors import IntegrityError
from animdiff_cli.motion import MotionModule, MotionSpec
from animdiff_cli.motion.module import PositionalEncoding, TemporalBlock
from animdiff_cli.weights.files import read_metadata, read_tensors, write_tensors
from animdiff_cli.weights.info import KIND_KEY, VERSION_KEY

KIND = "temporal-convolution"
#: prefix of every key of a file, so that it is not identified as a motion module
PREFIX = "temporal_convolution."


class TemporalConvolution(nn.Module):
    """Replaces a `TemporalAttention`, with the same number of parameters.

    The projections to query, key and value are three matrices [D, D] without bias, as are the three taps of the
    convolution; the output projection is kept.
    """

    def __init__(self, width: int, max_frames: int) -> None:
        super().__init__()
        # kernel width 1 over positions: a 2D convolution takes [B, D, F, P] without a copy
        self.taps = nn.Conv2d(width, width, kernel_size=(3, 1), padding=(1, 0), bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.pos_encoder = PositionalEncoding(width, max_frames)

    def forward(self, tokens: Tensor) -> Tensor:
        """`tokens`: [B, F, P, D], P spatial positions."""
        mixed = self.taps(self.pos_encoder(tokens).permute(0, 3, 1, 2))
        return self.to_out[0](mixed.permute(0, 2, 3, 1))


class ConvolutionModule(MotionModule):
    """A drop-in replacement for a motion module of the same layout. Untrained, it is an exact identity too."""

    def __init__(self, spec: MotionSpec) -> None:
        super().__init__(spec)
        for block in [module for module in self.modules() if isinstance(module, TemporalBlock)]:
            width = block.ff_norm.normalized_shape[0]
            block.attention_blocks = nn.ModuleList(
                TemporalConvolution(width, spec.max_frames) for _ in block.attention_blocks
            )


def save_convolution(network: MotionModule, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the weights in float16, atomically. Leaves out positional encodings, which are computed."""
    tensors = {f"{PREFIX}{name}": p.detach().to("cpu", torch.float16) for name, p in network.named_parameters()}
    write_tensors(tensors, path, {KIND_KEY: KIND, VERSION_KEY: network.spec.version, "format": "pt", **metadata})


def load_convolution(path: Path, unet_config: Mapping[str, Any]) -> ConvolutionModule:
    """Load a file of `save_convolution` for a UNet of this config, in float32.

    Raises `IntegrityError` if the file is something else, or made for another UNet.
    """
    metadata = read_metadata(path)
    if metadata.get(KIND_KEY) != KIND:
        raise IntegrityError(
            f"{path.name} is no temporal convolution", hint="make one: `python -m tools.pocket temporal-conv`"
        )
    network = ConvolutionModule(MotionSpec.for_unet(unet_config, metadata[VERSION_KEY]))  # type: ignore[arg-type]
    expected = {f"{PREFIX}{name}": parameter for name, parameter in network.named_parameters()}
    found = read_tensors(path)
    differing = [name for name, tensor in expected.items() if name not in found or found[name].shape != tensor.shape]
    if differing or found.keys() - expected.keys():
        raise IntegrityError(
            f"{path.name} does not fit this image model, first at `{min(differing, default='an extra weight')}`",
            hint="use the model it was trained on",
        )
    with torch.no_grad():
        for name, parameter in expected.items():
            parameter.copy_(found[name])
    return network.eval()
