"""`python -m tools.pocket refine`: continue the training of one part of the bundled model.

Starts from the shipped weights: the states of the first training are large and not shipped.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from animdiff_cli.diffusion.build import Components, load_components
from animdiff_cli.diffusion.device import plan_device, probe_machine
from animdiff_cli.motion import load_motion_module, plug
from animdiff_cli.training.objective import CLIP_BETAS, STILL_BETAS, alphas_cumprod
from tools.pocket.card import model_card
from tools.pocket.data import Chunk, render_clips
from tools.pocket.latents import Clips, prepare_clips
from tools.pocket.loop import Budget, Stage, Trained, train
from tools.pocket.recipe import MAX_WEIGHT, NOISY_SHARE
from tools.pocket.save import MADE_BY, MOTION_FILE, facts, read_recipe, write_weights
from tools.pocket.stages.image import ImageStage
from tools.pocket.stages.motion import MotionStage
from tools.pocket.stages.vae import DecoderStage
from tools.pocket.styles import STYLES
from tools.pocket.train import set_up_cuda
from tools.pocket.workspace import compile_layers, pick_frames

#: Weight files of each part, by the prefix of the weights in its stage; other weights of a file are unchanged.
FILES = {
    "decoder": {
        "decoder": "vae/diffusion_pytorch_model.safetensors",
        "post_quant_conv": "vae/diffusion_pytorch_model.safetensors",
    },
    "image": {"unet": "unet/diffusion_pytorch_model.safetensors", "text_encoder": "text_encoder/model.safetensors"},
    "motion": {"motion": MOTION_FILE},
}

#: Prefixes that are also in the keys of the file: `decoder.conv_in.weight`, but not `unet.conv_in.weight`.
KEPT_PREFIXES = ("decoder", "post_quant_conv")

FRAMES = 40_000  # for the decoder, held on the device


@dataclass(frozen=True, slots=True)
class Refinement:
    """The networks of the bundle, and the data and settings to train them with."""

    parts: Components
    bundle: Path
    chunks: Sequence[Chunk]
    clips_file: Path
    batch: int
    learning_rate: float
    style: str | None  # one or more, separated by commas; None: the base style

    def generator(self) -> torch.Generator:
        """Return the generator of the run, seeded by the number of chunks."""
        return torch.Generator(self.parts.plan.device).manual_seed(len(self.chunks))

    def clips(self) -> Clips:
        """Return the clips as latents and tokens on the device, encoding them on first use."""
        parts = self.parts
        return prepare_clips(self.chunks, parts.vae, parts.tokenizer, self.clips_file).to(parts.plan.device)


def main(argv: Sequence[str]) -> int:
    """Refine and write the bundle; return the exit status. The same command resumes an interrupted run."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.style and arguments.part == "motion":
        parser.error("--style: motion is learnt on the base style, and plugged into the others")
    run = _prepare(arguments)
    stage = STAGES[arguments.part](run)
    if arguments.compile:
        compile_layers(*stage.modules().values(), run.parts.unet)
    state = arguments.work / f"{_named(arguments.part, arguments.style)}.pt"
    trained = train(stage, Budget(arguments.minutes * 60), state, _report, graphed=arguments.graph)
    if arguments.out != arguments.bundle:
        shutil.copytree(arguments.bundle, arguments.out, dirs_exist_ok=True)
    note = facts(trained) | {"stage": f"{arguments.part}, refined", "clips": arguments.clips}
    note |= {"style": arguments.style} if arguments.style else {}
    _write(arguments.out, arguments.part, trained, note | EXTRA_FACTS.get(arguments.part, {}))
    print(arguments.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser("python -m tools.pocket refine", description=__doc__)
    flags.add_argument("--part", choices=tuple(FILES), default="motion")
    flags.add_argument("--bundle", type=Path, default=Path("animdiff_cli/pocket"))
    flags.add_argument("--out", type=Path, required=True, help="a folder for the whole bundle with the part refined")
    flags.add_argument(
        "--style",
        type=_styles,
        help="train on clips of other styles, by comma; of the image model the UNet alone then learns",
    )
    flags.add_argument("--minutes", type=float, default=30.0)
    flags.add_argument("--clips", type=int, default=1200, help="clips to render and learn from")
    flags.add_argument("--batch", type=int, default=2, help="clips per step (frames, for decoder and image)")
    flags.add_argument("--learning-rate", type=float, default=2e-4)
    flags.add_argument("--compile", action="store_true", help="torch.compile the layers: a minute to start")
    flags.add_argument("--graph", action="store_true", help="replay the step as a CUDA graph")
    flags.add_argument("--device", default="auto")
    flags.add_argument("--work", type=Path, default=Path(".pocket/refine"))
    return flags


def _styles(text: str) -> str:
    """Parse styles separated by commas; a style that is named twice gets twice the clips."""
    if strangers := sorted(set(text.split(",")) - STYLES.keys()):
        raise argparse.ArgumentTypeError(f"`{strangers[0]}` is none of {', '.join(STYLES)}")
    return text


def _prepare(arguments: argparse.Namespace) -> Refinement:
    plan = plan_device(probe_machine(), arguments.device)
    if plan.kind == "cuda":
        set_up_cuda()
        plan = replace(plan, dtype="bf16")
    parts = load_components(arguments.bundle, plan)
    arguments.work.mkdir(parents=True, exist_ok=True)
    style = arguments.style
    chunks = render_clips(
        arguments.work / _named("data", style),
        num_clips=arguments.clips,
        seconds=float("inf"),
        styles=tuple((style or "base").split(",")),
    )
    clips_file = arguments.work / f"{_named('clips', style)}.pt"
    return Refinement(parts, arguments.bundle, chunks, clips_file, arguments.batch, arguments.learning_rate, style)


def _named(what: str, style: str | None) -> str:
    return f"{what}-{style}" if style else what


def _decoder_stage(run: Refinement) -> DecoderStage:
    vae = run.parts.vae
    vae.decoder.train().requires_grad_(True)
    vae.post_quant_conv.requires_grad_(True)
    frames = pick_frames(run.chunks, FRAMES, run.parts.plan.device)
    return DecoderStage(vae, frames, run.generator(), run.batch, frames.shape[1], run.learning_rate)


def _image_stage(run: Refinement) -> ImageStage:
    unet, text_encoder = run.parts.unet.train().requires_grad_(True), run.parts.text_encoder
    if run.style is None:
        text_encoder.train().requires_grad_(True)
    schedule = alphas_cumprod(STILL_BETAS, run.parts.plan.device)
    return ImageStage(
        unet,
        text_encoder,
        run.clips(),
        schedule,
        run.generator(),
        run.batch,
        peak_lr=run.learning_rate,
    )


def _motion_stage(run: Refinement) -> MotionStage:
    parts, motion = run.parts, load_motion_module(run.bundle / MOTION_FILE)
    motion = plug(parts.unet, motion)
    return MotionStage(
        parts.unet,
        motion.train(),
        parts.text_encoder,
        run.clips(),
        alphas_cumprod(CLIP_BETAS, parts.plan.device),
        run.generator(),
        run.batch,
        peak_lr=run.learning_rate,
        noisy_share=NOISY_SHARE,
        max_weight=MAX_WEIGHT,
    )


STAGES: dict[str, Callable[[Refinement], Stage]] = {
    "decoder": _decoder_stage,
    "image": _image_stage,
    "motion": _motion_stage,
}

#: Further metadata of a refined weight file.
EXTRA_FACTS = {"motion": {"noisy_share": NOISY_SHARE, "max_weight": MAX_WEIGHT}}


def _write(bundle: Path, part: str, trained: Trained, note: dict[str, object]) -> None:
    """Write the averaged weights to the bundle's files in float16, and append `note` to their metadata."""
    for file in sorted(set(FILES[part].values())):
        prefixes = [prefix for prefix, name in FILES[part].items() if name == file]
        if not any(_of_prefix(trained.weights, prefix) for prefix in prefixes):
            continue  # it was frozen
        with safe_open(bundle / file, framework="pt") as opened:
            metadata = dict(opened.metadata())
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        for prefix in prefixes:
            learnt = _of_prefix(trained.weights, prefix)
            if strangers := learnt.keys() - tensors.keys():
                raise ValueError(f"{file} has no `{min(strangers)}`")
            tensors |= {name: weight.half().contiguous() for name, weight in learnt.items()}
        record = json.loads(metadata["recipe"])
        record["stages"].append(note)
        write_weights(bundle / file, tensors, metadata | {"recipe": json.dumps(record)})
    recipes = {file: read_recipe(bundle / file) for file in MADE_BY}
    (bundle / "README.md").write_text(model_card(recipes))


def _of_prefix(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    dropped = "" if prefix in KEPT_PREFIXES else f"{prefix}."
    return {name.removeprefix(dropped): one for name, one in weights.items() if name.startswith(f"{prefix}.")}


def _report(stage: str, step: int, elapsed_s: float, learning_rate: float, loss: float) -> None:
    print(
        f"{stage}: step {step}, {elapsed_s:.0f} s, lr {learning_rate:.2g}, loss {loss:.4f}", file=sys.stderr, flush=True
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
