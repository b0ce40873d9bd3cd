"""Time one MotionLoRA training step, and the same step written with diffusers and peft, on the same weights.

    python -m benchmarks.train --model-size small --size 128 --steps 3

The diffusers contender is `UNetMotionModel` with a peft adapter on its motion modules, VAE and text encoder in every
step, no gradient checkpointing, and AdamW over the adapter. Each contender runs in its own process, because peak memory
on a CPU is per process. Prints seconds and bytes, and appends a line of JSON to `benchmarks/results/train.jsonl`.
"""

import argparse
import multiprocessing
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import diffusers
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNetMotionModel
from peft import LoraConfig
from torch import Tensor

from animdiff_cli.diffusion.cross_attention import share_text
from animdiff_cli.diffusion.device import TORCH_DTYPES, DevicePlan, plan_device, probe_machine
from animdiff_cli.diffusion.schedulers import SCHEDULE
from animdiff_cli.motion import plug
from animdiff_cli.training.data.batches import Batch
from animdiff_cli.training.gradient_checkpointing import enable_gradient_checkpointing
from animdiff_cli.training.loop import peak_memory
from animdiff_cli.training.lora_layers import LoraLayers, image_projections, motion_projections
from animdiff_cli.training.losses import DenoisingLosses
from animdiff_cli.training.short_attention import quick_attention
from animdiff_cli.training.stages import MotionLoraStage
from benchmarks.contenders import now, to_adapter
from benchmarks.records import append
from benchmarks.sizes import SIZES, Parts, build

Step = Callable[[], float]


def main() -> None:
    """Measure, print and record all contenders."""
    args = _arguments()
    record: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        **{key: getattr(args, key) for key in ("model_size", "size", "frames", "rank", "steps")},
        "dtype": _plan(args).dtype,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "contenders": {},
    }
    for name in dict.fromkeys(("diffusers", *args.contenders)):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            record["contenders"][name] = pool.apply(_measure, (CONTENDERS[name], args))
        _print(name, record["contenders"][name], record["contenders"]["diffusers"])
    if not args.no_record:
        append("train", record)


def _measure(prepare: Callable[[Parts, argparse.Namespace], Step], args: argparse.Namespace) -> dict[str, Any]:
    """Time `args.steps` steps in this process, after two warm-up steps."""
    plan = _plan(args)
    torch.manual_seed(0)
    parts = build(args.model_size, plan.device, TORCH_DTYPES[plan.dtype], max_frames=args.frames)
    step = prepare(parts, args)
    if plan.kind == "cuda":
        torch.cuda.reset_peak_memory_stats()  # weights were built in float32
    resident = torch.cuda.memory_allocated() if plan.kind == "cuda" else peak_memory(plan.device)
    seconds, loss = [], 0.0
    for _ in range(args.steps + 2):
        began = now()
        loss = step()
        seconds.append(now() - began)
    peak = peak_memory(plan.device)
    return {
        "seconds": round(statistics.median(seconds[2:]), 4),
        "peak_bytes": peak,
        "above_weights_bytes": peak - resident,
        "loss": loss,
    }


def _animdiff(parts: Parts, args: argparse.Namespace) -> Step:
    return _animdiff_step(parts, args, spatial_rank=32, gradient_checkpointing=False)


def _animdiff_checkpointing(parts: Parts, args: argparse.Namespace) -> Step:
    return _animdiff_step(parts, args, spatial_rank=32, gradient_checkpointing=True)


def _animdiff_without_spatial(parts: Parts, args: argparse.Namespace) -> Step:
    """Train without what the diffusers contender does not have: the spatial LoRA and the debiased loss."""
    return _animdiff_step(parts, args, spatial_rank=0, gradient_checkpointing=False)


def _animdiff_step(parts: Parts, args: argparse.Namespace, *, spatial_rank: int, gradient_checkpointing: bool) -> Step:
    """Prepare a step of this program on cached latents and text embeddings, without encoders."""
    unet, motion = parts.unet, parts.motion
    motion = plug(unet, motion)
    share_text(unet)
    temporal = LoraLayers.new(motion_projections(motion), args.rank)
    spatial = LoraLayers.new(image_projections(unet), spatial_rank) if spatial_rank else None
    losses = DenoisingLosses.of(unet, "epsilon")
    stage = MotionLoraStage(losses, motion, temporal, spatial, 5e-4, 1e-4, debias=1.0 if spatial else 0.0)
    if gradient_checkpointing:
        enable_gradient_checkpointing(unet, motion)
    groups = [{"params": list(group.parameters.values()), "lr": group.lr} for group in stage.groups]
    adamw = torch.optim.AdamW(groups)
    side = args.size // 8
    latents = torch.randn(1, args.frames, 4, side, side, device=unet.device)
    text = torch.randn(1, 77, SIZES[args.model_size].text, device=unet.device, dtype=unet.dtype)
    parts.vae.to("meta")
    parts.text_encoder.to("meta")

    def step() -> float:
        timestep = torch.randint(1000, (1,), device=unet.device)
        frame = torch.zeros(1, dtype=torch.long, device=unet.device)
        batch = Batch(latents, torch.randn_like(latents), text, timestep, frame, False)
        with quick_attention(unet.device):
            loss = stage.backward(batch, 1.0)
        adamw.step()
        adamw.zero_grad(set_to_none=True)
        return float(loss)

    return step


def _diffusers(parts: Parts, args: argparse.Namespace) -> Step:
    """Prepare a step as in diffusers' training examples, on pixels and prompts."""
    device, dtype = parts.unet.device, parts.unet.dtype
    unet = UNetMotionModel.from_unet2d(parts.unet, to_adapter(parts)).to(device, dtype).requires_grad_(False)
    targets = r".*motion_modules.*\.(to_q|to_k|to_v|to_out\.0)"
    unet.add_adapter(LoraConfig(r=args.rank, lora_alpha=args.rank, target_modules=targets))
    trained = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.data = parameter.data.float()
    adamw = torch.optim.AdamW(trained, lr=5e-4)
    scheduler = DDPMScheduler(**{k: v for k, v in SCHEDULE.items() if k.startswith(("num", "beta"))})
    pixels = torch.rand(args.frames, 3, args.size, args.size, device=device, dtype=dtype) * 2 - 1
    input_ids = parts.tokenizer("a fox", padding="max_length", max_length=77, return_tensors="pt").input_ids.to(device)

    def step() -> float:
        with torch.no_grad():
            latents = parts.vae.encode(pixels).latent_dist.sample() * parts.vae.config.scaling_factor
            text = parts.text_encoder(input_ids)[0].repeat_interleave(args.frames, dim=0)
        latents = latents.transpose(0, 1)[None]  # [1, 4, F, h, w]
        noise = torch.randn_like(latents)
        timestep = torch.randint(1000, (1,), device=device)
        noisy = scheduler.add_noise(latents, noise, timestep)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            predicted: Tensor = unet(noisy, timestep, encoder_hidden_states=text, return_dict=False)[0]
        loss = F.mse_loss(predicted.float(), noise.float())
        loss.backward()
        adamw.step()
        adamw.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


CONTENDERS = {
    "diffusers": _diffusers,
    "animdiff": _animdiff,
    "animdiff, recomputing": _animdiff_checkpointing,
    "animdiff, no spatial LoRA": _animdiff_without_spatial,
}


def _plan(args: argparse.Namespace) -> DevicePlan:
    return plan_device(probe_machine(), args.device, args.dtype)


def _print(name: str, found: dict[str, Any], other: dict[str, Any]) -> None:
    ratio = other["seconds"] / found["seconds"]
    memory = found["above_weights_bytes"] / max(other["above_weights_bytes"], 1)
    print(
        f"{name:<28} {found['seconds']:8.3f} s a step  x{ratio:.2f}   peak {found['peak_bytes'] / 1e9:6.2f} GB,"
        f" {found['above_weights_bytes'] / 1e9:6.2f} above weights ({memory:.0%})",
        flush=True,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__)
    parser.add_argument("--model-size", choices=SIZES, default="pocket")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=["auto", *TORCH_DTYPES], default="auto")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=256, help="pixels, square")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5, help="steps to time, after two warm-up steps")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=[*CONTENDERS], help="beside diffusers")
    parser.add_argument("--no-record", action="store_true", help="do not append to the results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
