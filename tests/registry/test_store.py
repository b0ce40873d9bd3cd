"""The store: what is here, what is not, and where it would go."""

import pytest

from animdiff_cli import paths
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.registry.catalog import load_catalog
from animdiff_cli.registry.store import here, locate, place, require_model


@pytest.fixture
def models(tmp_path, monkeypatch):
    """An empty models folder."""
    monkeypatch.setenv("ANIMDIFF_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def _put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def test_the_bundled_module_lies_in_the_package():
    assert place(load_catalog().find("pocket-motion")) == paths.pocket_dir() / "motion_module.safetensors"


def test_an_alias_is_found_where_its_file_belongs(models):
    file = _put(models / "base" / "toonyou_beta3.safetensors")
    located = locate(parse_ref("toonyou_beta3"), "base")
    assert (located.path, located.entry.alias) == (file, "toonyou")


def test_a_missing_alias_says_what_to_save_where(models):
    with pytest.raises(NotFound, match="`toonyou` is not on this machine") as refusal:
        locate(parse_ref("toonyou"), "base")
    address = "https://huggingface.co/guoyww/animatediff_t2i_backups/resolve/main/toonyou_beta3.safetensors"
    assert refusal.value.hint == f"save {address} as {models / 'base' / 'toonyou_beta3.safetensors'}"


def test_following_the_hint_makes_the_alias_work(models):
    with pytest.raises(NotFound) as refusal:
        locate(parse_ref("mm-v3"), "motion-module")
    named = refusal.value.hint.rpartition(" as ")[2]
    _put(paths.Path(named))
    assert str(locate(parse_ref("mm-v3"), "motion-module").path) == named


def test_an_empty_folder_is_not_a_model(models):
    (models / "base" / "stable-diffusion-v1-5").mkdir(parents=True)
    with pytest.raises(NotFound, match="`sd15` is not on this machine"):
        locate(parse_ref("sd15"), "base")


def test_a_module_given_as_image_model_is_told_its_flag():
    with pytest.raises(UsageError, match="the kind of `mm-v3` is motion-module, not base") as refusal:
        locate(parse_ref("mm-v3"), "base")
    assert refusal.value.hint == "use it as `--motion-module mm-v3`"


def test_a_path_is_taken_as_it_is(tmp_path):
    file = _put(tmp_path / "my.ckpt")
    located = locate(parse_ref(str(file)), "motion-module")
    assert (located.path, located.entry) == (file, None)


def test_a_slip_in_a_path_finds_its_neighbour(tmp_path):
    _put(tmp_path / "v3_sd15_mm.ckpt")
    with pytest.raises(NotFound, match="no file or folder") as refusal:
        locate(parse_ref(str(tmp_path / "v3_sd15_nm.ckpt")), "motion-module")
    assert refusal.value.hint == "did you mean `v3_sd15_mm.ckpt`?"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf:org/repo/f.ckpt@v2@0.5", "https://huggingface.co/org/repo/resolve/v2/f.ckpt"),
        ("hf:org/repo", "https://huggingface.co/org/repo "),
        ("civitai:30240@78775", "https://civitai.com/models/30240?modelVersionId=78775"),
        ("https://host/f.ckpt@0.5", "https://host/f.ckpt "),
    ],
)
def test_a_reference_to_the_web_says_where_a_browser_finds_it(text, address):
    with pytest.raises(NotFound, match="is not on this machine") as refusal:
        locate(parse_ref(text, scaled=True), "motion-lora")
    assert address in (refusal.value.hint or "")


def test_what_is_here_is_listed(models):
    _put(models / "motion-lora" / "v2_lora_ZoomIn.ckpt")
    assert [entry.alias for entry in here("motion-lora")] == ["zoom-in"]


def test_with_nothing_downloaded_the_bundled_model_is_suggested(models):
    with pytest.raises(NotFound, match="no image model was named") as refusal:
        require_model(None)
    assert "animdiff generate --model pocket --prompt" in (refusal.value.hint or "")


def test_with_a_model_downloaded_that_one_is_suggested(models):
    _put(models / "base" / "lyriel_v16.safetensors")
    with pytest.raises(NotFound) as refusal:
        require_model(None)
    assert "`--model lyriel`" in (refusal.value.hint or "")


def test_a_named_model_is_kept():
    assert require_model("toonyou") == "toonyou"
