"""`animdiff batch` as a user meets it: a file in, clips out, and mistakes told before anything is rendered."""

import json
from pathlib import Path

import pytest

from animdiff_cli.outputs.read import read_clip

SMALL = "defaults: {model: pocket, steps: 1, num_frames: 2, width: 64, height: 64}\n"
MATRIX = SMALL + "matrix:\n  prompt:\n  - a fish\n  - a ball\n  seed: [1, 2]\n"


@pytest.fixture
def batch(animdiff):
    """Run `animdiff batch` on one CPU thread."""
    return lambda *words: animdiff("batch", *words, "--device", "cpu")


def stdin(monkeypatch, text):
    """Give a command text on stdin."""
    from animdiff_cli.cli import batch

    monkeypatch.setattr(batch, "read_stdin", lambda example: text)


def test_a_batch_is_rendered_once_and_every_path_is_printed(batch, files):
    Path("night.yaml").write_text(MATRIX.replace("[1, 2]", "[1]"))
    names = ["night/a-fish_1.gif", "night/a-ball_1.gif"]
    first = batch("night.yaml", "-o", "night/")
    assert first.exit_code == 0, first.output
    assert first.stdout.splitlines() == names
    before = {name: Path(name).read_bytes() for name in names}
    second = batch("night.yaml", "-o", "night/")
    assert second.stdout.splitlines() == names and "2 done before" in second.stderr
    assert {name: Path(name).read_bytes() for name in names} == before
    dry = batch("night.yaml", "-o", "night/", "--dry-run")
    assert dry.stdout == "" and "done before: 2 clips\nnothing is left to render" in dry.stderr
    assert sorted(files()) == sorted([*names, "night.yaml", "night/manifest.jsonl"])
    assert len(read_clip(Path(names[0])).frames) == 2


def test_more_jobs_in_the_file_render_only_what_is_new(batch):
    one = MATRIX.replace("  - a ball\n", "").replace("steps: 1", "steps: 2")
    Path("night.yaml").write_text(one.replace("[1, 2]", "[1]"))
    batch("night.yaml", "-o", "night")
    Path("night.yaml").write_text(one)
    dry = batch("night.yaml", "-o", "night", "--dry-run")
    assert dry.stdout == "night/a-fish_2.gif\n"
    assert "time: about" in dry.stderr  # by the clip that was rendered before
    result = batch("night.yaml", "-o", "night", "--json", "-q")
    ended = [(record["event"], record["config"]["seed"]) for record in map(json.loads, result.stdout.splitlines())]
    assert ended == [("skipped", 1), ("done", 2)]


def test_prompts_from_stdin(batch, monkeypatch):
    stdin(monkeypatch, "# tonight\na red fish\n")
    small = [word for pair in ("steps=1", "num_frames=2", "width=64", "height=64") for word in ("--set", pair)]
    result = batch("-", "-m", "pocket", *small, "-o", "out/", "-f", "webp", "-q")
    assert result.exit_code == 0, result.output
    assert [Path(line).name.rpartition("_")[0] for line in result.stdout.splitlines()] == ["a-red-fish"]
    assert all(Path(line).suffix == ".webp" for line in result.stdout.splitlines())
    assert not result.stderr


def test_a_dry_run_lists_files_cost_and_total(batch, files):
    Path("night.yaml").write_text(MATRIX)
    result = batch("night.yaml", "-o", "night", "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "night/a-ball_2.gif" and len(result.stdout.splitlines()) == 4
    assert "4 clips of 2 frames of 64x64: pocket with pocket-motion, 1 step of dpm++2m, cpu" in result.stderr
    assert "would render 4 clips into night: " in result.stderr and "of memory" in result.stderr
    assert files() == ["night.yaml"]


def test_a_dry_run_as_json_has_every_job_and_the_total(batch):
    Path("two.yaml").write_text(SMALL + "matrix: {prompt: [a], seed: [1, 2], loras: [[], pocket-neon]}\n")
    result = batch("two.yaml", "-o", "out", "--dry-run", "--json")
    *jobs, last = map(json.loads, result.stdout.splitlines())
    assert [job["group"] for job in jobs] == [0, 0, 1, 1]
    assert jobs[0]["outputs"] == {"gif": "out/a_1_none.gif"} and jobs[0]["config"]["steps"] == 1
    assert last["total"]["jobs"] == 4 and last["total"]["groups"] == 2
    assert last["total"]["flops"] == pytest.approx(sum(job["cost"]["flops"] for job in jobs))
    assert "loading weights 2 times" in result.stderr


def test_a_dry_run_of_a_shard_lists_its_part(batch):
    Path("night.yaml").write_text(MATRIX)
    parts = [batch("night.yaml", "--shard", f"{part}/3", "--dry-run", "-q").stdout.splitlines() for part in (1, 2, 3)]
    assert [len(part) for part in parts] == [1, 1, 2] and len({path for part in parts for path in part}) == 4


def test_a_dry_run_refuses_what_a_run_would_not_replace(batch):
    Path("night.yaml").write_text(MATRIX)
    Path("night").mkdir()
    Path("night/a-fish_1.gif").write_text("")
    result = batch("night.yaml", "-o", "night", "--dry-run")
    assert result.exit_code == 2 and "`night/a-fish_1.gif` exists" in result.stderr
    assert batch("night.yaml", "-o", "night", "--dry-run", "--overwrite").exit_code == 0


def test_a_dry_run_lists_what_would_be_fetched(batch):
    Path("night.yaml").write_text("matrix: {model: [pocket, toonyou], prompt: [a], seed: [1]}\n")
    result = batch("night.yaml", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "would fetch toonyou, 2.1" in result.stderr
    assert "counted when all weights are on this machine" in result.stderr
    refused = batch("night.yaml", "--no-fetch", "--dry-run")
    assert refused.exit_code == 3 and "toonyou" in refused.stderr


def test_every_mistake_is_printed_with_its_line_and_nothing_is_written(batch, files):
    Path("bad.yaml").write_text(SMALL + "matrix:\n  prompt: [a]\n  seed: [1, two]\n  clip_skip: [0, 11]\nouput: x\n")
    result = batch("bad.yaml", "-o", "out/")
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert lines[0] == "error: bad.yaml has 3 mistakes"
    assert lines[1].startswith("  bad.yaml, line 4: `seed` must be a whole number")
    assert lines[3:5] == ["  bad.yaml, line 6: unknown key `ouput`", "    hint: did you mean `output`?"]
    assert lines[5].startswith("  bad.yaml:3, clip_skip 11: cannot skip 11 of the")
    assert files() == ["bad.yaml"] and not result.stdout


def test_mistakes_as_json(batch):
    Path("bad.yaml").write_text("defaults: {model: pocket, stps: 3}\nmatrix: {prompt: [a], seed: [-1]}\n")
    result = batch("bad.yaml", "--json")
    record = json.loads(result.stderr)
    assert record["error"] == "bad.yaml has 2 mistakes" and record["code"] == 2
    assert record["mistakes"][0] == {"error": "bad.yaml, line 1: unknown key `stps`", "hint": "did you mean `steps`?"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nigth.yaml"], 3, "no file `nigth.yaml`"),
        (["night.yaml", "--shard", "3/2"], 2, "there is no shard 3 of 2"),
        (["night.yaml", "--limit", "3"], 2, "night.yaml, line 3: 4 jobs, and at most 3 are allowed"),
        (["night.yaml", "--only", "seed=7"], 2, "`--only seed=7` matches no job"),
        (["night.yaml", "--set", "seed=7"], 2, "`--set seed` has no effect: every job of night.yaml"),
        (["night.yaml", "-o", ""], 2, "--output is empty"),
        (["night.yaml", "-f", "avi"], 2, "unknown output format `avi`"),
        (["night.yaml", "--offline", "--fetch"], 2, "cannot be combined"),
        (["night.yaml", "--workers", "0"], 2, "must be 1 or more"),
        (["night.yaml", "--preset", "nigth"], 3, "unknown preset `nigth`"),
        (["night.yaml", "--devices", "cuda:7"], 6, "cuda"),
        ([], 2, "missing argument"),
    ],
)
def test_words_that_cannot_work_are_refused(batch, files, words, code, said):
    Path("night.yaml").write_text(MATRIX)
    result = batch(*words)
    assert result.exit_code == code and said in result.stderr, result.output
    assert "hint: " in result.stderr and files() == ["night.yaml"]


def test_a_file_named_like_a_command_is_given_with_its_folder(batch):
    Path("init").write_text("a fish\n")
    result = batch("./init", "-m", "pocket", "--dry-run")
    assert result.exit_code == 0 and "a-fish" in result.stdout


def test_options_may_come_before_the_file(animdiff):
    Path("night.yaml").write_text(MATRIX)
    result = animdiff("batch", "-o", "night", "--dry-run", "night.yaml")
    assert result.exit_code == 0 and result.stdout.startswith("night/")


def test_init_writes_an_example_that_can_be_planned(animdiff, batch, files):
    result = animdiff("batch", "init")
    assert (result.exit_code, result.stdout) == (0, "batch.yaml\n") and files() == ["batch.yaml"]
    planned = batch("batch.yaml", "-o", "night", "--dry-run", "-q")
    assert planned.exit_code == 0, planned.output
    assert len(planned.stdout.splitlines()) == 4
    assert animdiff("batch", "init", "-").stdout == Path("batch.yaml").read_text()
    again = animdiff("batch", "init")
    assert again.exit_code == 2 and "`batch.yaml` exists" in again.stderr


def test_the_comments_of_the_example_name_its_file(animdiff):
    animdiff("batch", "init", "my night.yaml")
    assert "#   animdiff batch 'my night.yaml' -o night/ " in Path("my night.yaml").read_text()


@pytest.mark.parametrize(("option", "key"), [("--steps", "steps"), ("--frames", "num_frames"), ("--prompt", "prompt")])
def test_an_option_of_generate_is_pointed_to_set(animdiff, option, key):
    result = animdiff("batch", "night.yaml", option, "2")
    assert result.exit_code == 2 and f"or type `--set {key}=…`" in result.stderr


def test_a_whole_prompt_is_no_field_of_a_name(animdiff):
    Path("night.yaml").write_text(MATRIX)
    result = animdiff("batch", "night.yaml", "-o", "night/{prompt}", "--dry-run")
    assert result.exit_code == 2 and "write `{slug}`" in result.stderr


def test_every_line_of_the_example_that_is_a_comment_works_too(animdiff, batch):
    text = animdiff("batch", "init", "-").stdout
    Path("more.yaml").write_text(
        text.replace("  # preset", "  preset")
        .replace("  # motion_loras", "  motion_loras")
        .replace("# zip:\n#   guidance_scale: [5, 7.5]\n#   ", "zip:\n  guidance_scale: [5, 7.5]\n  ")
        .replace('"{slug}_{seed}"', '"{slug}_{seed}_{motion_loras}_{scheduler}"')
    )
    result = batch("more.yaml", "--dry-run", "-q")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 3 * 2 * 2 + 1
    jobs = "# jobs:\n#   - {prompt: a bell, seed: 3}\n#   - {prompt: a pink"
    start, end = text.index("matrix:\n"), text.index("# In place of")
    Path("jobs.yaml").write_text((text[:start] + text[end:]).replace(jobs, jobs.replace("# ", "").replace("#", "")))
    result = batch("jobs.yaml", "--dry-run", "-q", "-o", ".")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == ["a-bell_3.gif", "heart.mp4"]
