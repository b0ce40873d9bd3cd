"""Presets: every shipped look is whole, and a person's own come first."""

import pytest

from animdiff_cli import paths
from animdiff_cli.config.layers import resolve
from animdiff_cli.config.presets import list_presets, load_preset
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.weight_settings import WEIGHT_SETTINGS
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.registry.catalog import load_catalog

SHIPPED = sorted(path.stem for path in paths.presets_dir().glob("*.yaml"))
#: first seeds of the official example configs, two of them beyond what a float holds exactly
OFFICIAL_SEEDS = {
    "realistic-vision": 8893659352891878017,
    "toonyou": 12192490710448890259,
    "majicmix": 11413213594134208212,
    "rcnz-cartoon": 8085079222822100088,
    "lyriel": 10917152860782582783,
    "film-velvia": 5726977427157971918,
    "tusun": 7107114461349773341,
    "ghibli-background": 8775748474469046618,
    "camera-zoom-in": 43242532350557906,
}
#: presets without weights, for any image model
WITHOUT_WEIGHTS = ("draft", "fast")
WITH_WEIGHTS = sorted(set(SHIPPED) - set(WITHOUT_WEIGHTS))


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A person's own presets folder, empty."""
    folder = tmp_path / "presets"
    folder.mkdir()
    monkeypatch.setenv("ANIMDIFF_CONFIG", str(tmp_path))
    return folder


def test_the_documented_presets_are_shipped():
    promised = {"pocket", "sd15-v3", "sdxl", "lcm-8step", "lightning-4step", "long-loop", *OFFICIAL_SEEDS}
    assert promised | set(WITHOUT_WEIGHTS) <= set(SHIPPED)


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_a_preset_without_weights_says_that_it_is_not_exact(name):
    preset = load_preset(name)
    assert not {*WEIGHT_SETTINGS, "width", "height", "num_frames", "seed", "prompt"} & preset.values.keys()
    assert "not exact" in preset.description


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_every_shipped_preset_becomes_a_whole_render(name):
    preset = load_preset(name)
    resolved = resolve(GenerateConfig, [preset.layer()])
    given = {key: value for key, value in {"prompt": "a fox", "seed": 1}.items() if key not in resolved.values}
    assert resolved.build(**given).model == preset.values["model"]
    assert resolved.origins["model"] == f"preset `{name}`"


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_every_shipped_preset_names_weights_of_one_base(name):
    values = {"loras": [], "motion_loras": [], **load_preset(name).values}
    named = [("base", values["model"]), ("motion-module", values["motion_module"])]
    named += [("lora", ref) for ref in values["loras"]] + [("motion-lora", ref) for ref in values["motion_loras"]]
    entries = [load_catalog().find(parse_ref(str(ref), scaled=True).target) for _, ref in named]
    assert [entry.kind for entry in entries] == [kind for kind, _ in named]
    assert len({entry.base for entry in entries}) == 1


@pytest.mark.parametrize(("name", "seed"), OFFICIAL_SEEDS.items())
def test_seeds_of_the_official_examples_are_exact(name, seed):
    assert load_preset(name).values["seed"] == seed


def test_the_pocket_preset_says_what_the_catalog_recommends():
    preset = dict(load_preset("pocket").values)
    assert preset.pop("model") == "pocket"
    assert preset == load_catalog().find("pocket").recommended


def test_the_sdxl_preset_says_what_the_catalog_recommends():
    catalog, preset = load_catalog(), dict(load_preset("sdxl").values)
    assert (preset.pop("model"), preset.pop("num_frames"), preset.pop("fps")) == ("sdxl", 16, 8)
    assert preset == {**catalog.find("sdxl").recommended, **catalog.find("mm-sdxl-beta").recommended}


def test_all_presets_are_listed_by_name_with_a_description():
    listed = list_presets()
    assert [preset.name for preset in listed] == SHIPPED
    assert all(preset.description for preset in listed)


def test_an_own_preset_comes_before_a_shipped_one(own):
    (own / "pocket.yaml").write_text("description: Mine\nsteps: 3\n")
    assert load_preset("pocket").values == {"steps": 3}
    assert [preset.description for preset in list_presets() if preset.name == "pocket"] == ["Mine"]


def test_a_typo_in_a_name_suggests_the_preset():
    with pytest.raises(NotFound, match="unknown preset `pockte`") as refusal:
        load_preset("pockte")
    assert refusal.value.hint == "did you mean `pocket`?"


def test_a_file_is_pointed_to_the_config_flag():
    with pytest.raises(NotFound) as refusal:
        load_preset("looks/mine.yaml")
    assert refusal.value.hint == "use `--config looks/mine.yaml`"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("steps: 3\n", "`description` is missing"),
        ("description: x\nstepps: 3\n", "unknown key `stepps`"),
        ("description: x\npreset: pocket\n", "unknown key `preset`"),
        ("description: x\nsteps: many\n", "`steps` must be"),
    ],
)
def test_an_invalid_preset_is_reported_with_its_file(own, content, message):
    (own / "mine.yaml").write_text(content)
    with pytest.raises(UsageError, match=message) as refusal:
        load_preset("mine")
    assert str(own / "mine.yaml") in str(refusal.value)


def test_an_invalid_preset_stops_no_other_one(own):
    (own / "broken.yaml").write_text("steps: 0")
    invalid = []
    assert load_preset("fast").name == "fast"
    assert "broken" not in [preset.name for preset in list_presets(invalid.append)]
    assert len(invalid) == 1 and "broken.yaml" in str(invalid[0])
