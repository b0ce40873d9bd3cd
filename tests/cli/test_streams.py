import json
import subprocess

from animdiff_cli.outputs import read_recipe


def test_stdout_holds_the_path_and_nothing_else(animdiff, toy, files):
    result = animdiff(*toy, "--prompt", "a fox", "--seed", 1)
    assert result.exit_code == 0
    path = result.stdout.removesuffix("\n")
    assert files() == [path]
    assert path.startswith("animdiff-out/") and path.endswith("_a-fox_1.gif")


def test_a_script_can_catch_the_path(script, toy, here):
    bash = 'gif=$("$@" -q) && printf "%s" "$gif"'
    done = subprocess.run(
        ["bash", "-c", bash, "bash", script, *toy, "--prompt", "a fox", "-o", "a fox.gif"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("a fox.gif", "")
    assert read_recipe(here / done.stdout)["config"]["prompt"] == "a fox"


def test_without_a_terminal_progress_is_plain_lines_on_stderr(animdiff, toy):
    lines = animdiff(*toy, "--prompt", "a fox", "--seed", 1, "-o", "fox.gif").stderr.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "loading motion module toy_mm.safetensors",
        "loading image model toy",
        "step 1/2",
        "step 2/2",
        "decoded 2 frames",
        "writing fox.gif",
    ]


def test_quiet_leaves_stderr_empty(animdiff, toy):
    result = animdiff(*toy, "--prompt", "a fox", "-o", "fox.gif", "-q")
    assert (result.stdout, result.stderr) == ("fox.gif\n", "")


def test_json_is_one_object_per_clip(animdiff, toy, here):
    result = animdiff(*toy, "--prompt", "a fox", "--seed", 1, "--seed", 2, "-f", "gif", "-f", "mp4", "--json")
    first, second = map(json.loads, result.stdout.splitlines())
    assert [clip["config"]["seed"] for clip in (first, second)] == [1, 2]
    assert set(first) == {"outputs", "seconds", "notes", "config", "weights", "device", "versions"}
    assert set(first["outputs"]) == {"gif", "mp4"}
    assert all((here / path).is_file() for clip in (first, second) for path in clip["outputs"].values())
    assert result.stderr == ""


def test_a_seed_that_was_drawn_is_reported(animdiff, toy, here):
    result = animdiff(*toy, "--prompt", "a fox", "-o", "fox.gif")
    seed = read_recipe(here / "fox.gif")["config"]["seed"]
    assert f"note: seed {seed}, drawn at random" in result.stderr
    assert seed < 2**32


def test_notes_are_part_of_the_json(animdiff, toy):
    result = animdiff(*toy, "--prompt", "fox " * 50, "--json", "--seed", 1)
    (note,) = json.loads(result.stdout)["notes"]
    assert "77" in note or "75" in note


def test_errors_are_two_lines_on_stderr(animdiff, toy):
    result = animdiff(*toy, "--prompt", "a fox", "--width", 65)
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "error: --width: `width` must be a whole number from 8 up to 8192, a multiple of 8, got `65`",
        "hint: try `64` or `72`",
    ]


def test_errors_are_one_json_object_on_stderr_where_json_was_asked_for(animdiff, toy):
    for wrong in (["--width", 65], ["--wdith", 64], ["--steps", "many"]):
        result = animdiff(*toy, "--prompt", "a fox", *wrong, "--json")
        record = json.loads(result.stderr)
        assert set(record) == {"error", "hint", "code"}
        assert record["code"] == result.exit_code == 2
        assert result.stdout == ""


def test_a_dry_run_names_the_files_and_makes_none(animdiff, toy, files):
    result = animdiff(*toy, "--prompt", "a fox", "--seed", 1, "-o", "night/", "-f", "gif", "-f", "mp4", "--dry-run")
    assert [path.rpartition("_")[2] for path in result.stdout.splitlines()] == ["1.gif", "1.mp4"]
    assert result.stderr.startswith("would render 1 clip of 2 frames of 64x64:")
    assert files() == []


def test_a_dry_run_in_json_holds_the_settings(animdiff, toy, files):
    result = animdiff(*toy, "--prompt", "a fox", "--seed", 1, "--dry-run", "--json", "--device", "cpu")
    plan = json.loads(result.stdout)
    assert plan["device"] == "cpu"
    assert plan["config"]["steps"] == 2
    assert files() == []
