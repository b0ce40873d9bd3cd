"""`python -m tools.pocket train`: train the pocket model, stage by stage or whole, and save the bundle."""

import argparse
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from animdiff_cli.diffusion.device import probe_machine
from animdiff_cli.errors import AnimdiffError
from tools.pocket.architecture import STANDARD, TINY
from tools.pocket.recipe import COMMANDS, run_recipe
from tools.pocket.samples import draw_sheets
from tools.pocket.save import save_bundle
from tools.pocket.workshop import SCALES, Workshop


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code. A run cut short goes on where it was when the command is repeated."""
    arguments = parser().parse_args(argv)
    try:
        return _run(arguments)
    except AnimdiffError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code


def parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    flags = argparse.ArgumentParser("python -m tools.pocket train", description=__doc__)
    flags.add_argument("--stage", choices=(*COMMANDS, "save"), required=True, help="vae trains the decoder too")
    flags.add_argument("--minutes", type=float, default=120.0, help="training time of the stage, all runs together")
    flags.add_argument("--stop-after", type=float, default=float("inf"), metavar="MIN", help="end this run by then")
    flags.add_argument("--work", type=Path, default=Path(".pocket"), help="where clips and training states are kept")
    flags.add_argument("--out", type=Path, help="with all and save: where the bundle goes")
    flags.add_argument("--sheets", type=Path, help="where sample pictures and the log go (default: the work folder)")
    flags.add_argument("--resume", action=argparse.BooleanOptionalAction, default=True, help="continue what is begun")
    flags.add_argument("--device", default="auto", help="auto, cpu or cuda")
    flags.add_argument("--compile", action="store_true", help="torch.compile the layers: a minute to start")
    flags.add_argument("--tiny-data", action="store_true", help="a handful of clips and small batches, to try it out")
    flags.add_argument("--tiny-model", action="store_true", help="a toy of a few thousand weights, to try it out")
    return flags


def _run(arguments: argparse.Namespace) -> int:
    stop_at = time.monotonic() + arguments.stop_after * 60
    workshop = open_workshop(arguments)
    if not arguments.resume:
        _forget(workshop.folder)
    if arguments.stage != "save" and not run_recipe(workshop, arguments.stage, arguments.minutes, stop_at):
        print("stopped in time; the same command goes on from here", file=sys.stderr)
        return 0
    if arguments.out is not None and arguments.stage in ("all", "save"):
        _save(workshop, arguments)
    return 0


def open_workshop(arguments: argparse.Namespace) -> Workshop:
    """Choose device, dtype and scale, and set torch up for them."""
    has_cuda = torch.cuda.is_available()
    device = torch.device(("cuda" if has_cuda else "cpu") if arguments.device == "auto" else arguments.device)
    if device.type == "cuda":
        set_up_cuda()
    # diffusers warns at every cast of every module, with an empty list of those it worries about
    logging.getLogger("diffusers.models.modeling_utils").setLevel(logging.ERROR)
    return Workshop(
        folder=arguments.work,
        device=device,
        dtype=torch.bfloat16 if device.type == "cuda" or probe_machine().cpu_bf16 else torch.float32,
        compiled=arguments.compile,
        architecture=TINY if arguments.tiny_model else STANDARD,
        scale=SCALES["tiny" if arguments.tiny_data else device.type],
    )


def set_up_cuda() -> None:
    """Let CUDA trade exactness for speed, as training may."""
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.enable_cudnn_sdp(False)  # plans anew for every shape, and refuses some of these heads


def _save(workshop: Workshop, arguments: argparse.Namespace) -> None:
    sheets: Path = arguments.sheets or workshop.folder
    for folder in (arguments.out, sheets):
        folder.mkdir(parents=True, exist_ok=True)
    save_bundle(workshop, arguments.out)
    print(arguments.out, flush=True)
    log = workshop.folder / "log.csv"
    if log.exists() and sheets != workshop.folder:
        shutil.copy(log, sheets)
    count, steps = (4, 2) if arguments.tiny_data else (24, 25)
    for sheet in draw_sheets(workshop, arguments.out, sheets, count, steps):
        print(sheet, flush=True)


def _forget(folder: Path) -> None:
    """Remove training states and what was derived from them; the rendered clips stay."""
    for pattern in ("*.pt", "log.csv"):
        for file in folder.glob(pattern):
            file.unlink()


if __name__ == "__main__":
    sys.exit(main())
