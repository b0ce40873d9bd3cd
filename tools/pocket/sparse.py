"""`python -m tools.pocket sparse`: train a SparseCtrl on pictures for the pocket model. The same command resumes."""

import argparse
import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from animdiff_cli.motion import MotionModule, plug
from animdiff_cli.motion.load import load_motion_module
from animdiff_cli.paths import pocket_dir
from animdiff_cli.training.objective import CLIP_BETAS, alphas_cumprod
from tools.pocket.command import run_training, tell, training_parser
from tools.pocket.control import control_stage, load_data, quiet, reporter
from tools.pocket.data import render_clips
from tools.pocket.latents import Clips, prepare_clips
from tools.pocket.loop import Budget, Trained, load_trained, train
from tools.pocket.optimiser import load_weights
from tools.pocket.save import stamp_stages, write_weights
from tools.pocket.stages.control import ControlStage
from tools.pocket.stages.sparse import SparseStage
from tools.pocket.tokenizer import load_tokenizer

SEED = 51
FRAMES_BATCH, CLIPS_BATCH = 16, 1
CLIPS_LR, BLANK_LR = 7e-4, 5e-4
BLANK_STEPS = 120
FRAME_CLIPS, CLIPS = 400, 640
#: shares of the time for single frames, without motion modules, and for clips; the rest is for nearly pure noise
FRAMES_TIME, CLIPS_TIME = 0.3, 0.6
#: factor of all residuals in the file: with 1, renders follow pictures less closely than steps of the training do
STRENGTH = 2.0
#: a render begins with pure noise, where errors in the layout are tiny errors in the noise
NOISIEST = {"name": "noisiest", "least_noise": 750, "max_weight": 150.0, "peak_lr": 4e-4, "ema_decay": 0.97}


def main(argv: Sequence[str]) -> int:
    """Train for the given minutes, write the file, and print it; return the exit status."""
    return run_training(run, _parser().parse_args(argv))


def run(arguments: argparse.Namespace) -> Trained:
    """Draw the data if there is none, train on frames, clips and noise, and write the averaged weights."""
    quiet()
    device, work = torch.device(arguments.device), arguments.work
    work.mkdir(parents=True, exist_ok=True)
    stop_at = time.monotonic() + arguments.stop_after * 60
    seconds = arguments.minutes * 60

    data = load_data(work / "outlined.pt", arguments.frame_clips)
    frames = control_stage(build_sparse, "latents", data, device, arguments.batch * FRAMES_BATCH)
    frames.name = "sparse-frames"
    trained = train(frames, Budget(seconds * FRAMES_TIME, stop_at), work / "frames.pt", reporter(frames))
    if not trained.complete:
        return trained
    load_weights(frames.control, "control", trained.weights)

    if not (work / "clips.pt").exists():
        learn_blank(frames, arguments.blank_steps)
    stage = clips_stage(frames, _clips(work, arguments.clips), device, arguments.batch)
    trained = train(stage, Budget(seconds * CLIPS_TIME, stop_at), work / "clips.pt", reporter(stage))
    if not trained.complete:
        return trained

    begin_from(stage, trained)
    last_time = seconds * (1 - FRAMES_TIME - CLIPS_TIME)
    last = train(stage, Budget(last_time, stop_at), work / "noisiest.pt", reporter(stage))
    save(last, arguments.out, load_trained(work / "frames.pt"), trained)
    return last


def build_sparse(unet: UNet2DConditionModel) -> ControlNetModel:
    """Build an encoder that starts as a copy of the UNet's, and sees a clean picture as the UNet sees a noisy one."""
    torch.manual_seed(SEED)
    control = ControlNetModel.from_unet(unet, conditioning_channels=5)
    condition = nn.Conv2d(5, unet.config.block_out_channels[0], 3, padding=1)
    with torch.no_grad():
        condition.weight[:, :4] = unet.conv_in.weight
        condition.weight[:, 4:].zero_()
        condition.bias.zero_()
    control.controlnet_cond_embedding = condition
    return control


def learn_blank(frames: ControlStage, steps: int) -> None:
    """Teach the encoder to add nothing in frames without a picture, and what it added before in the others.

    It then begins the second stage without disturbing the motion. No UNet is run.
    """
    student, teacher, dtype = frames.control, copy.deepcopy(frames.control), frames.control.dtype
    student.float()
    optimiser = torch.optim.AdamW(student.parameters(), lr=BLANK_LR, betas=(0.9, 0.99))
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = BLANK_LR * min(1.0, (step + 1) / 10) * (1 - step / steps)
        noisy, timestep, words, shown, _ = frames.draw()
        half = len(shown) // 2
        shown[:half] = 0
        with torch.no_grad():
            text, unseen = frames.text_encoder(words)[0], torch.zeros_like(noisy)
            wanted = _residuals(teacher, unseen, timestep, text, shown)
        found = _residuals(student, unseen.float(), timestep, text.float(), shown.float())
        losses = []
        for have, want in zip(found, wanted, strict=True):
            kept = F.mse_loss(have[half:], want[half:].float())
            losses.append((kept + have[:half].square().mean()) / want[half:].float().square().mean())
        loss = torch.stack(losses).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if step % 20 == 0 or step == steps - 1:
            tell(f"blank: step {step}, error {loss.item():.3f} of the residuals")
    student.to(dtype)


def _residuals(control: ControlNetModel, unseen: Tensor, timestep: Tensor, text: Tensor, shown: Tensor) -> list[Tensor]:
    down, mid = control(unseen, timestep, text, controlnet_cond=shown, return_dict=False)
    return [*down, mid]


def build_spread(motion: MotionModule) -> MotionModule:
    """Build the motion module of the encoder: the first attentions of the pocket model's, without effect yet."""
    spec = replace(motion.spec, up=(), mid=(), num_attentions=1)
    spread = MotionModule(spec)
    known = motion.state_dict()
    spread.load_state_dict({name: known[name] for name in spread.state_dict()})
    with torch.no_grad():
        for name in spec.widths():
            spread.transformer(name).proj_out.weight.zero_()
            spread.transformer(name).proj_out.bias.zero_()
    return spread


def clips_stage(frames: ControlStage, clips: Clips, device: torch.device, batch: int = CLIPS_BATCH) -> SparseStage:
    """Plug motion modules into the encoder and the UNet of the first stage."""
    motion = load_motion_module(pocket_dir() / "motion_module.safetensors").float().requires_grad_(False)
    spread = plug(frames.control, build_spread(motion))
    motion = plug(frames.unet, motion)
    generator = torch.Generator(device).manual_seed(SEED)
    alphas = alphas_cumprod(CLIP_BETAS, device)
    networks = (frames.control, spread.train(), frames.unet, motion, frames.text_encoder)
    return SparseStage(*networks, clips.to(device), alphas, generator, batch, CLIPS_LR)


def begin_from(stage: SparseStage, trained: Trained) -> None:
    """Continue with the weights of the second stage, on clips that are nearly pure noise."""
    for prefix, module in stage.modules().items():
        load_weights(module, prefix, trained.weights)
    for key, value in NOISIEST.items():
        setattr(stage, key, value)


def save(trained: Trained, file: Path, *before: Trained) -> None:
    """Write the encoder and its motion module to one file in float16, as the official one is laid out."""
    tensors = {name.split(".", 1)[1]: tensor for name, tensor in trained.weights.items()}
    for name in tensors:
        if name.startswith(("controlnet_down_blocks.", "controlnet_mid_block.")):
            tensors[name] = STRENGTH * tensors[name]
    write_weights(file, {name: tensor.half().contiguous() for name, tensor in tensors.items()}, {})
    stamp_stages(file, *before, trained)


def _clips(work: Path, count: int) -> Clips:
    chunks = render_clips(work / "data", num_clips=count, seconds=float("inf"))
    dtype = torch.bfloat16
    vae = AutoencoderKL.from_pretrained(pocket_dir() / "vae").to(dtype)
    return prepare_clips(chunks, vae, load_tokenizer(pocket_dir() / "tokenizer"), work / "clip_latents.pt")


def _parser() -> argparse.ArgumentParser:
    parser = training_parser("sparse", __doc__, out="file to write", work="training state and drawn clips")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--frame-clips", type=int, default=FRAME_CLIPS, help="clips to draw single frames from")
    parser.add_argument("--clips", type=int, default=CLIPS, help="clips to train motion on (default: %(default)s)")
    parser.add_argument("--blank-steps", type=int, default=BLANK_STEPS, help="steps that teach it what no picture is")
    parser.add_argument("--batch", type=int, default=CLIPS_BATCH, help="clips per step (default: %(default)s)")
    return parser
