"""`--from`: a clip is its own recipe."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from animdiff_cli import generate
from animdiff_cli.outputs import read_recipe


def pixels(folder):
    return [path.read_bytes() for path in sorted(folder.glob("*.png"))]


@pytest.fixture(scope="module")
def rendered(toy_model, toy_motion_file, tmp_path_factory):
    """Render a clip as frames and as a gif, of a fox, with settings that are not the defaults; returns its folder."""
    folder = tmp_path_factory.mktemp("rendered")
    size = {"steps": 2, "num_frames": 2, "width": 64, "height": 64, "fps": 12.5}
    settings = {"negative_prompt": "blur", "seed": 2**63 + 1, "scheduler": "euler-a", **size}
    clip = generate("a fox", model=toy_model, motion_module=toy_motion_file, **settings)
    clip.save(folder / "fox")
    clip.save(folder / "fox.gif")
    return folder


@pytest.fixture
def fox(rendered, here):
    """Put the clip into the folder; returns its frames."""
    shutil.copytree(rendered, here, dirs_exist_ok=True)
    return here / "fox"


def test_the_same_frames_come_again_byte_for_byte(animdiff, fox, here):
    for source in ("fox.gif", "fox", "fox/recipe.json", "fox/00001.png"):
        target = f"again-{source.replace('/', '-')}"
        result = animdiff("generate", "--from", source, "-o", f"{target}/", "-f", "frames")
        assert result.exit_code == 0
        assert "note" not in result.stderr
        (again,) = (here / target).iterdir()
        assert pixels(again) == pixels(fox)
        assert (again / "recipe.json").read_bytes() == (fox / "recipe.json").read_bytes()


def test_what_else_is_given_wins(animdiff, fox, here):
    words = ["--steps", 3, "--seed", 5, "--prompt", "a fish", "--set", "fps=4"]
    assert animdiff("generate", "--from", "fox.gif", *words, "-o", "fish.gif").exit_code == 0
    before, after = read_recipe(here / "fox.gif")["config"], read_recipe(here / "fish.gif")["config"]
    assert after == before | {"steps": 3, "seed": 5, "prompt": "a fish", "fps": 4.0}


def test_several_seeds_of_an_old_clip(animdiff, fox):
    result = animdiff("generate", "--from", "fox.gif", "--seed", 1, "--seed", 2, "--dry-run", "--json")
    configs = [json.loads(line)["config"] for line in result.stdout.splitlines()]
    assert [(config["seed"], config["scheduler"]) for config in configs] == [(1, "euler-a"), (2, "euler-a")]


def test_weights_that_changed_since_are_named(animdiff, fox, toy_motion_file, toy_model, here, records):
    weights = load_file(toy_motion_file)
    recipe = read_recipe(fox)
    moved = here / "moved"
    shutil.copytree(toy_model, moved)
    unet = load_file(moved / "unet/diffusion_pytorch_model.safetensors")
    save_file({key: tensor * 1.01 for key, tensor in unet.items()}, moved / "unet/diffusion_pytorch_model.safetensors")
    save_file(weights, here / "toy_mm.safetensors")  # same weights, other metadata: another file
    recipe["config"] |= {"model": str(moved), "motion_module": str(here / "toy_mm.safetensors")}
    (here / "edited.json").write_text(json.dumps(recipe))
    result = animdiff("generate", "--from", "edited.json", "-o", "new.gif", "--json")
    assert result.exit_code == 0
    assert records(result, "done")[0]["notes"] == [
        f"{name} is not the file the clip was rendered with: frames will differ"
        for name in ("model/unet/diffusion_pytorch_model.safetensors", "motion_module/toy_mm.safetensors")
    ]


def test_weights_that_were_changed_on_purpose_are_not(animdiff, fox):
    result = animdiff("generate", "--from", "fox.gif", "--no-motion", "-o", "still.gif")
    assert result.exit_code == 0
    assert "note" not in result.stderr


@pytest.mark.parametrize("extra", [["--preset", "fast"], ["--config", "look.yaml"]])
def test_a_recipe_and_a_look_are_one_too_many(animdiff, fox, extra):
    result = animdiff("generate", "--from", "fox.gif", *extra)
    assert result.exit_code == 2
    assert "--from reads all settings" in result.stderr


def test_a_picture_by_another_program_has_nothing_to_render_again(animdiff, here):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(here / "holiday.gif")
    result = animdiff("generate", "--from", "holiday.gif")
    assert result.exit_code == 3
    assert "has no animdiff recipe" in result.stderr


def test_a_recipe_with_a_setting_nobody_knows_says_which(animdiff, fox, here):
    recipe = read_recipe(fox)
    recipe["config"]["wings"] = 2
    (here / "edited.json").write_text(json.dumps(recipe))
    result = animdiff("generate", "--from", "edited.json")
    assert result.exit_code == 2
    assert "recipe of edited.json: unknown key `wings`" in result.stderr


@pytest.mark.parametrize("text", ['{"animdiff": 1}', '{"animdiff": 1, "config": []}', '{"animdiff": 1, "config": {}}'])
def test_a_recipe_without_settings_is_refused(animdiff, here, text):
    (here / "edited.json").write_text(text)
    assert animdiff("generate", "--from", "edited.json").exit_code in (2, 3)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"weights": [1]}, "`weights`"),
        ({"weights": {"model": [1]}}, "`weights`"),
        ({"weights": {"model": {"a": 1}}}, "`weights`"),
        ({"config": {"num_frames": 10**9}}, "`num_frames`"),
        ({"config": {"steps": "many"}}, "`steps`"),
        ({"config": {"loras": ["a"] * 101}}, "at most 100 are"),
        ({"config": {"prompt": "x" * 10_001}}, "at most 10000 are"),
        ({"config": {"motion_module": None, "num_frames": 4096, "width": 8192, "height": 8192}}, "GB of memory"),
        ({"config": {"width": 8192, "height": 8192}}, "GB of memory"),
    ],
)
def test_an_absurd_recipe_ends_in_one_sentence_before_anything_loads(animdiff, fox, here, change, named, monkeypatch):
    monkeypatch.setattr("animdiff_cli.diffusion.memory.total_memory", lambda: 8 * 10**9)
    recipe = read_recipe(fox)
    change = {"config": recipe["config"] | change["config"]} if "config" in change else change
    (here / "edited.json").write_text(json.dumps(recipe | change))
    result = animdiff("generate", "--from", "edited.json")
    assert result.exit_code in (2, 6)
    assert named in result.stderr and "loading" not in result.stderr
    assert len(result.stderr.splitlines()) <= 3
