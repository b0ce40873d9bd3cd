"""`python -m tools.pocket control`: train a ControlNet on outlines for the pocket model. The same command resumes."""

import argparse
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel

from animdiff_cli.diffusion.device import probe_machine
from animdiff_cli.files.atomic import atomic_write
from animdiff_cli.jobs.preprocess import preprocessor
from animdiff_cli.paths import pocket_dir
from tools.pocket.captions import caption
from tools.pocket.command import report, run_training, tell, training_parser
from tools.pocket.latents import to_pixels, tokenize
from tools.pocket.loop import Budget, Trained, train
from tools.pocket.optimiser import load_weights
from tools.pocket.save import stamp_stages
from tools.pocket.stages.control import ControlStage, Outlined
from tools.pocket.tokenizer import load_tokenizer
from tools.pocket.world import random_scene, render

SEED = 50
BATCH, PEAK_LR = 16, 1e-3
#: steps in which the hint network alone learns to tell the latents from the outlines
HINT_STEPS = 600
#: seconds between two measurements of how much the control lowers the loss
GAIN_EVERY_S = 400.0
CLIPS, FRAMES_PER_CLIP = 800, 4
ENCODE_BATCH = 64
#: channels of the network that reads the outlines; that of SD1.5 has 16, 32, 96 and 256
HINT_CHANNELS = (16, 32, 48, 64)


def main(argv: Sequence[str]) -> int:
    """Train for the given minutes, write the folder, and print it; return the exit status."""
    return run_training(run, _parser().parse_args(argv))


def run(arguments: argparse.Namespace) -> Trained:
    """Draw the data if there is none, train, and write the averaged weights."""
    device = torch.device(arguments.device)
    quiet()
    arguments.work.mkdir(parents=True, exist_ok=True)
    data = load_data(arguments.work / "outlined.pt", arguments.clips)
    stage = make_stage(data, device, arguments.batch)
    stop_at = time.monotonic() + arguments.stop_after * 60
    budget = Budget(arguments.minutes * 60, stop_at)
    state = arguments.work / "control.pt"
    if not state.exists():
        fit_hint(stage, arguments.hint_steps)
    trained = train(stage, budget, state, reporter(stage))
    load_weights(stage.control, "control", trained.weights)
    with atomic_write(arguments.out) as unfinished:
        stage.control.to("cpu", torch.float16).save_pretrained(unfinished)
        stamp_stages(unfinished / "diffusion_pytorch_model.safetensors", trained)
    return trained


def quiet() -> None:
    """Silence a warning of diffusers at every cast of a module, with an empty list of affected modules."""
    logging.getLogger("diffusers.models.modeling_utils").setLevel(logging.ERROR)


def make_stage(data: Outlined, device: torch.device, batch: int = BATCH) -> ControlStage:
    """Build the networks: a ControlNet that starts as a copy of the UNet's encoder, and the frozen pocket model."""
    return control_stage(build_control, "outlines", data, device, batch)


def build_control(unet: UNet2DConditionModel) -> ControlNetModel:
    """Build a ControlNet whose encoder starts as a copy of the UNet's."""
    torch.manual_seed(SEED)
    return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=HINT_CHANNELS)


def control_stage(
    build: Callable[[UNet2DConditionModel], ControlNetModel],
    shows: Literal["outlines", "latents"],
    data: Outlined,
    device: torch.device,
    batch: int,
) -> ControlStage:
    """Build the frozen pocket model and the network that learns beside it."""
    pocket = pocket_dir()
    dtype = torch.bfloat16 if device.type == "cuda" or probe_machine().cpu_bf16 else torch.float32
    unet = UNet2DConditionModel.from_pretrained(pocket / "unet").requires_grad_(False)
    control = build(unet)
    text_encoder = CLIPTextModel.from_pretrained(pocket / "text_encoder").requires_grad_(False)
    for network in (unet, control, text_encoder):
        network.to(device, dtype)
    schedule = DDIMScheduler.from_pretrained(pocket / "scheduler")
    parts = (part.to(device) for part in (data.latents, data.outlines, data.tokens, data.no_words))
    generator = torch.Generator(device).manual_seed(SEED)
    alphas = schedule.alphas_cumprod.to(device)
    return ControlStage(control, unet, text_encoder, Outlined(*parts), alphas, generator, batch, PEAK_LR, shows)


def fit_hint(stage: ControlStage, steps: int) -> None:
    """Teach the hint network the first features of the clean frame, so that the encoder begins with a clearer picture.

    It predicts, from the outlines, what `conv_in` adds to its bias for the frame's latents. No UNet is run.
    """
    hint = stage.control.controlnet_cond_embedding
    dtype = hint.conv_in.weight.dtype
    hint.float()
    first = stage.control.conv_in.weight.float()
    optimiser = torch.optim.AdamW(hint.parameters(), lr=2e-3)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 2e-3 * (1 - step / steps)
        chosen = torch.randint(len(stage.data.latents), (stage.batch,), generator=stage.generator)
        wanted = F.conv2d(stage.data.latents[chosen], first, padding=1)
        outlines = stage.data.outlines[chosen, None].expand(-1, 3, -1, -1).float() / 255
        loss = F.mse_loss(hint(outlines), wanted)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if step % 100 == 0 or step == steps - 1:
            tell(f"hint: step {step}, error {loss.item() / wanted.var().item():.3f} of the variance")
    hint.to(dtype)


@torch.no_grad()
def draw_outlined(clips: int, rng: np.random.Generator) -> Outlined:
    """Draw frames of random clips of the world with their outlines and captions."""
    vae = AutoencoderKL.from_pretrained(pocket_dir() / "vae").float()
    tokenizer = load_tokenizer(pocket_dir() / "tokenizer")
    outline = preprocessor("canny")
    latents, outlines, captions = [], [], []
    pending: list[np.ndarray] = []

    def encode() -> None:
        pixels = to_pixels(torch.from_numpy(np.concatenate(pending)), torch.float32)
        latents.append(vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor)
        pending.clear()

    for _ in range(clips):
        scene = random_scene(rng)
        frames = np.concatenate(
            [render(scene, num_frames=1, first_frame=int(first)) for first in rng.choice(16, FRAMES_PER_CLIP, False)]
        )
        pending.append(frames)
        outlines.append(outline(frames)[..., 0])
        captions += [caption(scene, rng) for _ in frames]
        if len(pending) * FRAMES_PER_CLIP >= ENCODE_BATCH:
            encode()
    if pending:
        encode()
    edges = torch.from_numpy(np.concatenate(outlines))
    return Outlined(torch.cat(latents), edges, tokenize(tokenizer, captions), tokenize(tokenizer, [""])[0])


def load_data(file: Path, clips: int) -> Outlined:
    if file.exists():
        return Outlined(**torch.load(file, weights_only=True))
    tell(f"drawing {clips} clips")
    data = draw_outlined(clips, np.random.default_rng(SEED))
    part = file.with_suffix(".part")
    torch.save({name: getattr(data, name) for name in Outlined.__slots__}, part)
    part.replace(file)
    return data


def reporter(stage: ControlStage) -> Callable[[str, int, float, float, float], None]:
    measured = float("-inf")

    def report_with_gain(name: str, step: int, elapsed_s: float, lr: float, loss: float) -> None:
        nonlocal measured
        gain = ""
        if elapsed_s - measured >= GAIN_EVERY_S:
            gain, measured = f", control lowers the loss by {stage.gain():.1%}", elapsed_s
        report(name, step, elapsed_s, lr, loss, gain)

    return report_with_gain


def _parser() -> argparse.ArgumentParser:
    parser = training_parser("control", __doc__, out="folder to write", work="training state and drawn frames")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=CLIPS, help="clips to draw frames from (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=BATCH, help="frames per step (default: %(default)s)")
    parser.add_argument("--hint-steps", type=int, default=HINT_STEPS, help="steps of the hint network alone")
    return parser
