"""What each process runs that `launch_two` starts: a run on toy clips, with the settings and picture sizes of a file.

The first process prints, after each step, how many numbers it holds of tensors that are held in parts, and how many
those tensors have.
"""

import gc
import json
import sys
from pathlib import Path

from torch.distributed.tensor import DTensor

from animdiff_cli.config.layers import Layer
from animdiff_cli.core.events import Trained
from animdiff_cli.jobs.train import run_training
from animdiff_cli.jobs.train_plan import plan_training
from animdiff_cli.training.processes import Processes

sys.path.insert(0, str(Path(__file__).parent))
from conftest import ToyClips


def print_held(event):
    if isinstance(event, Trained):
        parts = [thing for thing in gc.get_objects() if isinstance(thing, DTensor)]
        print(json.dumps([sum(part.to_local().numel() for part in parts), sum(part.numel() for part in parts)]))


if __name__ == "__main__":
    here = Processes.from_environment()
    given = json.loads(Path(sys.argv[1]).read_text())
    config = given["config"]
    plan = plan_training(config["stage"], [Layer("test", config)], local_rank=here.local_rank)
    sizes = given["sizes"] and [tuple(size) for size in given["sizes"]]
    run_training(plan, ToyClips(sizes=sizes), print_held, processes=here)
