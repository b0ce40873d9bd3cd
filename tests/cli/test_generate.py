import json
from itertools import product

import numpy as np
import pytest
from PIL import Image

from animdiff_cli.core.formats import FORMATS
from animdiff_cli.outputs import read_recipe
from animdiff_cli.outputs.read import read_clip


def test_every_prompt_is_rendered_with_every_seed_and_weights_load_once(animdiff, toy):
    words = ["--prompt", "a fox", "--prompt", "a fish", "--seed", 1, "--seed", 7, "--repeat", 2]
    result = animdiff(*toy, *words, "--steps", 1, "-o", "{index}_{slug}_{seed}.gif")
    clips = [f"{slug}_{seed}" for slug, seed in product(["a-fox", "a-fish"], [1, 2, 7, 8])]
    assert result.stdout.splitlines() == [f"{index}_{clip}.gif" for index, clip in enumerate(clips, start=1)]
    assert [line for line in result.stderr.splitlines() if "loading" in line] == [
        "loading motion module toy_mm.safetensors",
        "loading image model toy",
    ]
    assert "clip 8/8, step 1/1" in result.stderr


def test_repeating_without_a_seed_draws_different_ones(animdiff, toy):
    result = animdiff(*toy, "--prompt", "a fox", "--repeat", 3, "--dry-run", "--json")
    seeds = {json.loads(line)["config"]["seed"] for line in result.stdout.splitlines()}
    assert len(seeds) == 3


def test_one_render_in_six_formats_and_each_says_how_it_was_made(animdiff, toy, files):
    every = [word for name in FORMATS for word in ("-f", name)]
    result = animdiff(*toy, "--prompt", "a fox", "--seed", 1, "-o", "fox", *every)
    outputs = ["fox.gif", "fox.mp4", "fox.webm", "fox.webp", "fox.png", "fox"]
    assert result.stdout.splitlines() == outputs
    assert set(files()) == {*outputs[:5], "fox/00000.png", "fox/00001.png", "fox/recipe.json"}
    recipes = [json.loads(animdiff("inspect", path, "--json").stdout) for path in outputs]
    assert all(recipe == recipes[0] for recipe in recipes)
    assert recipes[0]["config"] | {"prompt": "a fox", "seed": 1, "steps": 2, "num_frames": 2} == recipes[0]["config"]
    assert set(recipes[0]["weights"]) == {"model", "motion_module"}


SECRET = {"model": "https://me:SECRET@host/x?token=SECRET&a=1", "https://h/k?api_key=SECRET": ["https://h/?sig=SECRET"]}


@pytest.mark.parametrize("words", [["inspect"], ["inspect", "--json"], ["generate", "--dry-run", "--from"]])
def test_tokens_in_the_recipe_of_a_stranger_are_never_shown(animdiff, here, words):
    recipe = {"animdiff": 1, "config": SECRET, "weights": {"model": {"y?token=SECRET": "0"}}}
    (here / "recipe.json").write_text(json.dumps(recipe))
    result = animdiff(*words, "recipe.json")
    assert "SECRET" not in result.output
    assert result.exit_code == (2 if "generate" in words else 0)
    assert "token=…" in result.output


def test_a_deep_recipe_is_refused(animdiff, here):
    (here / "recipe.json").write_text('{"animdiff": 1, "config": {"prompt": ' + "[" * 900 + "]" * 900 + "}}")
    assert animdiff("inspect", "recipe.json").exit_code == 3


def test_inspect_without_json_is_yaml_for_people(animdiff, toy):
    animdiff(*toy, "--prompt", "a fox", "-o", "fox.gif")
    assert "prompt: a fox" in animdiff("inspect", "fox.gif").stdout


def test_a_repeated_note_is_said_once(animdiff, toy):
    result = animdiff(*toy, "--prompt", "fox AND dog " * 50, "--seed", 1, "--seed", 2, "--steps", 1)
    assert result.exit_code == 0
    assert result.stderr.count("note: `AND`: a prompt in parts") == 1


def test_weights_and_their_syntax_reach_the_frames_and_the_recipe(animdiff, toy, here):
    prompt = "a (red:1.9) ball BREAK [snow]"
    for name, more in {"a": [], "b": [], "plain": ["--prompt-syntax", "plain"]}.items():
        assert animdiff(*toy, "--prompt", prompt, "--seed", 1, "-o", f"{name}.gif", *more).exit_code == 0
    frames = [read_clip(here / f"{name}.gif").frames for name in ("a", "b", "plain")]
    assert np.array_equal(frames[0], frames[1]) and not np.array_equal(frames[0], frames[2])
    configs = [read_recipe(here / f"{name}.gif")["config"] for name in ("a", "plain")]
    assert ["prompt_syntax" in config for config in configs] == [False, True]
    assert configs[0]["prompt"] == prompt


@pytest.mark.parametrize(
    ("prompt", "more", "message"),
    [
        ("a (fox:nan)", [], "the weight nan in a prompt is not a number"),
        ("a (fox)1000", ["--prompt-syntax", "compel"], "the weight 1000 in a prompt is not a number"),
    ],
)
def test_a_weight_that_cannot_be_meant_is_found_before_weights_load(animdiff, toy, here, prompt, more, message):
    result = animdiff(*toy, "--prompt", prompt, "--seed", 1, *more)
    assert result.exit_code == 2 and message in result.stderr and "hint:" in result.stderr
    assert "loading" not in result.stderr and not (here / "animdiff-out").exists()


def test_without_motion_each_frame_is_the_still_its_noise_makes(animdiff, toy, parts, here):
    moving = animdiff(*toy, "--prompt", "a fox", "--seed", 1, "-o", "moving", "-f", "frames")
    stills = ["generate", *parts[:2], "--no-motion", *toy[5:]]
    still = animdiff(*stills, "--prompt", "a fox", "--seed", 1, "-o", "still", "-f", "frames")
    assert (moving.exit_code, still.exit_code) == (0, 0)
    assert "motion module" not in still.stderr
    recipe = read_recipe(here / "still")
    assert recipe["config"]["motion_module"] is None and set(recipe["weights"]) == {"model"}
    assert (here / "moving/00000.png").read_bytes() != (here / "still/00000.png").read_bytes()


def test_size_and_number_of_frames_are_as_asked(animdiff, toy, here):
    animdiff(*toy, "--prompt", "a fox", "-L", 3, "-W", 72, "-H", 56, "-o", "fox", "-f", "frames")
    frames = [np.asarray(Image.open(path)) for path in sorted((here / "fox").glob("*.png"))]
    assert np.stack(frames).shape == (3, 56, 72, 3)


def test_a_fresh_number_rather_than_over_an_old_clip(animdiff, toy, here):
    (here / "fox.gif").write_bytes(b"mine")
    result = animdiff(*toy, "--prompt", "a fox", "-o", "fox.gif", "-f", "gif", "-f", "mp4")
    assert result.stdout.splitlines() == ["fox-2.gif", "fox-2.mp4"]
    assert (here / "fox.gif").read_bytes() == b"mine"


def test_overwrite_replaces_what_was_there(animdiff, toy, here, files):
    (here / "fox.gif").write_bytes(b"mine")
    result = animdiff(*toy, "--prompt", "a fox", "-o", "fox.gif", "--overwrite")
    assert result.stdout == "fox.gif\n"
    assert files() == ["fox.gif"]
    assert read_recipe(here / "fox.gif")["config"]["prompt"] == "a fox"


def test_what_cannot_be_replaced_is_said_before_the_render(animdiff, toy, here):
    (here / "fox.gif").mkdir()
    result = animdiff(*toy, "--prompt", "fox", "-o", "{slug}.gif", "--overwrite")
    assert result.exit_code == 2
    assert "loading" not in result.stderr


def test_a_window_that_is_too_long_is_refused_before_the_image_model_loads(animdiff, toy, files):
    result = animdiff(*toy, "--prompt", "a fox", "-L", 40, "-C", 33)
    assert result.exit_code == 2
    assert "loading image model" not in result.stderr
    assert "32" in result.stderr.partition("hint: ")[2]
    assert files() == []


def test_the_prompt_may_be_of_any_script(animdiff, toy, here, records):
    result = animdiff(*toy, "--prompt", "狐狸 🦊 «crème»", "-o", "fox.gif", "--json")
    assert records(result, "done")[0]["config"]["prompt"] == "狐狸 🦊 «crème»"
    assert read_recipe(here / "fox.gif")["config"]["prompt"] == "狐狸 🦊 «crème»"


@pytest.mark.parametrize("scheduler", ["euler-a", "heun"])
def test_a_sampler_can_be_named(animdiff, toy, scheduler, records):
    result = animdiff(*toy, "--prompt", "a fox", "--scheduler", scheduler, "--json")
    assert records(result, "done")[0]["config"]["scheduler"] == scheduler


def test_syntax_of_other_programs_is_noted_in_a_dry_run_and_in_a_render(animdiff, toy):
    words = [*toy, "--prompt", "a (red:1.4) ball AND [snow|rain] <lora:ink:1>", "--seed", 1, "-o", "a.gif"]
    for result in (animdiff(*words, "--dry-run"), animdiff(*words)):
        assert result.exit_code == 0
        notes = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
        assert [note.split("`")[1] for note in notes] == ["[snow|rain]", "AND", "<lora:ink:1>"]
    assert animdiff(*toy, "--set", "prompt=", "--seed", 1, "--dry-run").exit_code == 0


def test_the_number_of_threads_can_be_set(animdiff, toy, monkeypatch):
    counts = []
    monkeypatch.setattr("torch.set_num_threads", counts.append)
    words = [*toy, "--prompt", "a fox", "--seed", 1, "--dry-run"]
    assert animdiff(*words, "--threads", 3).exit_code == 0
    monkeypatch.setenv("ANIMDIFF_THREADS", "2")
    assert animdiff(*words).exit_code == 0
    assert counts == [3, 2]
    assert animdiff(*words, "--threads", 0).exit_code == 2
