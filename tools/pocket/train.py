"""`python -m tools.pocket train`: train the pocket model, in stages or at once, and save the bundle."""

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
from tools.pocket.workspace import SCALES, Workspace


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code. The same command resumes an interrupted run."""
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
    workspace = open_workspace(arguments)
    if not arguments.resume:
        _forget(workspace.folder)
    if arguments.stage != "save" and not run_recipe(workspace, arguments.stage, arguments.minutes, stop_at):
        print("stopped in time; the same command goes on from here", file=sys.stderr)
        return 0
    if arguments.out is not None and arguments.stage in ("all", "save"):
        _save(workspace, arguments)
    return 0


def open_workspace(arguments: argparse.Namespace) -> Workspace:
    """Choose device, dtype and scale, and set torch up for them."""
    has_cuda = torch.cuda.is_available()
    device = torch.device(("cuda" if has_cuda else "cpu") if arguments.device == "auto" else arguments.device)
    if device.type == "cuda":
        set_up_cuda()
    # diffusers warns at every cast of a module, with an empty list of affected modules
    logging.getLogger("diffusers.models.modeling_utils").setLevel(logging.ERROR)
    return Workspace(
        folder=arguments.work,
        device=device,
        dtype=torch.bfloat16 if device.type == "cuda" or probe_machine().cpu_bf16 else torch.float32,
        compiled=arguments.compile,
        architecture=TINY if arguments.tiny_model else STANDARD,
        scale=SCALES["tiny" if arguments.tiny_data else device.type],
    )


def set_up_cuda() -> None:
    """Allow faster, less exact CUDA kernels for training."""
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.enable_cudnn_sdp(
        False
    )  # plans again for every shape, and does not support some of these head sizes


def _save(workspace: Workspace, arguments: argparse.Namespace) -> None:
    sheets: Path = arguments.sheets or workspace.folder
    for folder in (arguments.out, sheets):
        folder.mkdir(parents=True, exist_ok=True)
    save_bundle(workspace, arguments.out)
    print(arguments.out, flush=True)
    log = workspace.folder / "log.csv"
    if log.exists() and sheets != workspace.folder:
        shutil.copy(log, sheets)
    count, steps = (4, 2) if arguments.tiny_data else (24, 25)
    for sheet in draw_sheets(workspace, arguments.out, sheets, count, steps):
        print(sheet, flush=True)


def _forget(folder: Path) -> None:
    """Remove training states and files derived from them; keep the rendered clips."""
    for pattern in ("*.pt", "log.csv"):
        for file in folder.glob(pattern):
            file.unlink()


if __name__ == "__main__":
    sys.exit(main())
