"""What a dry run says about cost, and the chart of windows."""

import json

import pytest


def test_a_dry_run_counts_and_a_render_teaches_it_the_time(animdiff, toy, files):
    words = [*toy, "--prompt", "a fox", "--seed", 1, "--steps", 3]
    first = animdiff(*words, "--dry-run")
    assert "1 window x 3 steps, 3 UNet calls" in first.stderr and "of memory" in first.stderr
    assert "--probe" in first.stderr
    assert files() == []
    assert animdiff(*words, "-o", "fox.gif").exit_code == 0
    again = animdiff(*words, "--dry-run")
    assert "time: about" in again.stderr and "--probe" not in again.stderr


def test_a_probe_renders_nothing_and_tells_the_time(animdiff, toy, files):
    result = animdiff(*toy, "--prompt", "a fox", "--probe", "--json", "-L", 6, "-C", 4)
    assert (result.exit_code, files()) == (0, [])
    record = json.loads(result.stdout)
    assert record["cost"].keys() == {
        "windows_per_step",
        "unet_calls",
        "unet_calls_reusing_blocks",
        "flops",
        "memory_bytes",
        "seconds",
    }
    assert record["cost"]["windows_per_step"] == [2, 2]
    assert record["cost"]["seconds"] > 0


def test_without_a_measurement_seconds_are_null(animdiff, toy):
    result = animdiff(*toy, "--prompt", "a fox", "--dry-run", "--json")
    assert json.loads(result.stdout)["cost"]["seconds"] is None


def test_windows_are_drawn_in_80_columns(animdiff, toy, files):
    result = animdiff(*toy, "--prompt", "a fox", "--context-show", "-L", 96, "-C", 16)
    assert (result.exit_code, files()) == (0, [])
    lines = result.stdout.splitlines()
    assert lines[0].startswith("96 frames in windows of 16 frames")
    rows = lines[lines.index("every step: 8 windows") + 1 :]
    assert all(len(line) <= 80 for line in lines)
    assert [row.split()[-1] for row in rows] == [f"{start}-{start + 15}" for start in [*range(0, 80, 12), 80]]


@pytest.mark.parametrize(("frames", "steps"), [(6, 2), (2, 0)])
def test_windows_as_json_have_every_frame_and_share(animdiff, toy, frames, steps):
    result = animdiff(*toy, "--prompt", "a fox", "--context-show", "--json", "-L", frames, "-C", 4)
    windows = json.loads(result.stdout)["windows"] or []
    assert len(windows) == steps
    for step in windows:
        assert step[0]["frames"] == [0, 1, 2, 3]
        assert sum(share for window in step for share in window["shares"]) == pytest.approx(frames)


def test_a_clip_of_one_window_says_so(animdiff, toy):
    assert animdiff(*toy, "--prompt", "a fox", "--context-show").stdout == "2 frames in one window\n"


def test_windows_of_a_module_that_is_not_here_cannot_be_drawn(animdiff):
    result = animdiff("generate", "-m", "toonyou", "--motion-module", "mm-v3", "-p", "a fox", "--context-show")
    assert result.exit_code == 3
    assert "animdiff fetch" in result.stderr


def test_a_dry_run_names_every_input_that_changes_the_frames(animdiff, picture):
    def summary(*words):
        result = animdiff("generate", "--model", "pocket", "--prompt", "a fox", "--dry-run", *words)
        (line,) = (line for line in result.stderr.splitlines() if line.startswith("would render"))
        return line.replace(str(picture), "PICTURE")

    motion = ": pocket with pocket-motion, "
    found = summary("--video", picture, "--mask", picture, "--denoise", "0:0.2,-1:1", "--invert", "--video-range", 0)
    assert f"{motion}video PICTURE 0, mask PICTURE, denoise 0:0.2,-1:1.0, DDIM inversion, 12 steps" in found
    found = summary("--image", f"{picture}@50%")
    assert f"{motion}picture PICTURE@50% by pocket-sparse, 12 steps" in found
    found = summary("--image", picture, "--image-method", "blend")
    assert f"{motion}picture PICTURE by blend, denoise 0.8, 12 steps" in found
    words = ["--control", f"pocket-outline={picture}@0.5", "--region", f"{picture}=a boat", "--lora", "pocket-neon"]
    found = summary(*words, "--set", f"image_prompts=[{{ref: pocket-image, source: {picture}, end: 0.5}}]")
    named = (
        "LoRA pocket-neon, control pocket-outline=PICTURE@0.5, image prompt pocket-image=PICTURE, region PICTURE=a boat"
    )
    assert f"{motion}{named}, 12 steps" in found


def test_a_dry_run_of_a_batch_names_the_first_inputs(animdiff, here, picture):
    sources = [picture.with_name(f"{number}.png") for number in range(5)]
    for source in sources:
        source.write_bytes(picture.read_bytes())
    controls = "".join(f"\n  - [pocket-outline={source}]" for source in sources)
    (here / "jobs.yaml").write_text(f"defaults: {{model: pocket, prompt: a fox}}\nmatrix:\n  controls:{controls}\n")
    result = animdiff("batch", "run", "jobs.yaml", "--dry-run")
    first = ", ".join(f"control pocket-outline={source}" for source in sources[:3])
    assert f"pocket with pocket-motion, {first}, 2 more, 12 steps" in result.stderr
