"""The store resolves references to local paths."""

from pathlib import Path

import pytest

from animdiff_cli import paths
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.registry.catalog import load_catalog
from animdiff_cli.registry.model_dirs import download_path, ref_download_path
from animdiff_cli.registry.store import local_entries, locate, require_model


@pytest.fixture
def models(tmp_path, monkeypatch):
    """An empty models folder."""
    monkeypatch.setenv("ANIMDIFF_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def _put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def test_the_bundled_module_is_in_the_package():
    assert download_path(load_catalog().find("pocket-motion")) == paths.pocket_dir() / "motion_module.safetensors"


def test_an_alias_resolves_to_its_download_path(models):
    file = _put(models / "base" / "toonyou_beta3.safetensors")
    located = locate(parse_ref("toonyou_beta3"), "base")
    assert (located.path, located.entry.alias) == (file, "toonyou")


def test_a_missing_alias_hints_at_fetch(models):
    with pytest.raises(NotFound, match="`toonyou` is not on this machine") as refusal:
        locate(parse_ref("toonyou_beta3"), "base")
    assert refusal.value.hint == "run `animdiff fetch toonyou`"


def test_an_empty_folder_is_not_a_model(models):
    (models / "base" / "stable-diffusion-v1-5").mkdir(parents=True)
    with pytest.raises(NotFound, match="`sd15` is not on this machine"):
        locate(parse_ref("sd15"), "base")


def test_a_motion_module_passed_as_image_model_hints_at_its_flag():
    with pytest.raises(UsageError, match="`mm-v3` is of kind motion-module, not base") as refusal:
        locate(parse_ref("mm-v3"), "base")
    assert refusal.value.hint == "pass it as `--motion-module mm-v3`"


def test_a_path_resolves_to_itself(tmp_path):
    file = _put(tmp_path / "my.ckpt")
    located = locate(parse_ref(str(file)), "motion-module")
    assert (located.path, located.entry) == (file, None)


def test_a_typo_in_a_path_suggests_the_closest_file(tmp_path):
    _put(tmp_path / "v3_sd15_mm.ckpt")
    with pytest.raises(NotFound, match="no file or folder") as refusal:
        locate(parse_ref(str(tmp_path / "v3_sd15_nm.ckpt")), "motion-module")
    assert refusal.value.hint == "did you mean `v3_sd15_mm.ckpt`?"


@pytest.mark.parametrize("text", ["hf:org/repo/f.ckpt@v2", "hf:org/repo", "civitai:30240@78775", "https://host/f.ckpt"])
def test_a_remote_reference_hints_at_fetch(models, text):
    with pytest.raises(NotFound, match="is not on this machine") as refusal:
        locate(parse_ref(f"{text}@0.5", scaled=True), "motion-lora")
    assert refusal.value.hint == f"run `animdiff fetch {text}`"


def test_a_downloaded_reference_is_found(models):
    file = _put(ref_download_path(parse_ref("hf:org/repo/sub/f.ckpt@v2")))
    assert locate(parse_ref("hf:org/repo/sub/f.ckpt@v2"), "motion-lora").path == file


def test_one_file_of_a_repository_is_not_another(models):
    _put(ref_download_path(parse_ref("hf:org/repo/f.ckpt")))
    for other in ("hf:org/repo", "hf:org/repo/g.ckpt", "hf:org/repo/f.ckpt@v2", "hf:org/repo2/f.ckpt"):
        with pytest.raises(NotFound):
            locate(parse_ref(other), "base")


def test_in_a_civitai_download_folder_only_the_weight_file_is_found(models):
    folder = ref_download_path(parse_ref("civitai:1@2"))
    for companion in ("a.safetensors.part", "a.safetensors.part.jsonl", "z.safetensors.json", ".z.lock"):
        _put(folder / companion)
    with pytest.raises(NotFound):
        locate(parse_ref("civitai:1@2"), "base")
    file = _put(folder / "z.safetensors")
    assert locate(parse_ref("civitai:1@2"), "base").path == file


def test_local_entries_are_listed(models):
    _put(models / "motion-lora" / "v2_lora_ZoomIn.ckpt")
    assert [entry.alias for entry in local_entries("motion-lora") if entry.bundled is None] == ["zoom-in"]


def test_without_downloads_the_bundled_model_is_suggested(models):
    with pytest.raises(NotFound, match="no image model given") as refusal:
        require_model(None)
    assert "animdiff generate --model pocket --prompt" in (refusal.value.hint or "")


def test_a_downloaded_model_is_suggested(models):
    _put(models / "base" / "lyriel_v16.safetensors")
    with pytest.raises(NotFound) as refusal:
        require_model(None)
    assert "`--model lyriel`" in (refusal.value.hint or "")


def test_a_given_model_is_returned():
    assert require_model("toonyou") == "toonyou"


@pytest.mark.parametrize("file", ["a" * 300 + ".safetensors", "é/" * 150 + "x.ckpt"])
def test_the_local_name_of_a_long_reference_fits_a_file_system(file):
    path = _put(ref_download_path(parse_ref(f"hf:org/repo/{file}")))
    assert path.suffix == Path(file).suffix
    assert locate(parse_ref(f"hf:org/repo/{file}"), "base").path == path
    assert path != ref_download_path(parse_ref(f"hf:org/repo/{file.replace('.', '1.')}"))
