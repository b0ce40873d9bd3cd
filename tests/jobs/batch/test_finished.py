"""A batch that is done is known to be without planning it."""

import pytest

from animdiff_cli.jobs.batch import finished
from animdiff_cli.jobs.batch.finished import finished_records


@pytest.fixture
def done(plan, run):
    """Render the clips of two seeds."""
    run(plan(1, 2))


def test_a_finished_batch_gives_the_records_of_a_run(done, resolve, plan, run):
    _, of_run = run(plan(1, 2))
    assert finished_records(resolve(1, 2)) == of_run
    assert [record["event"] for record in of_run] == ["skipped", "skipped"]
    assert len(finished_records(resolve(2))) == 1


def test_jobs_of_a_matrix_are_reported_in_the_order_of_a_run(plan, resolve, run):
    jobs = {"prompt": ["a fox"], "seed": [1, 2], "motion_scale": [1, 0.5]}
    run(plan(matrix=jobs, output="{seed}-{motion_scale}.gif"))
    _, of_run = run(plan(matrix=jobs, output="{seed}-{motion_scale}.gif"))
    assert finished_records(resolve(matrix=jobs, output="{seed}-{motion_scale}.gif")) == of_run
    assert len(of_run) == 4


@pytest.mark.parametrize(
    "settings",
    [{"steps": 3}, {"output": "other-{seed}.gif"}, {"motion_module": "missing.safetensors"}],
    ids=["settings", "files", "weights"],
)
def test_a_batch_with_other_settings_is_not_finished(done, resolve, settings):
    assert finished_records(resolve(1, 2, **settings)) is None


def test_a_batch_is_not_finished_while_a_file_is_missing_or_changed(done, resolve, tmp_path):
    clip = tmp_path / "night" / "2.gif"
    whole = clip.read_bytes()
    clip.write_bytes(whole[:-1] + b"?")
    assert finished_records(resolve(1, 2)) is None
    clip.unlink()
    assert finished_records(resolve(1, 2)) is None
    clip.write_bytes(whole)
    assert finished_records(resolve(1, 2))
    assert finished_records(resolve(1, 2, 3)) is None


def test_nothing_is_hashed_where_nothing_was_rendered(resolve, monkeypatch):
    monkeypatch.setattr(finished, "find_weights", None)
    assert finished_records(resolve(1)) is None
