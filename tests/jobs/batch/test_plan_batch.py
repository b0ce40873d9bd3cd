"""A planned batch: settings from everywhere, names that tell jobs apart, groups of weights, every mistake at once."""

from pathlib import Path

import pytest

from animdiff_cli.config.layers import keyword_layer
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS
from animdiff_cli.core.seeds import RANDOM_SEEDS
from animdiff_cli.errors import AnimdiffError, NotFound, UsageError
from animdiff_cli.jobs.batch import names
from animdiff_cli.jobs.batch.cost import count_batch
from animdiff_cli.jobs.batch.plan import plan_batch
from animdiff_cli.jobs.batch.resolve import BatchSettings
from animdiff_cli.jobs.estimate import estimate
from animdiff_cli.jobs.render_plan import plan_renders

SIX = """
defaults: {model: pocket, steps: 20, num_frames: 16}
matrix:
  prompt: ["a red rocket in the night sky", "a blue fish under the sea"]
  seed: [1, 2, 3]
output: "{slug}_{seed}.gif"
"""
TWO = "defaults: {model: pocket}\nmatrix: {prompt: [a fish, a ball], seed: [1]}\n"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def planned(text, name="night.yaml", **more):
    return plan_batch(text, name, device="cpu", **more)


def files(text, **more):
    return [path for job in planned(text, **more).jobs for path in job.outputs.values()]


def messages(text, **more):
    with pytest.raises(AnimdiffError) as caught:
        planned(text, **more)
    return [str(part) for part in caught.value.mistakes or (caught.value,)]


def test_a_matrix_of_prompts_and_seeds_is_planned():
    plan = planned(SIX, output="night/")
    assert plan.output == "night" and len(plan.groups) == 1 and plan.notes == ()
    assert [path for job in plan.jobs for path in job.outputs.values()] == [
        f"{slug}_{seed}.gif"
        for slug in ("a-red-rocket-in-the-night-sky", "a-blue-fish-under-the-sea")
        for seed in (1, 2, 3)
    ]
    assert {(job.config.steps, job.config.num_frames, job.config.width) for job in plan.jobs} == {(20, 16, 128)}
    assert plan.groups[0].configs == tuple(job.config for job in plan.jobs)


def test_a_job_is_planned_as_generate_plans_it():
    text = "jobs: [{model: pocket, prompt: a fish, seed: 3, motion_loras: pocket-pan-right@0.5, guidance_scale: 4}]"
    (job,) = planned(text).jobs
    settings = {"model": "pocket", "prompt": "a fish", "seed": 3, "guidance_scale": 4}
    layer = keyword_layer({**settings, "motion_loras": "pocket-pan-right@0.5"})
    assert job.config == plan_renders([layer], device="cpu").configs[0]


def test_planning_again_gives_the_same_plan():
    text = "a red ball\n{red|blue} fish\n"
    settings = BatchSettings(flags={"model": "pocket"})
    first, second = (planned(text, "stdin", settings=settings).jobs for _ in range(2))
    assert first == second


# ---- where settings come from


def test_what_a_job_sets_wins_over_options_and_they_over_defaults(tmp_path):
    Path("look.yaml").write_text("steps: 5\nfps: 10\nguidance_scale: 3\nprompt_hold: 0.5\n")
    text = "defaults: {model: pocket, fps: 11, guidance_scale: 4}\njobs: [{prompt: a, seed: 1, steps: 9}, {prompt: b}]"
    settings = BatchSettings(
        config_file=Path("look.yaml"),
        environ={"ANIMDIFF_GUIDANCE_SCALE": "6", "ANIMDIFF_FPS": "12"},
        assignments=["fps=13"],
        flags={},
    )
    first, second = (job.config for job in planned(text, settings=settings).jobs)
    assert (first.steps, second.steps) == (9, 5)
    assert {(job.fps, job.guidance_scale, job.prompt_hold) for job in (first, second)} == {(13.0, 6.0, 0.5)}


def test_presets_of_file_option_and_job(tmp_path, monkeypatch):
    monkeypatch.setenv("ANIMDIFF_CONFIG", str(tmp_path))
    Path("presets").mkdir()
    for name, steps in (("file", 7), ("option", 8), ("job", 9)):
        Path(f"presets/{name}.yaml").write_text(f"description: one\nmodel: pocket\nsteps: {steps}\n")
    text = "defaults: {preset: file}\njobs: [{prompt: a, seed: 1}, {prompt: a, seed: 1, preset: job}]"
    assert [job.config.steps for job in planned(text).jobs] == [7, 9]
    assert [job.config.steps for job in planned(text, settings=BatchSettings(preset="option")).jobs] == [8, 9]
    assert files(text) == ["a_1_file.gif", "a_1_job.gif"]


def test_an_option_that_every_job_replaces_is_refused():
    assert messages(TWO, settings=BatchSettings(assignments=["seed=4"])) == [
        "`--set seed` has no effect: every job of night.yaml sets `seed`"
    ]


def test_a_mistake_in_an_option_names_the_option():
    assert messages(TWO, settings=BatchSettings(assignments=["steps=x"]))[0].startswith("--set: `steps` must be")


def test_a_seed_that_is_not_given_is_made_from_the_prompt():
    text = "jobs: [{prompt: a fish}, {prompt: a fish, steps: 3}, {prompt: a ball}, {prompt: a ball, seed: 5, fps: 9}]"
    plan = planned(text, settings=BatchSettings(flags={"model": "pocket"}))
    seeds = [job.config.seed for job in plan.jobs]
    assert seeds[0] == seeds[1] != seeds[2] and seeds[3] == 5
    assert all(0 <= seed < RANDOM_SEEDS for seed in seeds)
    assert plan.notes == ("no seed was given for 3 jobs: it is made from the prompt",)


def test_variants_are_drawn_by_the_seed_and_wildcards_from_their_folder():
    Path("words").mkdir()
    Path("words/animal.txt").write_text("fox\n")
    text = "defaults: {model: pocket}\nmatrix: {prompt: ['{red|blue|green} __animal__'], seed: 1..8}"
    prompts = {job.config.prompt for job in planned(text, settings=BatchSettings(wildcards=Path("words"))).jobs}
    assert prompts > {"red fox"} and all(prompt.endswith(" fox") for prompt in prompts)


# ---- names


def test_names_have_what_jobs_differ_in():
    text = (
        "defaults: {model: pocket}\nmatrix: {prompt: [a fish], seed: [1], steps: [5, 10], guidance_scale: [1, 7.5],"
        " motion_loras: [[], pocket-pan-right@0.5]}"
    )
    assert files(text)[:3] == [
        "a-fish_1_none_steps-5_guidance-scale-1.gif",
        "a-fish_1_none_steps-5_guidance-scale-7.5.gif",
        "a-fish_1_none_steps-10_guidance-scale-1.gif",
    ]


def test_weights_as_parts_of_names():
    settings = WEIGHT_SETTINGS
    for key, value, name in (
        ("loras", "./styles/Ink 2.safetensors@0.5", "ink-2-0.5"),
        ("model", "hf:you/toon/toon_v1.ckpt", "toon-v1"),
        ("controls", "controlnet-canny=moves/dance.mp4@0.8", "controlnet-canny-dance-0.8"),
        ("controls", {"ref": "controlnet-canny", "source": "a.png", "end": 0.5}, "controlnet-canny-a"),
    ):
        assert names._weights_field(settings[key], value) == name


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("motion_loras", "[pocket-pan-right@0.5, pocket-zoom-in]", "pocket-pan-right-0.5-pocket-zoom-in"),
        ("motion_loras", "['pocket-pan-right@0:0,50%:1']", "pocket-pan-right-0-0-0-50-1-0"),
        ("guidance_scale", "'0:9,50%:5'", "0-9-0-50-5-0"),
        ("negative_prompt", "'red / green, and blue'", "red-green-and-blue"),
        ("loop", "true", "true"),
        ("vae", "null", "none"),
    ],
)
def test_settings_as_parts_of_names(key, value, name):
    text = f"defaults: {{model: pocket, {key}: {value}}}\noutput: 'x_{{{key}}}'\njobs: [{{prompt: a, seed: 1}}]"
    assert files(text) == [f"x_{name}.gif"]


def test_prompts_that_begin_alike_are_told_apart_by_their_id():
    long = "masterpiece, best quality, highly detailed, sharp"
    settings = BatchSettings(flags={"model": "pocket"})
    both = files(f"{long}, a fox\n{long}, a cat\n", name="stdin", settings=settings)
    assert len(set(both)) == 2
    assert files(f"{long}, a cat\n{long}, an owl\n", name="stdin", settings=settings)[0] == both[1]


def test_names_do_not_depend_on_other_jobs_of_the_file():
    every = {job.config.seed: job.outputs for job in planned(SIX).jobs if "rocket" in job.config.prompt}
    fewer = SIX.replace("[1, 2, 3]", "[3]")
    assert planned(fewer).jobs[0].outputs == every[3]


def test_a_name_per_job_and_formats_per_job():
    text = (
        "defaults: {model: pocket}\nformats: [gif, mp4]\njobs:\n- {prompt: a, seed: 1, output: one}\n"
        "- {prompt: a, seed: 2, output: sub/two.WEBM, formats: webm}\n- {prompt: a, seed: 3, formats: [frames]}\n"
    )
    assert [dict(job.outputs) for job in planned(text).jobs] == [
        {"gif": "one.gif", "mp4": "one.mp4"},
        {"webm": "sub/two.WEBM"},
        {"frames": "a_3"},
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("output: 3", "`output` must be text, got `3`"),
        ("output: []", "`output` must be text"),
        ("output: {x: y}", "`output` must be text"),
        ("formats: {}", "`formats` must be a list of formats"),
        ("formats: []", "`formats` must be a list of formats"),
        ("formats: [[gif]]", "`formats` must be a list of formats"),
        ("formats: ''", "`formats` must be a list of formats"),
    ],
)
def test_output_and_formats_of_the_file_must_be_text_and_a_list(line, message):
    (found,) = messages(f"defaults: {{model: pocket}}\n{line}\njobs: [{{prompt: a, seed: 1}}]")
    assert found.startswith(f"night.yaml, line 2: {message}")


def test_output_and_formats_without_a_value_are_not_given():
    plan = planned("defaults: {model: pocket}\noutput:\nformats:\njobs: [{prompt: a, seed: 1}]")
    assert [dict(job.outputs) for job in plan.jobs] == [{"gif": "a_1.gif"}]


def test_template_and_formats_of_the_command_line_are_those_of_jobs_without():
    text = (
        "defaults: {model: pocket}\noutput: x_{seed}\njobs: [{prompt: a, seed: 1}, {prompt: b, seed: 2, output: own}]"
    )
    plan = planned(text, output="night/{slug}/{steps:03}_{seed}", formats=["webp"])
    assert plan.output == "night"
    assert [path for job in plan.jobs for path in job.outputs.values()] == ["a/012_1.webp", "own.webp"]


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ("{seed}", "and night.yaml:4, prompt a blue fish under the sea, seed 1 would both be", "add `{slug}` to"),
        ("{slug}", "seed 2 would both be written to `a-red-rocket-in-the-night-sky.gif`", "add `{seed}` to"),
        ("x", "would both be written to `x.gif`, and 4 other jobs clash too", ""),
        ("{slug}_{sede}", "unknown field `{sede}`", "did you mean `seed`?"),
        ("{date}_{slug}_{seed}", "is another one at every run", "--allow-date"),
        ("{slug", "expected '}'", "literal brace"),
        ("../{slug}_{seed}", "is not a valid file name", "below `--output`"),
        ("/x/{slug}_{seed}", "is not a valid file name", "below `--output`"),
        ("{slug}_{seed}.xyz", "no format ends in `.xyz`", "use one of"),
    ],
)
def test_names_that_do_not_work_are_refused(change, message, hint):
    suffix = "" if change.endswith("xyz") else ".gif"
    with pytest.raises(UsageError) as caught:
        planned(SIX.replace("{slug}_{seed}.gif", change + suffix))
    assert message in str(caught.value) and hint in caught.value.hint
    assert not caught.value.mistakes


def test_the_hint_names_all_fields_that_are_needed():
    text = "defaults: {model: pocket}\nmatrix: {prompt: [a], seed: [1, 2], steps: [5, 6]}\noutput: '{slug}'"
    with pytest.raises(UsageError) as caught:
        planned(text)
    assert caught.value.hint == "add `{seed}` and `{steps}` to `{slug}`"


def test_names_that_differ_in_case_alone_are_the_same_file_on_some_disks():
    jobs = "[{prompt: a, seed: 1, output: Fox}, {prompt: a, seed: 2, output: fox}]"
    assert "would both be written to `fox.gif`" in messages(f"defaults: {{model: pocket}}\njobs: {jobs}")[0]


def test_a_file_inside_of_a_folder_of_frames_is_refused():
    jobs = "[{prompt: a, seed: 1, output: fox, formats: frames}, {prompt: a, seed: 2, output: fox/b}]"
    assert "would be inside of the frames of" in messages(f"defaults: {{model: pocket}}\njobs: {jobs}")[0]


def test_dates_are_allowed_when_asked_for():
    text = SIX.replace("{slug}_{seed}.gif", "{date}_{slug}_{seed}.gif")
    assert len(set(files(text, allow_date=True))) == 6


def test_the_default_folder_is_named_like_the_file():
    assert planned(TWO, "jobs/Night 1.yaml").output == str(Path("animdiff-out/night-1"))
    assert planned(TWO, "stdin").output == str(Path("animdiff-out/batch"))


def test_a_job_that_is_there_twice_is_rendered_once():
    plan = planned("a fish\na ball\na fish\n", "stdin", settings=BatchSettings(flags={"model": "pocket"}))
    assert len(plan.jobs) == 2
    assert "stdin:3 is the same clip as stdin:1, and is rendered once" in plan.notes


def test_syntax_of_prompts_that_is_not_supported_is_noted():
    plan = planned("defaults: {model: pocket}\njobs: [{prompt: 'a <lora:x:1> fish'}, {prompt: 'a ball', seed: 1}]")
    assert sum("<lora" in note for note in plan.notes) == 1


# ---- groups


def test_weights_load_once_per_model_whatever_the_order_of_the_file():
    text = (
        "defaults: {model: pocket, seed: 1}\njobs:\n- {prompt: a, motion_loras: pocket-pan-right}\n- {prompt: b}\n"
        "- {prompt: c, motion_loras: [pocket-pan-right], width: 64, steps: 3, guidance_scale: 2, motion_scale: 1.2}\n"
        "- {prompt: d, loras: pocket-crayon@0.5}\n- {prompt: e, num_frames: 8}\n"
    )
    plan = planned(text)
    assert [(job.config.prompt, job.group) for job in plan.jobs] == [
        ("a", 0),
        ("c", 0),
        ("b", 1),
        ("e", 1),
        ("d", 2),
    ]
    assert [[config.prompt for config in group.configs] for group in plan.groups] == [["a", "c"], ["b", "e"], ["d"]]


def test_files_of_weights_are_opened_once_per_group(monkeypatch):
    from animdiff_cli.jobs import render_plan

    opened, check = [], render_plan.check_weights
    monkeypatch.setattr(render_plan, "check_weights", lambda weights: opened.append(weights) or check(weights))
    planned("defaults: {model: pocket, prompt: a}\nmatrix: {seed: 1..4, steps: [3, 4, 5], loras: [[], pocket-neon]}")
    assert len(opened) == 2


def test_missing_weights_of_all_jobs_are_fetched_together():
    text = "defaults: {seed: 1, prompt: a}\nmatrix: {model: [toonyou, pocket, lyriel]}"
    asked = []
    plan = planned(text, on_missing=lambda names: asked.append(tuple(names)))
    assert len(asked) == 1 and {"toonyou", "lyriel"} <= set(asked[0])
    assert [group.weights is None for group in plan.groups] == [True, False, True]


def test_nothing_is_fetched_for_jobs_that_are_not_selected():
    text = "defaults: {seed: 1, prompt: a}\nmatrix: {model: [toonyou, pocket]}"
    plan = planned(text, only=["model=pocket"])
    assert [job.config.model for job in plan.jobs] == ["pocket"]


@pytest.mark.parametrize(
    ("only", "count"), [(["*rocket*"], 3), (["seed=2"], 2), (["seed=2", "*fish*"], 4), (["*.gif"], 6)]
)
def test_jobs_are_selected(only, count):
    assert len(planned(SIX, only=only).jobs) == count


@pytest.mark.parametrize("only", ["*boat*", "seed=9", "sede=1", "seed=x"])
def test_a_selection_of_nothing_is_refused(only):
    with pytest.raises(UsageError, match="--only") as caught:
        planned(SIX, only=[only])
    assert caught.value.hint


# ---- mistakes


def test_mistakes_of_every_kind_are_reported_together():
    text = (
        "defaults: {model: pocket, seed: 1, stpes: 3}\njobs:\n- {prompt: a, steps: 0}\n- {prompt: '(b:900)'}\n"
        "- {seed: 4}\n"
        "- {prompt: c, loras: pocket-crayn}\n- {prompt: d, output: '{sed}'}\n- {prompt: e, width: 100, height: 64}\n"
        "- {prompt: f, clip_skip: 11}\n- {prompt: g, loras: pocket-pan-right}\n"
    )
    found = messages(text)
    told = "\n".join(found)
    for line, words in {
        1: "unknown key `stpes`",
        3: "`steps` must be",
        4: "the weight 900",
        5: "no `prompt` was given",
        6: "unknown model alias `pocket-crayn`",
        7: "unknown field `{sed}`",
        8: "`width` must be",
        9: "cannot skip 11",
        10: "pocket-pan-right",
    }.items():
        assert any(words in message and f"{line}" in message for message in found), (line, words, told)
    assert len(found) == 9, told


def test_the_exit_code_is_that_of_the_mistakes():
    missing = "defaults: {model: pocket, seed: 1}\njobs: [{prompt: a, loras: x1}, {prompt: b, loras: ./y.safetensors}]"
    with pytest.raises(NotFound):
        planned(missing)
    with pytest.raises(UsageError):
        planned(missing.replace("seed: 1", "seed: 1, steps: 0"))


def test_a_mistake_that_all_jobs_share_is_told_once():
    found = messages("defaults: {prompt: a}\nmatrix: {seed: 1..9}")
    assert len(found) == 1 and "no image model was given (so in 8 other jobs)" in found[0]


def test_an_output_folder_that_is_a_file_is_found_before_rendering():
    Path("night").write_text("")
    assert "is a file, not a folder" in messages(SIX, output="night/")[0]


# ---- cost


def test_the_cost_of_a_batch_is_that_of_its_clips():
    text = "defaults: {model: pocket, prompt: a}\nmatrix: {seed: 1..3, steps: [4, 8], num_frames: [8, 16]}"
    plan = planned(text)
    cost = count_batch(plan)
    alone = [estimate(plan_renders([keyword_layer(dict(job.config))], device="cpu")) for job in plan.jobs[:4]]
    assert [clip.cost.flops for clip in cost.clips[:4]] == [clip.cost.flops for clip in alone]
    assert cost.flops == pytest.approx(3 * sum(clip.cost.flops for clip in alone))
    assert cost.seconds is None  # nothing was rendered on this machine


def test_the_time_of_a_batch_has_loading_once_per_group(monkeypatch):
    from animdiff_cli.jobs import estimate as module

    rate = module.Rate("cpu", 16, 1e12, 2.0, 1e9, 0.1, 1e6, 7.0)
    monkeypatch.setattr(module, "best_rate", lambda *given: rate)
    text = "defaults: {model: pocket, prompt: a}\nmatrix: {seed: 1..3, loras: [[], pocket-neon]}"
    cost = count_batch(planned(text))
    assert cost.seconds == pytest.approx(2 * 7.0 + sum(clip.cost.seconds(rate) for clip in cost.clips))


def test_the_cost_of_missing_weights_is_unknown():
    text = "defaults: {seed: 1, prompt: a}\nmatrix: {model: [toonyou, pocket]}"
    cost = count_batch(planned(text, on_missing=lambda names: False))
    assert cost.flops is None and cost.seconds is None and [clip is None for clip in cost.clips] == [True, False]
