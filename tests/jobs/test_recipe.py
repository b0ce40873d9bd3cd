from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.jobs.recipe import ALWAYS_RECORDED, differing_weights, make_recipe

CONFIG = GenerateConfig(prompt="a fox", model="pocket", motion_module="pocket-motion", seed=1)
WEIGHTS = {"model": {"unet/a.safetensors": "11", "vae/b.safetensors": "22"}, "motion_module": {"m.ckpt": "33"}}


def test_the_same_render_has_the_same_recipe():
    assert make_recipe(CONFIG, WEIGHTS, "cpu") == make_recipe(CONFIG, WEIGHTS, "cpu")


def test_a_recipe_holds_the_whole_record_and_every_hash():
    recipe = make_recipe(CONFIG, WEIGHTS, "cpu")
    assert GenerateConfig(**recipe["config"]) == CONFIG
    assert recipe["weights"] == WEIGHTS
    assert {"animdiff", "torch", "diffusers", "python"} <= set(recipe["versions"])


def test_a_recipe_names_the_arithmetic_of_a_cpu():
    assert make_recipe(CONFIG, WEIGHTS, "cpu", cpu_arithmetic="avx2")["cpu_arithmetic"] == "avx2"
    assert "cpu_arithmetic" not in make_recipe(CONFIG, WEIGHTS, "cuda")


def test_a_setting_that_is_not_always_recorded_is_left_out_while_it_has_its_default():
    usual, changed = CONFIG, CONFIG.model_copy(update={"prediction_type": "v_prediction"})
    assert "prediction_type" not in make_recipe(usual, WEIGHTS, "cpu")["config"]
    assert make_recipe(changed, WEIGHTS, "cpu")["config"]["prediction_type"] == "v_prediction"
    assert set(GenerateConfig.model_fields) >= ALWAYS_RECORDED


def test_equal_weights_do_not_differ():
    assert differing_weights(make_recipe(CONFIG, WEIGHTS, "cpu"), WEIGHTS, CONFIG) == []


def test_a_changed_missing_or_added_file_differs():
    now = {"model": {"unet/a.safetensors": "99", "unet/c.safetensors": "44"}, "motion_module": {"m.ckpt": "33"}}
    assert differing_weights(make_recipe(CONFIG, WEIGHTS, "cpu"), now, CONFIG) == [
        "model/unet/a.safetensors",
        "model/unet/c.safetensors",
        "model/vae/b.safetensors",
    ]


def test_weights_that_were_chosen_anew_are_no_surprise():
    other = CONFIG.model_copy(update={"motion_module": None})
    now = {"model": WEIGHTS["model"]}
    assert differing_weights(make_recipe(CONFIG, WEIGHTS, "cpu"), now, other) == []


def test_a_record_in_a_recipe_names_the_same_weights_as_its_text():
    config = CONFIG.model_copy(update={"loras": ("ink@0.5",)})
    recipe = make_recipe(config, {"loras": {"ink.safetensors": "a" * 64}}, "cpu")
    recipe["config"]["loras"] = [{"ref": "ink", "scale": 0.5}]
    now = {"loras": {"ink.safetensors": "b" * 64}}
    assert differing_weights(recipe, now, config) == ["loras/ink.safetensors"]
