"""Check single values: allowed values, and the messages for others."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.config.sampling_settings import MAX_SEED
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.settings import settings_of
from animdiff_cli.config.train_config import TrainConfig
from animdiff_cli.config.values import check_value, from_text
from animdiff_cli.errors import UsageError

SETTINGS = settings_of(GenerateConfig)
check, typed = partial(check_value, GenerateConfig), partial(from_text, GenerateConfig)


@pytest.mark.parametrize(
    ("key", "value", "message", "hint"),
    [
        ("stepps", 3, "unknown key `stepps`", "did you mean `steps`?"),
        ("frames", 3, "unknown key `frames`", "did you mean `num_frames`?"),
        ("xyzzy", 3, "unknown key `xyzzy`", "keys are prompt, "),
        ("steps", "abc", "`steps` must be a whole number from 1 up to 999, got `abc`", "for example `25`"),
        ("steps", 0, "from 1 up to 999, got `0`", "`25`"),
        ("steps", True, "a whole number from 1 up to 999, got `true`", "`25`"),
        ("steps", 25.0, "a whole number from 1 up to 999, got `25.0`", "`25`"),
        ("steps", None, "got `null`", "`25`"),
        ("seed", 2**64, "from 0 up to 18446744073709551615, got `18446744073709551616`", "`42`"),
        ("seed", 1.2e19, "a whole number", "`42`"),
        ("fps", 0, "a number above 0 up to 120", "`8.0`"),
        ("fps", float("nan"), "a number above 0", "`8.0`"),
        ("guidance_scale", float("inf"), "a number from 0", "`7.5`"),
        ("width", 130, "a multiple of 8, got `130`", "try `128` or `136`"),
        ("height", 3, "a multiple of 8, got `3`", "try `8`"),
        ("prompt", 7, "`prompt` must be text, or by position as in `{0: one text, 50%: another}`, got `7`", "quotes"),
        ("scheduler", "dpm++2", "one of ddim, ", "did you mean `dpm++2m`?"),
        ("dtype", "int4", "one of auto, fp32, fp16, bf16, got `int4`", "for example `auto`"),
        ("context_length", 0, "from 2 up to 1024 or null, got `0`", "for example `2`"),
        ("context_overlap", -1, "from 0 up to 1023 or null, got `-1`", "for example `0`"),
        ("continue_frames", 0, "from 1 up to 1023 or null, got `0`", "for example `1`"),
        ("motion_module", 3, "text or null", "quotes"),
        ("video.fps", 0, "`video.fps` must be a number above 0 up to 120 or null, got `0`", "for example `8`"),
        ("rescale_betas_zero_snr", 3, "true or false or null, got `3`", "write `true` or `false`"),
    ],
)
def test_a_wrong_value_is_refused_by_place_key_and_what_is_allowed(key, value, message, hint):
    with pytest.raises(UsageError) as refusal:
        check(key, value, "look.yaml")
    assert str(refusal.value).startswith("look.yaml: ")
    assert message in str(refusal.value)
    assert hint in (refusal.value.hint or "")


def test_a_long_wrong_value_is_cut_in_the_message():
    with pytest.raises(UsageError) as refusal:
        check("steps", "x" * 500, "--steps")
    assert len(str(refusal.value)) < 160


@pytest.mark.parametrize("key", SETTINGS)
def test_every_key_says_what_it_may_hold(key):
    assert SETTINGS[key].allowed


@given(st.integers(0, MAX_SEED))
def test_a_seed_stays_exact_as_number_and_as_text(seed):
    assert check("seed", seed, "test") == seed
    assert check("seed", typed("seed", str(seed)), "test") == seed


@pytest.mark.parametrize("text", ["a: b", "30", "true", "null", "1:30", "[x]"])
def test_text_from_a_shell_stays_text_where_text_is_wanted(text):
    assert check("prompt", typed("prompt", text), "--set") == text


def test_null_empties_what_may_be_empty():
    assert check("motion_module", typed("motion_module", "null"), "--set") is None


@pytest.mark.parametrize(("text", "steps"), [("30", 30), ("030", 30)])
def test_numbers_from_a_shell_are_decimal(text, steps):
    assert check("steps", typed("steps", text), "--set") == steps


@given(
    st.sampled_from(sorted(SETTINGS)),
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=3),
)
def test_any_value_is_taken_or_refused_with_a_hint(key, value):
    try:
        taken = check(key, value, "test")
    except UsageError as refusal:
        assert refusal.hint
    else:
        assert check(key, taken, "test") == taken


def test_a_size_of_endless_digits_is_refused():
    with pytest.raises(UsageError, match="a multiple of 8"):
        check("width", "9" * 5000, "--set")


@pytest.mark.parametrize("value", ["zoom-in@0.8", ["zoom-in@0.8"], ("zoom-in@0.8",)])
def test_one_reference_is_a_list_of_one(value):
    assert check("motion_loras", value, "test") == ("zoom-in@0.8",)


def test_commas_part_a_list_in_a_shell_and_null_empties_it():
    assert check("loras", typed("loras", "a@0.5, ./b.safetensors"), "--set") == ("a@0.5", "./b.safetensors")
    assert check("loras", typed("loras", "null"), "--set") == ()


@pytest.mark.parametrize("value", [5, [5], {"a": 1}, None, True])
def test_what_is_no_list_of_references_is_refused(value):
    with pytest.raises(UsageError, match="`loras` must be a list of references") as refusal:
        check("loras", value, "look.yaml")
    assert "loras: [name@0.8" in refusal.value.hint


@pytest.mark.parametrize(
    ("model", "key", "value"),
    [
        (GenerateConfig, "prompt", "caf\udce9"),
        (TrainConfig, "data.caption", "caf\udce9"),
        (TrainConfig, "sample_prompts", ["a fox", "caf\udce9"]),
        (TrainConfig, "sample_prompts", ("\ud800",)),
    ],
)
def test_bytes_that_are_not_text_are_refused(model, key, value):
    with pytest.raises(UsageError, match=f"`{key}` has bytes that are not text") as refusal:
        check_value(model, key, value, "x")
    assert refusal.value.hint == "write it in UTF-8"
