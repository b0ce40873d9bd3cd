"""Script of the processes that `launch_two` starts: runs on toy clips, with settings from a file.

After each step, the main process writes the number of elements it holds of sharded tensors, and their full number.
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


def report_held(event):
    if isinstance(event, Trained):
        sharded = [thing for thing in gc.get_objects() if isinstance(thing, DTensor)]
        held = [sum(tensor.to_local().numel() for tensor in sharded), sum(tensor.numel() for tensor in sharded)]
        sys.stdout.write(f"{json.dumps(held)}\n")


if __name__ == "__main__":
    distributed = DistributedContext.from_environment()
    with distributed.process_group(torch.device("cpu")):
        for config in json.loads(Path(sys.argv[1]).read_text()):
            context = distributed if config["stage"] == "motion-module" else replace(distributed, fsdp=None)
            plan = plan_training(config["stage"], [Layer("test", config)], local_rank=distributed.local_rank)
            run_training(plan, ToyClips(sizes=SIZES), report_held, distributed=context)
