"""Every condition as this program and as diffusers take it, with the same weights: for `benchmarks.conditions`."""

import copy
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import ControlNetModel, SparseControlNetModel, UNetMotionModel
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPImageProcessor

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.diffusion.build import to_channels_last
from animdiff_cli.diffusion.conditions import (
    Condition,
    ControlCondition,
    ImagePromptCondition,
    PiaCondition,
    Region,
    RegionsCondition,
    SourceFrames,
    SparseControlCondition,
    Strength,
)
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.encode import encode
from animdiff_cli.diffusion.image_prompt import load_ip_adapter, open_ip_adapter
from animdiff_cli.diffusion.pictures import ClipPictures
from animdiff_cli.diffusion.prompt_rows import encode_regions
from animdiff_cli.diffusion.schedulers import make_scheduler
from animdiff_cli.diffusion.text import encode_prompt
from animdiff_cli.motion import MotionModule, MotionSpec, plug
from benchmarks.contenders import now, synchronise, to_adapter, to_diffusers
from benchmarks.sizes import build
from tests.toy_networks import flat, ip_adapter_tensors, make_image_encoder

PROMPT = "a fox"


@dataclass(frozen=True, slots=True)
class Clip:
    """What is rendered, and where."""

    num_frames: int
    size: int  # pixels, square
    steps: int
    guidance_scale: float
    plan: DevicePlan

    def clock(self) -> float:
        """Seconds on the device; on a CPU those of this process alone."""
        synchronise()
        return now() if self.plan.kind == "cuda" else time.process_time()


@dataclass(slots=True)
class Case:
    """One condition: what this program is given, and the pipeline of diffusers with its arguments."""

    name: str
    ours: Sequence[Condition] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    theirs: Any = None
    options: dict[str, Any] = field(default_factory=dict)


class Networks:
    """An image model with its motion module, networks of every condition, and the same in diffusers."""

    def __init__(self, size: str, clip: Clip) -> None:
        self.clip, plan = clip, clip.plan
        self.parts = build(size, plan.device, plan.torch_dtype, max_frames=clip.num_frames)
        adapter = to_adapter(self.parts)
        self.motion_unet = UNetMotionModel.from_unet2d(self.parts.unet, adapter).to(plan.device, plan.torch_dtype)
        self.controls = [self._controlnet(seed) for seed in (1, 2)]
        self.sparse, self.their_sparse = self._sparsectrl()
        self.encoder = make_image_encoder(side=64).to(plan.device, plan.torch_dtype)
        self.adapter = ip_adapter_tensors(self.parts.unet)
        self.ip_adapter = self._ip_adapter()
        generator = torch.Generator().manual_seed(3)
        width = self.parts.unet.config.block_out_channels[0]
        self.pia = torch.randn(width, 5, 3, 3, generator=generator).to(plan.device, plan.torch_dtype) * 0.02
        self.their_pia = self._pia_unet()
        to_channels_last(self.parts.unet)
        to_channels_last(self.parts.vae)
        plug(self.parts.unet, self.parts.motion)

    def pipeline(self, name: str, **networks: Any) -> Any:
        """Build a pipeline of diffusers, as its documentation does."""
        parts = {key: getattr(self.parts, key) for key in ("vae", "text_encoder", "tokenizer")}
        given = {"unet": self.motion_unet, "motion_adapter": None, "scheduler": make_scheduler("ddim"), **networks}
        pipe = getattr(diffusers, name)(**parts, **given)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def _moved(self, network: nn.Module) -> Any:
        return network.to(self.clip.plan.device, self.clip.plan.torch_dtype).eval().requires_grad_(False)

    def _controlnet(self, seed: int) -> Any:
        torch.manual_seed(seed)
        network = ControlNetModel.from_unet(self.parts.unet)
        _shake(network)
        return self._moved(network)

    def _sparsectrl(self) -> tuple[Any, Any]:
        """Return a SparseCtrl for pictures twice: for this program, and as diffusers has it."""
        torch.manual_seed(3)
        config = self.parts.unet.config
        encoder = ControlNetModel.from_unet(self.parts.unet, conditioning_channels=5)
        encoder.controlnet_cond_embedding = nn.Conv2d(5, config.block_out_channels[0], 3, padding=1)
        motion = MotionModule(replace(MotionSpec.for_unet(config), up=(), num_attentions=1, max_frames=32))
        for network in (encoder, motion):
            _shake(network)
        blocks = tuple(name.replace("2D", "Motion") for name in config.down_block_types)
        shared = ("block_out_channels", "layers_per_block", "cross_attention_dim", "attention_head_dim")
        theirs = SparseControlNetModel(down_block_types=blocks, **{key: config[key] for key in shared})
        tensors = {**encoder.state_dict(), **to_diffusers(motion.state_dict())}
        lost = theirs.load_state_dict(tensors, strict=False)
        assert not lost.unexpected_keys and all("pos_embed" in key for key in lost.missing_keys), lost
        encoder = self._moved(encoder)
        plug(encoder, self._moved(motion))
        return encoder, self._moved(theirs)

    def _ip_adapter(self) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path, model = Path(folder) / "adapter.safetensors", Path(folder) / "model"
            save_file(flat(self.adapter), path)
            self.parts.unet.save_config(model / "unet")
            return load_ip_adapter(open_ip_adapter(path, model), self.encoder, self.clip.plan)

    def _pia_unet(self) -> Any:
        """Return the UNet of diffusers that reads the channels of PIA."""
        unet = copy.deepcopy(self.motion_unet)
        wide = nn.Conv2d(9, unet.conv_in.out_channels, 3, padding=1)
        wide.weight.data = torch.cat([unet.conv_in.weight.data, self.pia], dim=1)
        wide.bias.data = unet.conv_in.bias.data
        unet.conv_in = wide
        unet.register_to_config(in_channels=9)
        return self._moved(unet)


def cases(networks: Networks) -> list[Case]:
    """List the conditions; the first has none."""
    clip, parts = networks.clip, networks.parts
    noise = np.random.default_rng(0)
    pixels = noise.integers(0, 256, (clip.num_frames, clip.size, clip.size, 3), dtype=np.uint8)
    video, images = ClipPictures(pixels, tuple(range(clip.num_frames))), [Image.fromarray(one) for one in pixels]
    first = ClipPictures(pixels[:1], (0, *[None] * (clip.num_frames - 1)))
    small = noise.integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    shown, full = ClipPictures(small, (0,) * clip.num_frames), Strength(1.0)
    one, two = (ControlCondition(network, video, full) for network in networks.controls)
    latents = encode(parts.vae, pixels).cpu()
    half = torch.zeros(1, 1, clip.num_frames, *latents.shape[-2:])
    half[..., : half.shape[-1] // 2] = 1
    channels = torch.cat([half, latents], dim=1).to(clip.plan.device)
    control = partial(networks.pipeline, "AnimateDiffControlNetPipeline")
    plain = partial(networks.pipeline, "AnimateDiffPipeline")
    by_picture = plain(
        unet=copy.deepcopy(networks.motion_unet),  # an IP-Adapter stays in it
        image_encoder=networks.encoder,
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}),
    )
    by_picture.load_ip_adapter([networks.adapter], subfolder=[""], weight_name=[""])
    by_picture.unet.to(clip.plan.device, clip.plan.torch_dtype)
    anew = {"video": "clip", "denoise": 1.0}
    follow = {"conditioning_frames": images}
    return [
        Case("plain", theirs=plain()),
        Case("ControlNet", [one], theirs=control(controlnet=networks.controls[0]), options=follow),
        Case(
            "two ControlNets",
            [one, two],
            theirs=control(controlnet=networks.controls),
            options={"conditioning_frames": [images, images], "controlnet_conditioning_scale": [1.0, 1.0]},
        ),
        # the guess mode of diffusers ends in an error with guidance
        Case("ControlNet, guess mode", [replace(one, guess_mode=True)]),
        Case(
            "SparseCtrl rgb",
            [SparseControlCondition(networks.sparse, first, full, partial(encode, parts.vae))],
            theirs=networks.pipeline("AnimateDiffSparseControlNetPipeline", controlnet=networks.their_sparse),
            options={"conditioning_frames": images[:1], "controlnet_frame_indices": [0]},
        ),
        Case(
            "IP-Adapter",
            [ImagePromptCondition(networks.ip_adapter, shown, full)],
            theirs=by_picture,
            options={"ip_adapter_image": [Image.fromarray(small[0])]},
        ),
        Case(
            "video to video",
            [SourceFrames(latents, 1.0, clip.steps)],
            anew,
            networks.pipeline("AnimateDiffVideoToVideoPipeline"),
            {"video": images, "strength": 1.0},
        ),
        Case("mask", [SourceFrames(latents, 1.0, clip.steps, repaint=half)], anew | {"mask": "mask"}),
        Case("region", [_region(networks, half)]),
        Case(
            "PIA",
            [PiaCondition(channels, networks.pia)],
            theirs=networks.pipeline("PIAPipeline", unet=networks.their_pia),
            options={"image": images[0]},
        ),
    ]


def _region(networks: Networks, half: torch.Tensor) -> Condition:
    config = config_of(networks.clip, {"regions": [{"source": "half", "prompt": "a boat"}]})
    rows = encode_regions(partial(encode_prompt, networks.parts), config, config.timeline)
    return RegionsCondition([Region(half[0, 0, :1].double(), (0,) * networks.clip.num_frames, 1.0)], rows)


def config_of(clip: Clip, settings: dict[str, Any]) -> GenerateConfig:
    return GenerateConfig(
        prompt=PROMPT,
        model="benchmark",
        seed=0,
        steps=clip.steps,
        guidance_scale=clip.guidance_scale,
        num_frames=clip.num_frames,
        width=clip.size,
        height=clip.size,
        beta_schedule="linear",
        **settings,
    )


def _shake(network: nn.Module) -> None:
    """Add noise to every weight, so that no convolution is zero."""
    for parameter in network.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.01)
