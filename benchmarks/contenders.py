"""The two that are compared: this program, and diffusers' `AnimateDiffPipeline`, on the same weights."""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from diffusers import AnimateDiffPipeline, AnimateDiffSDXLPipeline, MotionAdapter
from diffusers.utils import logging
from torch import Tensor

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.diffusion.build import to_channels_last
from animdiff_cli.diffusion.noise import seeded_generator
from animdiff_cli.diffusion.pipeline import Callbacks, Pipeline, render
from animdiff_cli.diffusion.schedulers import make_scheduler
from animdiff_cli.diffusion.speed import faster, uses_graphs
from animdiff_cli.diffusion.text import encode_prompt
from animdiff_cli.motion import plug, plugged
from animdiff_cli.weights.motion import RENAMES, is_position
from benchmarks.sizes import Parts

OnStep = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Shape:
    """What is rendered."""

    num_frames: int
    size: int  # pixels, square
    steps: int
    guidance_scale: float


class Contender(Protocol):
    """Renders one clip from prompt to pixels, telling when each step and when denoising is done."""

    name: str

    def render(self, shape: Shape, on_step: OnStep, on_denoised: OnStep) -> Any: ...

    def compile(self) -> None: ...


#: settings of each way to run this program
MODES: Mapping[str, Mapping[str, Any]] = {
    "auto": {},
    "plain": {"kernels": False, "cuda_graph": "off"},
    "kernels": {"cuda_graph": "off"},
    "graphs": {"cuda_graph": "on"},
    "blocks": {"cuda_graph": "off", "compile": "on"},
    "blocks, graphs": {"cuda_graph": "on", "compile": "on"},
}


class Animdiff:
    """This program's own rooms, as `jobs` uses them, in one of `MODES`."""

    def __init__(self, parts: Parts, mode: str = "auto") -> None:
        self.parts, self.mode = parts, mode
        self.name = "animdiff" if mode == "auto" else f"animdiff {mode}"
        to_channels_last(parts.unet)
        to_channels_last(parts.vae)
        if plugged(parts.unet) is None:
            plug(parts.unet, parts.motion)

    def compile(self) -> None:
        """Compile the UNet, motion module included."""
        self.parts.unet.compile()

    def render(self, shape: Shape, on_step: OnStep, on_denoised: OnStep) -> Any:
        """Render one clip, uint8 [F, H, W, 3]."""
        config = GenerateConfig(
            prompt="a fox",
            model="benchmark",
            seed=0,
            steps=shape.steps,
            guidance_scale=shape.guidance_scale,
            num_frames=shape.num_frames,
            width=shape.size,
            height=shape.size,
            beta_schedule="linear",
            **MODES[self.mode],
        )

        def stepped(done: int, total: int, _latents: Tensor) -> None:
            on_step()
            if done == total:
                on_denoised()

        parts = self.parts
        graphs = uses_graphs(config, parts.unet, parts.motion.spec, shape.num_frames)
        pipe = Pipeline(parts.unet, parts.vae, partial(encode_prompt, parts), graphs=graphs)
        with faster(config, parts.unet, parts.vae, parts.motion):
            return np.concatenate(list(render(pipe, config, Callbacks(on_step=stepped))))


class Diffusers:
    """The library's pipeline as its documentation sets it up, on copies of the same UNet and motion weights."""

    name = "diffusers"

    def __init__(self, parts: Parts) -> None:
        logging.set_verbosity_error()
        kind: Any = AnimateDiffPipeline
        second: dict[str, Any] = {}
        if parts.text_encoder_2:
            kind = AnimateDiffSDXLPipeline
            second = {"text_encoder_2": parts.text_encoder_2, "tokenizer_2": parts.tokenizer_2}
        self.pipe = kind(
            vae=copy.deepcopy(parts.vae),  # that of this program becomes channels-last
            text_encoder=parts.text_encoder,
            tokenizer=parts.tokenizer,
            unet=parts.unet,
            motion_adapter=to_adapter(parts),
            scheduler=make_scheduler("ddim"),
            **second,
        )
        self.pipe.motion_adapter = None  # its weights were copied into the UNet; do not count them twice
        self.pipe.to(parts.unet.device)  # its UNet is built on the CPU
        self.pipe.set_progress_bar_config(disable=True)

    def compile(self) -> None:
        """Compile the UNet."""
        self.pipe.unet.compile()

    def render(self, shape: Shape, on_step: OnStep, on_denoised: OnStep) -> Any:
        """Render one clip, float [1, F, H, W, 3]."""

        def stepped(pipe: Any, step: int, timestep: int, kwargs: dict[str, Any]) -> dict[str, Any]:
            on_step()
            if step == shape.steps - 1:
                on_denoised()
            return {}

        return self.pipe(
            "a fox",
            num_frames=shape.num_frames,
            height=shape.size,
            width=shape.size,
            num_inference_steps=shape.steps,
            guidance_scale=shape.guidance_scale,
            generator=seeded_generator(0),
            output_type="np",
            callback_on_step_end=stepped,
        ).frames


def to_adapter(parts: Parts) -> MotionAdapter:
    """Copy a motion module into diffusers' container."""
    config, spec = parts.unet.config, parts.motion.spec
    with torch.device(parts.unet.device):
        adapter = MotionAdapter(
            block_out_channels=config.block_out_channels,
            motion_layers_per_block=config.layers_per_block,
            motion_num_attention_heads=spec.num_heads,
            use_motion_mid_block=bool(spec.mid),
            motion_max_seq_length=spec.max_frames,
        )
    missing = adapter.load_state_dict(to_diffusers(parts.motion.state_dict()), strict=False).missing_keys
    assert all(key.endswith("pos_embed.pe") for key in missing), missing
    return adapter.to(parts.unet.dtype).eval().requires_grad_(False)


def to_diffusers(motion: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a motion module as in diffusers, without positional encodings, which it computes."""
    renamed = {}
    for key, tensor in motion.items():
        name = key.replace(".temporal_transformer.", ".")
        for theirs, official in RENAMES:
            name = name.replace(official, theirs)
        if not is_position(key):
            renamed[name] = tensor
    return renamed


def synchronise() -> None:
    """Wait for the device; a CPU has nothing to wait for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def now() -> float:
    """Seconds, after everything queued is done. With one thread of a CPU those of the processor: other programs do not
    count, and compilers that this one has run do.
    """
    synchronise()
    if torch.get_num_threads() == 1 and not torch.cuda.is_available():
        return time.process_time() + _of_children()
    return time.perf_counter()


def _of_children() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
