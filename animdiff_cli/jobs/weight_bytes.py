"""Bytes of the weights of a render, by where they are at each memory level. Reads headers only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

import torch

from animdiff_cli.core.weight_units import unit_modules
from animdiff_cli.diffusion.build import is_sdxl, part_config, vae_dtype
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.source import open_model
from animdiff_cli.jobs.weights import CheckedWeights
from animdiff_cli.weights.lazy import LazyTensor


@dataclass(frozen=True, slots=True)
class WeightBytes:
    """Bytes as the weights are stored; those of fp8 are of 8 bits where it compresses."""

    denoiser: int  # of the UNet, motion modules, controls and IP-Adapters
    resident: int  # the part of them that never moves: vectors, small layers, IP-Adapters
    unit: int  # the largest unit that moves, while it runs
    others: int  # of text encoders, the VAE and the image encoder
    vae: int

    @property
    def total(self) -> int:
        """Bytes of all weights."""
        return self.denoiser + self.others


def count_weights(weights: CheckedWeights, plan: DevicePlan) -> WeightBytes:
    """Count the weights of a render."""
    itemsize, is_compressed = plan.torch_dtype.itemsize, plan.weights_dtype == "fp8"
    denoiser = resident = unit = 0
    for network in _denoisers(weights):
        matrices = {name: tensor.numel * itemsize for name, tensor in network.items() if len(tensor.shape) > 1}
        units = dict.fromkeys(unit_modules(matrices), 0)
        for name, tensor in network.items():
            size = tensor.numel * itemsize
            of = next((part for part in accumulate(name.split("."), "{}.{}".format) if part in units), None)
            if of is None or name not in matrices:
                resident += size
                denoiser += size
            else:
                units[of] += size
                denoiser += tensor.numel if is_compressed and "embed" not in of else size
        unit = max(unit, *units.values(), 0)
    adapters = {adapter.path: adapter.weights for adapter in weights.image_prompts}.values()
    kept = sum(
        tensor.numel
        for adapter in adapters
        for tensor in (*adapter.projection.values(), *adapter.keys, *adapter.values)
    )
    source = open_model(weights.files.model)
    vae = weights.patches.vae.tensors if weights.patches.vae else source.tensors("vae")
    encoders = [
        tensor for part in source.parts if part not in ("unet", "vae") for tensor in source.tensors(part).values()
    ]
    if weights.image_encoder:
        encoders += weights.image_encoder.tensors.values()
    vae_bytes = sum(tensor.numel for tensor in vae.values()) * decoding_dtype(weights, plan).itemsize
    return WeightBytes(
        denoiser=denoiser + kept * itemsize,
        resident=resident + kept * itemsize,
        unit=unit,
        others=sum(tensor.numel for tensor in encoders) * itemsize + vae_bytes,
        vae=vae_bytes,
    )


def decoding_dtype(weights: CheckedWeights, plan: DevicePlan) -> torch.dtype:
    """Return the dtype that the VAE decodes in."""
    model = weights.files.model
    config = weights.patches.vae.config if weights.patches.vae else part_config(model, "vae")
    return vae_dtype(config, plan, "sdxl" if is_sdxl(model) else "sd15")


def _denoisers(weights: CheckedWeights) -> Iterator[Mapping[str, LazyTensor]]:
    """Yield the tensors of each network whose weights may move while a clip is denoised."""
    yield open_model(weights.files.model).tensors("unet")
    for file in weights.mixed_motion or ((weights.motion,) if weights.motion else ()):
        yield file.tensors
    for control in {control.path: control for control in weights.controls}.values():
        yield control.tensors
        yield control.motion
