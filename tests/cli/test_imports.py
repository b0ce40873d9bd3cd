"""What commands import. Each module in `SLOW` takes a tenth of a second or more."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from animdiff_cli.cli.commands import COMMANDS
from animdiff_cli.weights import lean_imports
from animdiff_cli.weights.lean_imports import UNUSED, import_networks

SLOW = ("torch", "diffusers", "transformers", "numpy", "pydantic", "requests", "yaml", "rich.progress")


def imported(*words):
    """Run a command in a process of its own, and return which modules it has imported at the end."""
    watch = (
        "import atexit, json, sys\n"
        "names = lambda: sorted(name for name, module in sys.modules.items() if module)\n"
        "atexit.register(lambda: print(json.dumps(names()), file=sys.stderr))\n"
        "from animdiff_cli.cli import main\n"
        f"sys.argv[1:] = {[str(word) for word in words]}\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_help_imports_nothing_slow(here):
    modules = imported("--help")
    assert modules.isdisjoint(
        {*SLOW, "rich.markdown", "rich.traceback", "markdown_it", "pygments", "importlib.metadata"}
    )
    own = {name for name in modules if name.startswith("animdiff_cli.")}
    assert not any(
        name.startswith(("animdiff_cli.jobs", "animdiff_cli.core.event", "animdiff_cli.config")) for name in own
    )
    assert own.isdisjoint({f"animdiff_cli.cli.{entry.module}" for entry in COMMANDS.values()})


def test_inspecting_a_file_imports_no_torch_and_no_settings(here):
    save_file({"unet.down_blocks.0.lora.up.weight": torch.zeros(4, 2)}, here / "mine.safetensors")
    modules = imported("inspect", here / "mine.safetensors")
    assert "animdiff_cli.weights.identify" in modules
    assert modules.isdisjoint({"torch", "numpy", "diffusers", "transformers", "requests", "yaml", "rich"})
    assert not any(name.startswith(("animdiff_cli.config", "animdiff_cli.registry.catalog.")) for name in modules)


def test_a_finished_batch_imports_no_torch(animdiff, here):
    file = here / "one.yaml"
    job = "{model: pocket, prompt: a fish, seed: 1, steps: 1, num_frames: 2, width: 32, height: 32}"
    file.write_text(f"jobs: [{job}]\n")
    assert animdiff("batch", file, "-o", "out").exit_code == 0
    modules = imported("batch", file, "-o", "out", "-q")
    assert "animdiff_cli.jobs.batch.finished" in modules
    assert modules.isdisjoint({"torch", "diffusers", "transformers", "rich", "animdiff_cli.jobs.render_plan"})


def test_a_render_imports_only_what_it_uses(toy):
    modules = imported(*toy, "--prompt", "a ball", "-q")
    assert {"diffusers.models.unets.unet_2d_condition", "transformers.models.clip.modeling_clip"} <= modules
    assert modules.isdisjoint({*UNUSED, "matplotlib", "cv2", "fsspec", "ray", "torchvision"})
    assert modules.isdisjoint({"torch._dynamo", "torch._inductor", "torch.distributed.tensor", "sympy", "triton"})
    assert modules.isdisjoint({"transformers", "transformers.processing_utils"})  # they read the code of all networks
    assert len([name for name in modules if name.startswith("diffusers.models.transformers.")]) < 20
    assert len([name for name in modules if name.startswith("transformers.models.")]) < 20


def in_a_process(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | environment
    )
    return done.stdout.split()


@pytest.fixture
def broken_torchvision(tmp_path):
    """A folder with a torchvision that fails as one does that was built for another torch."""
    package = tmp_path / "site" / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")')
    (package.parent / "torchvision-0.1.dist-info").mkdir()
    metadata = package.parent / "torchvision-0.1.dist-info" / "METADATA"
    metadata.write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.1\n")
    metadata.with_name("RECORD").write_text("torchvision/__init__.py,,\n")
    return package.parent


@pytest.mark.full
@pytest.mark.parametrize(
    "code",
    [
        "import animdiff_cli; print(animdiff_cli.generate.__name__, animdiff_cli.train.__name__)",
        "import sys; from animdiff_cli.cli import main; sys.argv[1:] = ['batch', 'pictures.yaml', '--dry-run']; main()",
    ],
    ids=["api", "batch"],
)
def test_a_torchvision_that_cannot_be_imported_is_not_needed(here, broken_torchvision, picture, code):
    job = f"{{model: pocket, prompt: a fish, images: ['{picture}'], image_method: sparsectrl}}"
    (here / "pictures.yaml").write_text(f"jobs: [{job}]\n")
    paths = os.pathsep.join([str(broken_torchvision), os.environ.get("PYTHONPATH", "")])
    assert in_a_process(code, PYTHONPATH=paths)


@pytest.mark.full
def test_everything_can_be_imported_after_a_lean_import():
    code = """
import importlib.util, torch
from animdiff_cli.cli.commands import COMMANDS
from animdiff_cli.weights.lean_imports import import_networks
import_networks()
from diffusers.models.unets import UNet2DModel
from diffusers.models.transformers import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers import UNet2DConditionModel as same
from transformers import CLIPTextModel
from transformers.processing_utils import ProcessorMixin
from transformers.models.clip.modeling_clip import CLIPTextModel as same_text
import scipy, torch._dynamo
print(same_text is CLIPTextModel, same is UNet2DConditionModel)
print(importlib.util.find_spec("peft") is not None, torch.distributed.is_available())
print(hasattr(torch._dynamo, "optimize"))
"""
    assert in_a_process(code) == ["True"] * 5


@pytest.mark.full
def test_networks_that_cannot_be_imported_lean_are_imported_as_usual():
    code = """
import sys
from animdiff_cli.weights import lean_imports
lean_imports.BARE = (*lean_imports.BARE, "diffusers.utils", "transformers.utils")
lean_imports.import_networks()
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
print(hasattr(sys.modules["diffusers.utils"], "logging"))
print("diffusers.models.transformers.transformer_wan" in sys.modules)
"""
    assert in_a_process(code) == ["True"] * 2


def test_libraries_that_are_imported_already_stay_as_they_are():
    before = dict(sys.modules)
    import_networks()
    assert dict(sys.modules) == before


def test_libraries_of_torch_without_cuda_alone_are_loaded_ahead(tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr(lean_imports.ctypes, "CDLL", lambda name, mode=0: loaded.append(Path(name).name))
    lean_imports._load_libraries(tmp_path)
    assert loaded == ["libtorch_global_deps.so", "libtorch_cpu.so"]
    (tmp_path / "libtorch_cuda.so").touch()
    lean_imports._load_libraries(tmp_path)
    assert len(loaded) == 2
