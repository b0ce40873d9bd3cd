"""What each process of `test_processes.py` runs: a training run on toy clips, with the settings of a JSON file."""

import json
import sys
from pathlib import Path

from animdiff_cli.config.layers import Layer
from animdiff_cli.jobs.train import run_training
from animdiff_cli.jobs.train_plan import plan_training
from animdiff_cli.training.processes import Processes

sys.path.insert(0, str(Path(__file__).parent))
from conftest import ToyClips

if __name__ == "__main__":
    here = Processes.from_environment()
    values = json.loads(Path(sys.argv[1]).read_text())
    plan = plan_training("motion-lora", [Layer("test", values)], local_rank=here.local_rank)
    run_training(plan, ToyClips(), processes=here)
