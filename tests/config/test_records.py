"""Settings within settings: records of named fields, entries of a list, and the settings of training."""

import pytest
import yaml

from animdiff_cli.config.layers import Layer, resolve, set_layer, with_flags
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.settings import settings_of
from animdiff_cli.config.train_config import TrainConfig
from animdiff_cli.config.values import check_value
from animdiff_cli.config.yamlfile import parse_yaml
from animdiff_cli.errors import UsageError


def resolved(*layers):
    return resolve(GenerateConfig, layers)


def typed(*assignments, model=GenerateConfig):
    return set_layer(model, assignments)


def file(text):
    return Layer("look.yaml", parse_yaml(text, "look.yaml"))


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("loras: [{ref: crayon, scale: 0.8}, plain@0.5]", ("crayon@0.8", "plain@0.5")),
        ("loras: [{ref: crayon}]", ("crayon",)),
        ("loras: [{ref: crayon, scale: null}]", ("crayon",)),
        ("loras:\n- ref: ./a b.safetensors\n  scale: -1", ("./a b.safetensors@-1.0",)),
        ("loras: [crayon@1, crayon@.80]", ("crayon@1", "crayon@.80")),  # text stays as it was typed
        ("loras: [{ref: 'hf:org/repo/file@main', scale: 2}]", ("hf:org/repo/file@main@2.0",)),
        ("loras: [{ref: ./look@2}]", ("./look@2@1.0",)),  # a file whose name ends like a scale
    ],
)
def test_records_and_text_have_one_stored_form(text, stored):
    assert resolved(file(text)).values["loras"] == stored


def test_one_record_stands_alone_where_one_value_is_wanted():
    assert resolved(file("domain_adapter: {ref: look, scale: 0.5}")).values["domain_adapter"] == "look@0.5"


def test_the_record_of_a_render_takes_records_too():
    config = GenerateConfig(prompt="a fox", model="pocket", seed=1, loras=({"ref": "a", "scale": 0.5}, "b"))
    assert config.loras == ("a@0.5", "b")
    assert GenerateConfig.model_validate_json(config.model_dump_json()) == config


def test_what_is_stored_is_read_as_the_same_settings():
    before = resolved(file("loras: [{ref: ./look@2}, {ref: b, scale: 0.25}]\ndomain_adapter: {ref: c}")).values
    assert resolved(file(yaml.safe_dump({key: before[key] for key in ("domain_adapter",)}))).values["loras"] == ()
    assert resolved(Layer("recipe", before)).values == before


def test_set_changes_one_field_of_one_entry():
    base = file("loras: [crayon@0.8, {ref: plain}]\ndomain_adapter: look")
    after = resolved(base, typed("loras.0.scale=0.5", "loras.1.ref=ink", "domain_adapter.scale=0.25"))
    assert after.values["loras"] == ("crayon@0.5", "ink")
    assert after.values["domain_adapter"] == "look@0.25"
    assert after.origins["loras"] == "--set"
    assert resolved(base, typed("loras.0.scale=null")).values["loras"] == ("crayon", "plain")
    assert resolved(base, typed("loras.1=ink@2")).values["loras"] == ("crayon@0.8", "ink@2")


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("loras=[{ref: crayon, scale: 0.5}, neon@0.4]", ("crayon@0.5", "neon@0.4")),
        ("loras= [] ", ()),
        ("loras=[crayon]", ("crayon",)),
        ("embeddings=[a, b]", ("a", "b")),
        ("domain_adapter={ref: ad, scale: 2}", "ad@2.0"),
    ],
)
def test_weights_in_brackets_are_read_as_yaml(text, stored):
    assert resolved(typed(text)).values[text.partition("=")[0]] == stored


@pytest.mark.parametrize("text", ["loras=[{ref: crayon]", "loras=[crayon, {scale: 1}]", "loras=[[a]]"])
def test_invalid_yaml_in_brackets_is_refused(text):
    with pytest.raises(UsageError, match="loras"):
        resolved(typed(text))


def test_prompts_in_brackets_stay_text():
    assert resolved(typed("prompt=[a|b]", "negative_prompt={a}")).values["prompt"] == "[a|b]"


def test_one_field_changes_what_a_flag_gives():
    flags = Layer("flags", {"loras": ("a", "b@2"), "domain_adapter": "ad"})
    set_ = typed("loras.0.scale=0.5", "loras=c", "domain_adapter.scale=3", "motion_loras=m", "motion_loras.0.scale=2")
    values = resolved(*with_flags(GenerateConfig, set_, flags)).values
    assert values["loras"] == ("a@0.5", "b@2")  # the flag wins over the list of `--set`
    assert (values["domain_adapter"], values["motion_loras"]) == ("ad@3.0", ("m@2.0",))


def test_assignments_apply_in_the_order_they_are_typed():
    assert resolved(typed("loras=a,b", "loras.1.scale=0.5")).values["loras"] == ("a", "b@0.5")
    assert resolved(typed("loras.0.scale=0.5", "loras=a", "loras.0.scale=0.25")).values["loras"] == ("a@0.25",)


@pytest.mark.parametrize(
    ("layer", "message", "hint"),
    [
        (file("loras: [{ref: a, scal: 1}]"), "look.yaml: unknown key `loras.0.scal`", "did you mean `scale`?"),
        (
            file("loras: [a, {ref: b, scale: much}]"),
            "`loras.1.scale` must be a number, a curve as in `0:1,50%:2`, or null, got `much`",
            "for example `0.8`",
        ),
        (
            file("loras: [{ref: a, scale: true}]"),
            "`loras.0.scale` must be a number, a curve as in `0:1,50%:2`, or null, got `true`",
            "for example `0.8`",
        ),
        (file("loras: [{scale: 1}]"), "`loras.0` has no `ref`", "names the weights"),
        (file("domain_adapter: {scale: 1}"), "`domain_adapter` has no `ref`", "names the weights"),
        (file("vae: {ref: a}"), "`vae` must be text or null", "quotes"),
        (typed("loras.0.scale=0.5"), "--set: there is no entry `loras.0`: `loras` is empty", "loras=name@0.8"),
        (typed("loras=a", "loras.1.scale=0.5"), "no entry `loras.1`: `loras` has 1, numbered from 0", "is `loras.0`"),
        (typed("loras=a", "loras.x=b"), "unknown key `loras.x`", "`loras.0`"),
        (typed("loras=a", "loras.0.size=1"), "unknown key `loras.0.size`", "keys are ref, scale"),
        (typed("loras=a", "loras.0.scale.x=1"), "unknown key `loras.0.scale.x`", "scale"),
        (
            typed("loras=a", "loras.0.scale=big"),
            "`loras.0.scale` must be a number, a curve as in `0:1,50%:2`, or null, got `big`",
            "for example `0.8`",
        ),
        (typed("domain_adapter.scale=0.5"), "cannot set `domain_adapter.scale` while `domain_adapter` is null", "name"),
        (
            Layer("command line", {"video.section": "2s-6s"}, {"video.section": "--video-range"}),
            "`--video-range` has no effect without `--video`",
            "add `--video FILE`",
        ),
        (file("regions: {source: a.png}"), "`regions` must be a list of texts or records", "regions: [left.png=a red"),
        (typed("steps.x=1"), "unknown key `steps.x`", "`steps`"),
        (typed("embeddings=a", "embeddings.0.ref=b"), "unknown key `embeddings.0.ref`", "`embeddings.0`"),
    ],
)
def test_what_is_wrong_within_a_setting_is_named_by_its_whole_key(layer, message, hint):
    with pytest.raises(UsageError) as refusal:
        resolved(layer)
    assert message in str(refusal.value)
    assert hint in (refusal.value.hint or "")


@pytest.mark.parametrize("key", settings_of(TrainConfig))
def test_every_setting_of_training_says_what_it_may_hold(key):
    assert settings_of(TrainConfig)[key].allowed


def test_a_nested_record_is_a_mapping_or_dotted_keys():
    layers = [file("data: {videos: clips, fps: 8}"), typed("data.stride=3", model=TrainConfig)]
    values = resolve(TrainConfig, layers).values
    assert (values["data.fps"], values["data.stride"]) == (8.0, 3)


@pytest.mark.parametrize(
    ("key", "value", "message", "hint"),
    [
        ("data", 5, "`data` must be a mapping of settings", "`data.videos`"),
        ("data.sise", 64, "unknown key `data.sise`", "did you mean `data.size`?"),
        ("data.size", 257, "`data.size` must be a whole number from 16 up to 4096, a multiple of 8", "try `256`"),
        ("data.shot_speed", "fast", "a number or a range as in `0.3-0.6`, each above 0 up to 2, got `fast`", "0.3"),
        ("data.videos", None, "`data.videos` must be a path", "shards"),
        ("gradient_checkpointing", "maybe", "must be true or false or null", "write `true` or `false`"),
        ("sample_prompts", [5], "`sample_prompts` must be a list of texts", "sample_prompts: [one text"),
        ("domain_adapter", {"ref": "a", "scale": "x"}, "`domain_adapter.scale` must be a number", "for example `0.8`"),
    ],
)
def test_a_wrong_setting_of_training_is_refused_in_the_same_words(key, value, message, hint):
    with pytest.raises(UsageError) as refusal:
        check_value(TrainConfig, key, value, "train.yaml")
    assert str(refusal.value).startswith("train.yaml: ") and message in str(refusal.value)
    assert hint in (refusal.value.hint or "")


def test_a_prompt_with_commas_is_one_prompt():
    assert resolve(TrainConfig, [typed("sample_prompts=a fox, running", model=TrainConfig)]).values[
        "sample_prompts"
    ] == ("a fox, running",)
