"""What each process runs that `launch_two` starts: one run after the other on toy clips, with settings from a file.

After each step the first process writes how many numbers it holds of tensors that are held in parts, and how many
those tensors have.
"""

import gc
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

from animdiff_cli.config.layers import Layer
from animdiff_cli.core.events import Trained
from animdiff_cli.jobs.train import run_training
from animdiff_cli.jobs.train_plan import plan_training
from animdiff_cli.training.distributed import DistributedContext

sys.path.insert(0, str(Path(__file__).parent))
from conftest import SIZES, ToyClips


def tell_held(event):
    if isinstance(event, Trained):
        parts = [thing for thing in gc.get_objects() if isinstance(thing, DTensor)]
        held = [sum(part.to_local().numel() for part in parts), sum(part.numel() for part in parts)]
        sys.stdout.write(f"{json.dumps(held)}\n")


if __name__ == "__main__":
    here = DistributedContext.from_environment()
    with here.together(torch.device("cpu")):
        for config in json.loads(Path(sys.argv[1]).read_text()):
            processes = here if config["stage"] == "motion-module" else replace(here, sharding=None)
            plan = plan_training(config["stage"], [Layer("test", config)], local_rank=here.local_rank)
            run_training(plan, ToyClips(sizes=SIZES), tell_held, processes=processes)
