"""Sources of settings and their order."""

import pytest

from animdiff_cli.config.layers import resolve
from animdiff_cli.config.load import flag_name, gather
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.settings import settings_of
from animdiff_cli.errors import NotFound, UsageError

SETTINGS = settings_of(GenerateConfig)

PLACES = ("preset", "config_file", "environ", "assignments", "flags")


@pytest.fixture
def look(tmp_path):
    path = tmp_path / "look.yaml"
    path.write_text("steps: 31\nprompt: a fox\nseed: 18446744073709551615\n")
    return path


@pytest.fixture
def places(look, monkeypatch, tmp_path):
    """Every place to type `steps`, lowest first, with the origin that is to be named."""
    presets = tmp_path / "config" / "presets"
    presets.mkdir(parents=True)
    (presets / "mine.yaml").write_text("description: Mine\nsteps: 30\n")
    monkeypatch.setenv("ANIMDIFF_CONFIG", str(tmp_path / "config"))
    return {
        "preset": ("mine", 30, "preset `mine`"),
        "config_file": (look, 31, str(look)),
        "environ": ({"ANIMDIFF_STEPS": "32"}, 32, "ANIMDIFF_STEPS"),
        "assignments": (["steps=33"], 33, "--set"),
        "flags": ({"steps": 34}, 34, "--steps"),
    }


@pytest.mark.parametrize("highest", range(len(PLACES)))
def test_each_place_wins_over_those_below_it(places, highest):
    given = {name: places[name][0] for name in PLACES[: highest + 1]}
    resolved = resolve(GenerateConfig, gather(**given))
    _, steps, origin = places[PLACES[highest]]
    assert (resolved.values["steps"], resolved.origins["steps"]) == (steps, origin)


def test_a_seed_in_a_file_stays_exact(look):
    assert resolve(GenerateConfig, gather(config_file=look)).values["seed"] == 2**64 - 1


def test_a_config_file_may_name_a_preset_that_it_adjusts(tmp_path):
    path = tmp_path / "look.yaml"
    path.write_text("preset: pocket\nsteps: 9\n")
    resolved = resolve(GenerateConfig, gather(config_file=path))
    assert (resolved.values["steps"], resolved.values["model"]) == (9, "pocket")
    assert resolved.origins["model"] == "preset `pocket`"


def test_a_preset_on_the_command_line_replaces_the_one_in_the_file(tmp_path):
    path = tmp_path / "look.yaml"
    path.write_text("preset: nobody-has-this\n")
    assert resolve(GenerateConfig, gather(config_file=path, preset="pocket")).values["model"] == "pocket"
    with pytest.raises(NotFound, match="nobody-has-this"):
        gather(config_file=path)


def test_a_preset_in_a_file_must_be_a_name(tmp_path):
    (tmp_path / "look.yaml").write_text("preset: [a, b]\n")
    with pytest.raises(UsageError, match="name of a preset"):
        gather(config_file=tmp_path / "look.yaml")


def test_directories_in_the_environment_are_not_settings():
    names = ("MODELS", "OUTPUT", "CONFIG", "CACHE", "EXTRA_MODELS", "CIVITAI_ENDPOINT")
    environ = {f"ANIMDIFF_{name}": "/x" for name in names} | {"HOME": "/root"}
    assert gather(environ=environ) == []


def test_a_typo_in_the_environment_is_reported_as_it_was_typed():
    with pytest.raises(UsageError, match="ANIMDIFF_STEPPS: unknown key `stepps`"):
        resolve(GenerateConfig, gather(environ={"ANIMDIFF_STEPPS": "3"}))


def test_a_prompt_may_hold_colons_and_equals_signs():
    assert resolve(GenerateConfig, gather(assignments=["prompt=a: b = c"])).values["prompt"] == "a: b = c"


@pytest.mark.parametrize("assignment", ["steps", "=3", ""])
def test_set_without_key_or_value_is_refused(assignment):
    with pytest.raises(UsageError, match="expected key=value"):
        gather(assignments=[assignment])


def test_no_motion_is_named_by_its_flag():
    resolved = resolve(GenerateConfig, gather(assignments=["motion_module=mm-v3"], flags={"motion_module": None}))
    assert resolved.values["motion_module"] is None
    assert resolved.origins["motion_module"] == "--no-motion"


def test_every_key_has_a_flag_name_of_its_own():
    keys = SETTINGS.keys() - {"motion_modules"}  # one flag for one motion module and for several
    assert len({flag_name(key) for key in keys}) == len(keys)


def test_the_file_of_a_batch_is_no_config_file(tmp_path):
    (tmp_path / "night.yaml").write_text("defaults: {model: pocket}\njobs: [{prompt: a fox}]\n")
    with pytest.raises(UsageError, match=r"night\.yaml is the file of a batch") as refusal:
        gather(config_file=tmp_path / "night.yaml")
    assert refusal.value.hint.endswith(f"`animdiff batch {tmp_path / 'night.yaml'}`")
