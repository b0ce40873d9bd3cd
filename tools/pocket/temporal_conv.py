"""`python -m tools.pocket temporal-conv`: train the paper's ablation as `animdiff train-motion` does.

Data, settings, loop, checkpoints and journal are those of the program; only the plugged network differs.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from animdiff_cli.cli.progress import show_progress
from animdiff_cli.config.layers import Layer, set_layer
from animdiff_cli.config.load import flag_layer
from animdiff_cli.config.train_config import TrainConfig
from animdiff_cli.config.train_layers import file_layer
from animdiff_cli.core.events import Emit, ignore
from animdiff_cli.diffusion.build import part_config
from animdiff_cli.errors import AnimdiffError, UsageError
from animdiff_cli.files.hashing import sha256_of_files
from animdiff_cli.jobs.animator import Animator
from animdiff_cli.jobs.loading import load_animator
from animdiff_cli.jobs.recipe import WeightHashes
from animdiff_cli.jobs.render_plan import plan_renders
from animdiff_cli.jobs.train import run_training
from animdiff_cli.jobs.train_plan import TrainPlan, plan_training
from animdiff_cli.motion import plug
from animdiff_cli.training.data.dataset import scan
from animdiff_cli.training.export import MotionNetwork
from tools.pocket.convolution import ConvolutionModule, load_convolution, save_convolution

NETWORK = MotionNetwork("temporal convolution", ConvolutionModule, save_convolution)


def main(argv: Sequence[str]) -> int:
    """Train and print the path of the file; return the exit status. The same command resumes an interrupted run."""
    arguments = _parser().parse_args(argv)
    try:
        layers = [file_layer(arguments.config), set_layer(TrainConfig, arguments.set)]
        if arguments.output:
            layers.append(Layer("command line", {"out": str(arguments.output)}, {"out": "--output"}))
        plan = plan_convolution(layers, arguments.device)
        with show_progress(quiet=arguments.quiet) as emit:
            print(_train(plan, emit, overwrite=arguments.overwrite))
    except AnimdiffError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def train_temporal_conv(
    config: TrainConfig, out: Path, device: str = "auto", emit: Emit = ignore, *, overwrite: bool = False
) -> Path:
    """Train with the settings of an `animdiff train-motion` run, in the folder `out`; return the weight file.

    Resumes an interrupted run. Raises the errors of `run_training`.
    """
    layer = Layer("settings of the run", config.model_dump(mode="json") | {"out": str(out)})
    return _train(plan_convolution([layer], device), emit, overwrite=overwrite)


def plan_convolution(layers: Sequence[Layer], device: str = "auto") -> TrainPlan:
    """Plan a run. Raises `UsageError` if it starts from a motion module, whose weights do not fit."""
    plan = plan_training("motion-module", layers, device=device)
    if plan.motion_module:
        raise UsageError(
            f"a temporal convolution cannot start from {plan.motion_module.name}, which is a motion module",
            hint="train it from nothing: `--set motion_module=null`",
        )
    return replace(plan, network=NETWORK)


def load_conv_animator(path: Path, model: str = "pocket", device: str = "auto", **settings: object) -> Animator:
    """Load an image model as `generate` does, and plug a temporal convolution in.

    `settings` are keys of `GenerateConfig`, such as `loras`. Configs to render name no motion module; the hash of this
    file is in the recipe as `temporal_convolution`.
    """
    flags = {"model": model, **settings, "motion_module": None}
    plan = plan_renders([flag_layer(flags)], prompts=["any"], seeds=[0], device=device)
    assert plan.weights
    network = load_convolution(path, part_config(plan.weights.files.model, "unet"))
    animator = load_animator(plan.weights, plan.device)
    network = plug(animator.components.unet, network)
    hashes: Future[WeightHashes] = Future()
    weights = {"temporal_convolution": sha256_of_files([path], path.parent)}
    hashes.set_result({**animator.hashes.result(), **weights})
    return replace(animator, motion=network, hashes=hashes)


def _train(plan: TrainPlan, emit: Emit, *, overwrite: bool) -> Path:
    return run_training(plan, scan(plan.config.data, emit), emit, overwrite=overwrite).path


def _parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser("python -m tools.pocket temporal-conv", description=__doc__)
    flags.add_argument("--config", type=Path, required=True, help="settings as `animdiff train-motion --config` reads")
    flags.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one of them; repeatable")
    flags.add_argument("-o", "--output", type=Path, help="folder of the run; its name is the file's")
    flags.add_argument("--overwrite", action="store_true", help="begin anew in a folder that has a run")
    flags.add_argument("--device", default="auto", help="auto, cpu or cuda")
    flags.add_argument("-q", "--quiet", action="store_true", help="the path alone")
    return flags


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
