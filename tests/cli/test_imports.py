"""What commands import. Each module in `SLOW` takes a tenth of a second or more."""

import importlib.util
import json
import subprocess
import sys

from animdiff_cli.cli.optional_packages import UNUSED, without_unused_packages

SLOW = ("torch", "diffusers", "transformers", "numpy", "pydantic", "requests", "yaml", "rich.progress")


def imported(*words):
    """Run a command in a process of its own, and return which modules it has imported at the end."""
    watch = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n"
        "from animdiff_cli.cli import main\n"
        f"sys.argv[1:] = {[str(word) for word in words]}\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_help_imports_nothing_slow(here):
    modules = imported("--help")
    assert modules.isdisjoint(SLOW)
    assert not any(name.startswith(("animdiff_cli.jobs.", "animdiff_cli.core.event")) for name in modules)


def test_a_render_imports_only_what_it_uses(toy):
    modules = imported(*toy, "--prompt", "a ball", "-q")
    assert {"diffusers.models.unets.unet_2d_condition", "transformers.models.clip.modeling_clip"} <= modules
    assert modules.isdisjoint({*UNUSED, "matplotlib", "cv2", "fsspec", "ray", "torchvision"})


def test_packages_are_hidden_only_inside_the_context():
    with without_unused_packages():
        assert importlib.util.find_spec("scipy") is None
        assert importlib.util.find_spec("peft") is None
        assert importlib.util.find_spec("numpy") is not None
        assert importlib.import_module("scipy")
    assert importlib.util.find_spec("scipy") is not None
