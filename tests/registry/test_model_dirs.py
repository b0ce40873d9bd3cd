"""Model directories: weights are found in the layouts of ComfyUI, A1111 and animdiff."""

import pytest

from animdiff_cli.core.refs import parse_ref
from animdiff_cli.errors import NotFound, UsageError
from animdiff_cli.registry.model_dirs import ModelDir, model_dirs
from animdiff_cli.registry.store import locate, locate_any


@pytest.mark.parametrize(
    ("named", "file", "kind"),
    [
        ("ComfyUI", "ComfyUI/models/checkpoints/anime/x.safetensors", "base"),
        ("ComfyUI/models", "ComfyUI/models/loras/x.safetensors", "lora"),
        ("ComfyUI", "ComfyUI/models/animatediff_models/x.ckpt", "motion-module"),
        ("ComfyUI", "ComfyUI/models/animatediff_motion_lora/x.ckpt", "motion-lora"),
        ("ComfyUI", "ComfyUI/custom_nodes/ComfyUI-AnimateDiff-Evolved/models/x.ckpt", "motion-module"),
        ("ComfyUI", "ComfyUI/models/controlnet/x.pth", "controlnet"),
        ("ComfyUI/models/vae", "ComfyUI/models/vae/x.pt", "vae"),
        ("a1111", "a1111/models/Stable-diffusion/sub/deep/x.safetensors", "base"),
        ("a1111", "a1111/models/Lora/x.safetensors", "lora"),
        ("a1111", "a1111/models/LyCORIS/x.safetensors", "lora"),
        ("a1111", "a1111/models/VAE/x.pt", "vae"),
        ("a1111", "a1111/embeddings/x.pt", "embedding"),
        ("a1111", "a1111/extensions/sd-webui-animatediff/model/x.safetensors", "motion-module"),
        ("flat", "flat/x.safetensors", "lora"),
    ],
)
def test_a_file_is_found_by_name_in_the_layout_of_another_program(write_file, use_dirs, named, file, kind):
    path = write_file(file)
    use_dirs(named)
    located = locate(parse_ref("X"), kind)
    assert (located.path, located.entry) == (path, None)


@pytest.mark.parametrize("kind", ["motion-lora", "domain-adapter"])
def test_motion_loras_and_adapters_are_found_in_lora_folders(write_file, use_dirs, kind):
    path = write_file("a1111/models/Lora/x.ckpt")
    use_dirs("a1111")
    assert locate(parse_ref("x"), kind).path == path


def test_a_file_copied_into_the_models_folder_is_found_with_and_without_metadata(write_file):
    plain, described = write_file("models/lora/ink.safetensors"), write_file("models/lora/Neon.safetensors")
    write_file("models/lora/Neon.safetensors.json", b"{}")
    assert locate(parse_ref("ink"), "lora").path == plain
    assert locate(parse_ref("neon"), "lora").path == described


def test_a_model_folder_is_listed_as_one_model(write_file):
    write_file("models/base/mine/unet/diffusion_pytorch_model.safetensors")
    folder = write_file("models/base/mine/model_index.json").parent
    assert locate(parse_ref("mine"), "base").path == folder
    assert [found.path for found in model_dirs()[0].weights] == [folder]


@pytest.mark.parametrize("name", ["x.ckpt.part", "x.ckpt.part.jsonl", ".x.ckpt.lock", ".x.ckpt", "x.ckpt.new", "x.txt"])
def test_partial_downloads_locks_and_hidden_files_are_not_weights(write_file, name):
    write_file(f"models/lora/{name}")
    assert model_dirs()[0].weights == ()
    with pytest.raises(NotFound):
        locate(parse_ref("x"), "lora")


def test_the_models_folder_is_searched_first_then_the_others_in_order(write_file, use_dirs):
    use_dirs("b", "a")
    second = write_file("a/loras/x.safetensors")
    assert locate(parse_ref("x"), "lora").path == second
    first = write_file("b/loras/x.safetensors")
    assert locate(parse_ref("x"), "lora").path == first
    own = write_file("models/lora/x.ckpt")
    assert locate(parse_ref("x"), "lora").path == own


def test_two_files_with_one_name_in_one_directory_are_ambiguous(write_file, use_dirs):
    use_dirs("ComfyUI")
    one, two = write_file("ComfyUI/models/loras/a/x.ckpt"), write_file("ComfyUI/models/loras/x.safetensors")
    with pytest.raises(UsageError) as refusal:
        locate(parse_ref("x"), "lora")
    assert str(one) in str(refusal.value) and str(two) in str(refusal.value)
    assert refusal.value.hint == f"use the path: `{one}`"


def test_one_name_for_two_kinds_is_resolved_by_the_requested_kind(write_file):
    lora, base = write_file("models/lora/x.safetensors"), write_file("models/base/x.safetensors")
    assert locate(parse_ref("x"), "lora").path == lora
    assert locate(parse_ref("x"), "base").path == base
    with pytest.raises(UsageError, match="2 files match `x`"):
        locate_any(parse_ref("x"))


def test_a_file_of_another_kind_hints_at_its_flag(write_file):
    write_file("models/motion-module/x.safetensors")
    with pytest.raises(UsageError, match="`x` is of kind motion-module, not base") as refusal:
        locate(parse_ref("x"), "base")
    assert refusal.value.hint == "pass it as `--motion-module x`"


def test_a_typo_suggests_the_closest_file(write_file):
    write_file("models/base/dreamshaper_8.safetensors")
    with pytest.raises(NotFound) as refusal:
        locate(parse_ref("dreamshapr_8"), "base")
    assert refusal.value.hint == "did you mean `dreamshaper_8`?"


def test_a_file_name_from_the_models_folder_hints_at_its_short_name(write_file, tmp_path, monkeypatch):
    path = write_file("models/base/dreamshaper_8.safetensors")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound) as refusal:
        locate(parse_ref("dreamshaper_8.safetensors"), "base")
    assert refusal.value.hint == f"to use {path}, type `dreamshaper_8`"


def test_symlink_cycles_end(write_file, user_dir):
    path = write_file("models/lora/sub/x.safetensors")
    (user_dir / "models/lora/sub/again").symlink_to(user_dir / "models/lora")
    assert [found.path.name for found in model_dirs()[0].weights] == [path.name]


def test_symlinks_to_other_folders_are_followed(write_file, user_dir):
    write_file("disk/loras/x.safetensors")
    (user_dir / "models").mkdir()
    (user_dir / "models/lora").symlink_to(user_dir / "disk/loras")
    assert locate(parse_ref("x"), "lora").path == user_dir / "models/lora/x.safetensors"


def test_a_missing_directory_is_empty(user_dir):
    assert ModelDir(user_dir / "nowhere").weights == ()


@pytest.mark.parametrize("text", ["./" + "a" * 400, "/" + "b/" * 3000 + "x.ckpt"])
def test_a_path_that_is_too_long_is_a_usage_error(text):
    with pytest.raises(UsageError, match="the name is too long"):
        locate(parse_ref(text), "base")


def test_a_broken_symlink_is_reported(user_dir):
    (user_dir / "x.ckpt").symlink_to(user_dir / "gone.ckpt")
    with pytest.raises(NotFound, match="is a broken symlink"):
        locate(parse_ref(str(user_dir / "x.ckpt")), "base")
