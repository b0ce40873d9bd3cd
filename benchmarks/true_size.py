"""Write files with the keys, shapes, dtypes and size of published weights, with random values.

    python -m benchmarks.true_size .bench sd15 v3

Values are small and norms are one, so that activations stay finite.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from animdiff_cli.core.model_parts import networks_of
from animdiff_cli.motion.module import MotionModule
from animdiff_cli.motion.spec import MotionSpec
from animdiff_cli.weights.checkpoint import convert_checkpoint
from animdiff_cli.weights.completeness import expected_shapes
from animdiff_cli.weights.files import WeightFile
from animdiff_cli.weights.header import DTYPE_BYTES
from animdiff_cli.weights.identify import identify_file
from animdiff_cli.weights.lazy import LazyTensor, torch_dtype
from animdiff_cli.weights.model_configs import shipped_config
from animdiff_cli.weights.motion import is_position
from animdiff_cli.weights.positional_encoding import positional_encoding
from animdiff_cli.weights.stream import write_safetensors

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out")
ADAPTER_RANK, MOTION_LORA_RANK = 128, 64
CLIP_IDS = "cond_stage_model.transformer.text_model.embeddings.position_ids"
Shapes = Mapping[str, tuple[int, ...]]


def sd15_checkpoint(path: Path) -> Path:
    """Write a Stable Diffusion 1.5 checkpoint, fp16, 2.13 GB."""
    return _checkpoint("sd15", path)


def sdxl_checkpoint(path: Path) -> Path:
    """Write an SDXL checkpoint, fp16, 6.94 GB."""
    return _checkpoint("sdxl", path)


def v3_module(path: Path) -> Path:
    """Write the v3 motion module: fp32 in a pickle, 1.67 GB, as published; fp16 if the suffix is `.safetensors`."""
    return _module("sd15", "v3", path)


def v2_module(path: Path) -> Path:
    """Write the v2 motion module, the base of MotionLoRAs: fp16, 0.91 GB."""
    return _module("sd15", "v2", path)


def sdxl_module(path: Path) -> Path:
    """Write the SDXL beta module: fp32 in a pickle, 0.95 GB, as published; fp16 if the suffix is `.safetensors`."""
    return _module("sdxl", "sdxl", path)


def motion_lora(path: Path) -> Path:
    """Write a MotionLoRA for the v2 module, a pickle of 77 MB."""
    attentions = {key: shape for key, shape in motion_shapes("sd15", "v2").items() if ".attention_blocks." in key}
    return _lora(attentions, MOTION_LORA_RANK, path)


def domain_adapter(path: Path) -> Path:
    """Write the domain adapter of the v3 module, a pickle of 102 MB."""
    unet = expected_shapes("unet", shipped_config("sd15", "unet"))
    return _lora({key: shape for key, shape in unet.items() if ".attn" in key}, ADAPTER_RANK, path)


#: name → function that writes the file, and the name of the file
Writers = Mapping[str, tuple[Callable[[Path], Path], str]]
WRITERS: Writers = {
    "sd15": (sd15_checkpoint, "sd15.safetensors"),
    "sdxl": (sdxl_checkpoint, "sdxl.safetensors"),
    "v3": (v3_module, "v3_sd15_mm.safetensors"),
    "v3-pickle": (v3_module, "v3_sd15_mm.ckpt"),
    "v2": (v2_module, "mm_sd_v15_v2.safetensors"),
    "mm-sdxl": (sdxl_module, "mm_sdxl_v10_beta.safetensors"),
    "motion-lora": (motion_lora, "v2_lora_PanLeft.ckpt"),
    "adapter": (domain_adapter, "v3_sd15_adapter.ckpt"),
}


def write(name: str, folder: Path, writers: Writers | None = None) -> Path:
    """Write one of `WRITERS`, or of `writers`, to a folder unless the file exists."""
    writer, file_name = (writers or WRITERS)[name]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name
    return path if path.exists() else writer(path)


def invented(key: str, shape: tuple[int, ...], dtype: str = "F16") -> LazyTensor:
    """Return a random weight: norms are one, biases zero, others have standard deviation 0.02."""
    width = torch.Size(shape[1:]).numel()

    def rows(start: int, stop: int) -> Tensor:
        count = (stop - start) * width
        if len(shape) < 2:
            one = "norm" in key or ".ln_" in key or "_layers.0" in key or "out.0." in key
            return torch.full((count,), float(one and key.endswith("weight")), dtype=torch_dtype(dtype))
        noise = _noise(dtype)
        begin = (start * width + len(key) * 7919) % len(noise)
        times = -(-(begin + count) // len(noise))
        return noise.repeat(times)[begin : begin + count].reshape(stop - start, *shape[1:])

    return LazyTensor(dtype, shape, rows)


@cache
def _noise(dtype: str) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(1 << 22, generator=generator) * 0.02).to(torch_dtype(dtype))


def _checkpoint(base: str, path: Path) -> Path:
    return write_tensors(checkpoint_tensors(base), path)


def _module(base: str, version: str, path: Path) -> Path:
    return write_tensors(module_tensors(base, version, "F32" if path.suffix == ".ckpt" else "F16"), path)


def checkpoint_tensors(base: str) -> Mapping[str, LazyTensor]:
    """Return the weights of a single-file checkpoint, fp16."""
    tensors = {
        f"{part}.{key}": invented(key, shape)
        for part in networks_of(base)
        for key, shape in expected_shapes(part, shipped_config(base, part)).items()
    }
    folder = WeightFile(Path("nowhere"), "diffusers folder", tensors, {})
    whole = convert_checkpoint(folder, identify_file(folder), "original").files[""]
    ids = torch.arange(77)[None]
    counted = {CLIP_IDS: LazyTensor("I64", (1, 77), lambda start, stop: ids[start:stop])} if base == "sd15" else {}
    return {**whole, **counted}


def module_tensors(base: str, version: str, dtype: str = "F16") -> Mapping[str, LazyTensor]:
    """Return the weights of a motion module."""
    return {
        key: positional_encoding(shape[1], shape[2], dtype) if is_position(key) else invented(key, shape, dtype)
        for key, shape in motion_shapes(base, version).items()
    }


def motion_shapes(base: str, version: str) -> Shapes:
    """Return the shape of every weight of a motion module by official name."""
    with torch.device("meta"):
        motion = MotionModule(MotionSpec.for_unet(shipped_config(base, "unet"), version))  # type: ignore[arg-type]
    return {key: tuple(tensor.shape) for key, tensor in motion.state_dict().items()}


def _lora(shapes: Shapes, rank: int, path: Path) -> Path:
    """Write LoRA pairs in the official layout for every attention projection."""
    tensors = {}
    for key, shape in shapes.items():
        stem, _, projection = key.removesuffix(".weight").removesuffix(".0").rpartition(".")
        if projection in PROJECTIONS and key.endswith("weight"):
            prefix = f"{stem}.processor.{projection}_lora"
            tensors[f"{prefix}.down.weight"] = invented(prefix, (rank, shape[1]), "F32")
            tensors[f"{prefix}.up.weight"] = invented(prefix, (shape[0], rank), "F32")
    return write_tensors(tensors, path)


def write_tensors(tensors: Mapping[str, LazyTensor], path: Path) -> Path:
    """Write a pickle if the suffix is `.ckpt` or `.pth`, otherwise safetensors. Returns the path."""
    if path.suffix in (".ckpt", ".pth"):
        torch.save({key: tensor.read().clone() for key, tensor in tensors.items()}, path)
    else:
        write_safetensors(tensors, path, {})
    return path


def write_empty(tensors: Mapping[str, LazyTensor], path: Path) -> Path:
    """Write safetensors whose numbers are zeros that take no room on the disk. Returns the path."""
    table, end = {}, 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.numel * DTYPE_BYTES[tensor.dtype]
        table[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": (start, end)}
    header = json.dumps(table).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.true_size", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="+", choices=WRITERS)
    args = parser.parse_args()
    for name in args.names:
        print(write(name, args.folder))
