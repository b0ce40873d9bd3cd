"""The pocket study's tables: which jobs there are, and what each needs."""

import itertools
from pathlib import Path

import pytest
import yaml

from animdiff_cli.config.schema import GenerateConfig
from tools.pocket.study.conditions import PARTS, STYLES, all_conditions
from tools.pocket.study.plan import all_jobs, study_jobs
from tools.pocket.study.rendering import asked
from tools.pocket.study.settings import PHASES, SCALES, SHOTS
from tools.pocket.study.trainings import Study, motion_settings, write_settings
from tools.pocket.world import OBJECTS


def study(scale="full", work=Path("work"), kind="cpu"):
    return Study(work, SCALES[scale], scale, "auto", kind, workers=2)


@pytest.mark.parametrize("scale", SCALES)
def test_every_job_has_its_own_name_and_result_and_needs_only_what_comes_before(scale):
    seen = set()
    jobs = list(all_jobs(study(scale)))
    for job in jobs:
        assert set(job.needs) <= seen, job.name
        seen.add(job.name)
    assert len(seen) == len({job.result for job in jobs}) == len(jobs)


def test_each_phase_needs_earlier_ones_or_itself():
    phase = {job.name: PHASES.index(job.phase) for job in all_jobs(study())}
    assert all(phase[need] <= PHASES.index(job.phase) for job in all_jobs(study()) for need in job.needs)


def test_all_shots_are_trained_and_every_training_of_a_part_is_used():
    names = {job.name for job in study_jobs(study(), ["lora"])}
    assert {f"camera-{shot}" for shot in SHOTS} < names
    used = {need for job in all_jobs(study()) for need in job.needs}
    assert all(job.name in used for job in all_jobs(study()) if job.phase in ("data", "train"))


def test_one_part_leaves_out_what_only_others_need():
    names = {job.name for job in study_jobs(study(), ["schedules"])}
    assert {"motion-linear", "motion-scaled", "encoder"} < names
    assert not {"temporal-convolution", "adapter", "camera-pan-right"} & names
    together = set(itertools.chain.from_iterable((job.name for job in study_jobs(study(), [part])) for part in PARTS))
    assert together == {job.name for job in study_jobs(study())}


def test_where_a_job_runs_is_no_part_of_what_it_makes():
    here, there = (list(all_jobs(study())), list(all_jobs(Study(**{**vars(study()), "workers": 16, "device": "cpu"}))))
    assert [job.words for job in here] == [job.words for job in there]
    assert [job.command for job in here] != [job.command for job in there]


def test_a_gpu_gets_its_own_settings():
    on_gpu = {job.name: job.words for job in all_jobs(study(kind="cuda"))}
    assert "dtype=bf16" in on_gpu["motion-linear"]
    assert "dtype=bf16" not in {job.name: job.words for job in all_jobs(study())}["motion-linear"]


def test_both_schedules_and_the_ablation_share_one_file_of_settings(tmp_path):
    made = study(work=tmp_path)
    write_settings(made)
    settings = yaml.safe_load(motion_settings(made).read_text())
    assert settings["steps"] == SCALES["full"].motion["steps"]
    jobs = {job.name: job.words for job in all_jobs(made)}
    for name in ("motion-linear", "motion-scaled", "temporal-convolution"):
        assert str(motion_settings(made)) in jobs[name]


@pytest.mark.parametrize("scale", SCALES)
def test_every_condition_is_worded_as_settings_of_a_render(scale):
    result = {job.name: job.result for job in all_jobs(study(scale))}
    for condition in all_conditions(SCALES[scale]):
        flags = condition.flags({name: result[name] for name in condition.needs}, steps=2)
        GenerateConfig(prompt="a red ball", seed=1, **flags)


def test_the_full_study_renders_no_more_than_was_planned():
    scale = SCALES["full"]
    clips = [one for one in all_conditions(scale) if one.num_frames > 1]
    assert sum(len(OBJECTS) * one.clips_per_kind for one in clips) <= 1100
    assert {one.style for one in all_conditions(scale)} == set(STYLES)


def test_more_clips_keep_the_first_ones():
    two, four = asked(2), asked(4)
    assert len(two) == 2 * len(OBJECTS)
    assert four[: len(two)] == two
    assert [scene.kind for scene, _ in two[: len(OBJECTS)]] == list(OBJECTS)
    assert len(asked(0)) == 1
