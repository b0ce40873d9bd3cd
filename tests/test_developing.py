"""`docs/developing.md` is complete: its examples, applied to a copy of the package, work, and its paths exist.

As a script, in a process that imports the copy, it runs the exercises and prints what they found as JSON.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "animdiff_cli"
PAGE = (ROOT / "docs" / "developing.md").read_text(encoding="utf-8")
NEW_FILE = re.compile(r"```python\n# (?P<path>\S+)\n(?P<text>.*?)```", re.DOTALL)
BLOCK = re.compile(r"```diff\n(?P<text>.*?)```", re.DOTALL)
#: folders of data, which are linked instead of copied
DATA = ("pocket", "weights/configs")


@dataclass(frozen=True)
class Hunk:
    """One change of a file: lines to find, and lines to write in their place."""

    path: str
    old: str
    new: str


def hunks(text):
    """Read the hunks of a diff block. `--- PATH` begins a file, `@@` another hunk in it."""
    found = []
    for part in re.split(r"^--- ", text, flags=re.MULTILINE)[1:]:
        path, _, body = part.partition("\n")
        for change in re.split(r"^@@\n", body, flags=re.MULTILINE):
            lines = [(line[:1], f"{line[1:]}\n") for line in change.splitlines()]
            old, new = ("".join(line for sign, line in lines if sign != skipped) for skipped in "+-")
            found.append(Hunk(path, old, new))
    return found


def new_files():
    return {match["path"]: match["text"] for match in NEW_FILE.finditer(PAGE)}


def all_hunks():
    return [hunk for block in BLOCK.finditer(PAGE) for hunk in hunks(block["text"])]


def test_every_hunk_applies_to_exactly_one_place():
    for hunk in all_hunks():
        text = (PACKAGE / hunk.path).read_text(encoding="utf-8")
        assert text.count(hunk.old) == 1, f"{hunk.path}: update docs/developing.md:\n{hunk.old}"


def test_every_path_it_names_exists():
    named = set(
        re.findall(r"`([\w./-]+(?:/|\.(?:py|md|toml|txt|yaml)))`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))
    )
    assert len(named) > 40
    assert [path for path in sorted(named) if not any((base / path).exists() for base in (ROOT, PACKAGE))] == []


def test_every_package_has_its_row():
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([\w.]+)/?`", row)]
    present = [path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert sorted(named) == sorted(set(present) - {"__init__.py", "__main__.py"})


def test_the_order_of_packages_is_that_of_the_contract():
    contract = re.findall(r'^    "(animdiff_cli\..*)",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    layers = [sorted(name.removeprefix("animdiff_cli.") for name in line.split(" | ")) for line in contract]
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    assert [sorted(re.findall(r"`(\w+)(?:/|\.py)`", row)) for row in rows] == layers


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """Copy the package and apply the page to it; returns the folder and the changed files."""
    folder = tmp_path_factory.mktemp("extended")
    copy = folder / "animdiff_cli"
    data = {PACKAGE / path for path in DATA}
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(
        PACKAGE,
        copy,
        ignore=lambda inside, names: {*skipped(inside, names), *(n for n in names if Path(inside, n) in data)},
    )
    for path in DATA:
        (copy / path).symlink_to(PACKAGE / path)
    (folder / "presets").symlink_to(ROOT / "presets")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for path, text in new_files().items():
        (copy / path).write_text(text, encoding="utf-8")
    for hunk in all_hunks():
        file = copy / hunk.path
        file.write_text(file.read_text(encoding="utf-8").replace(hunk.old, hunk.new), encoding="utf-8")
    changed = {*new_files(), *(hunk.path for hunk in all_hunks() if hunk.path.endswith(".py"))}
    return folder, [copy / path for path in sorted(changed)]


@pytest.fixture(scope="module")
def found(extended, toy_model, toy_motion_file):
    """Run the exercises with the extended package; returns what they found."""
    folder, _ = extended
    environ = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, __file__, str(toy_model), str(toy_motion_file)]
    done = subprocess.run(words, env=environ, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_examples_are_in_the_style_of_the_package(extended):
    folder, files = extended
    for words in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, *map(str, files)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_a_condition_changes_a_render_from_flag_to_recipe(found):
    assert found["condition"] == {"changes": True, "unchanged_at_0": True, "in_recipe": "lamp.safetensors@4.0"}
    assert found["condition_hashes"] == ["lamp.safetensors"]


def test_other_weights_are_refused_as_a_condition(found):
    assert found["wrong_kind"] == [2, "error: lora.safetensors is a LoRA, not a ControlNet"]


def test_a_lora_layout_is_identified_applied_and_converted(found):
    assert found["lora"] == {"kind": "lora", "format": "slashed", "rank": 2, "changes": True, "same_after": True}


def test_an_output_format_is_written_and_read_back(found):
    assert found["format"] == {"frames": [2, 32, 32, 3], "lossless": True, "prompt": "a lamp"}


def test_a_sampler_is_used(found):
    assert found["sampler"] == "EulerDiscreteScheduler"


def test_a_catalog_entry_is_listed(found):
    assert "hf:example/loras/zoom.safetensors" in found["catalog"]


def test_a_command_runs(found):
    assert found["command"] == "2\n"


def exercises(model, motion_module):
    """Use everything that the page adds, through the command line where it has a flag."""
    import torch
    from safetensors.torch import load_file, save_file
    from typer.testing import CliRunner

    from animdiff_cli.cli import app
    from animdiff_cli.diffusion.schedulers import make_scheduler
    from animdiff_cli.outputs import read_recipe, write_clip
    from animdiff_cli.outputs.read import read_clip
    from animdiff_cli.weights.identify import identify

    def animdiff(*words, code=0):
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == code, result.output
        return result

    def render(name, *words):
        size = ["--steps", "2", "-L", "2", "-W", "32", "-H", "32", "--seed", "1"]
        weights = ["--model", model, "--motion-module", motion_module]
        animdiff("generate", *weights, "--prompt", "a lamp", *size, "-o", f"{name}.tiff", "-q", *words)
        return read_clip(Path(f"{name}.tiff")).frames

    torch.manual_seed(0)
    save_file({"zero_convs.0.weight": torch.tensor(1.0)}, "lamp.safetensors")
    attention = "unet/down_blocks/0/attentions/0/transformer_blocks/0/attn2/to_v"
    factors = {"down": torch.randn(2, 32), "up": torch.randn(32, 2), "alpha": torch.tensor(2.0)}
    save_file({f"{attention}/lora_{role}": tensor for role, tensor in factors.items()}, "lora.safetensors")

    plain = render("plain", "--scheduler", "euler-exponential")
    lit = render("lit", "--scheduler", "euler-exponential", "--lamp", "./lamp.safetensors@4.0")
    unlit = render("unlit", "--scheduler", "euler-exponential", "--lamp", "./lamp.safetensors@0")
    styled = render("styled", "--scheduler", "euler-exponential", "--lora", "./lora.safetensors@20")
    recipe = read_recipe(Path("lit.tiff"))
    info = identify(Path("lora.safetensors"))
    animdiff("convert", "lora.safetensors", "--to", "kohya", "-o", "kohya.safetensors", "-q")
    animdiff("convert", "kohya.safetensors", "--to", "slashed", "-o", "again.safetensors", "-q")
    again, original = load_file("again.safetensors"), load_file("lora.safetensors")
    written = write_clip(lit, 8, Path("again.tiff"), "tiff", recipe)
    refused = animdiff(
        "generate", "--model", model, "--no-motion", "--prompt", "x", "--lamp", "./lora.safetensors", code=2
    )
    return {
        "condition": {
            "changes": bool((plain != lit).any()),
            "unchanged_at_0": bool((plain == unlit).all()),
            "in_recipe": recipe["config"]["lamp"].removeprefix("./"),
        },
        "condition_hashes": list(recipe["weights"]["lamp"]),
        "wrong_kind": [refused.exit_code, refused.stderr.splitlines()[0]],
        "lora": {
            "kind": info.kind,
            "format": info.format,
            "rank": info.rank,
            "changes": bool((plain != styled).any()),
            "same_after": all(torch.equal(tensor, original[key]) for key, tensor in again.items()) and len(again) == 2,
        },
        "format": {
            "frames": list(lit.shape),
            "lossless": bool((read_clip(written).frames == lit).all()),
            "prompt": recipe["config"]["prompt"],
        },
        "sampler": type(make_scheduler("euler-exponential")).__name__,
        "catalog": animdiff("models", "show", "example-zoom").stdout,
        "command": animdiff("count", "lit.tiff").stdout,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(exercises(*sys.argv[1:])))
