"""Shelves: weights are found where ComfyUI, A1111 and a person's own hand put them."""

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
def test_a_file_is_found_by_its_name_where_another_program_keeps_it(put, use, named, file, kind):
    path = put(file)
    use(named)
    located = locate(parse_ref("X"), kind)
    assert (located.path, located.entry) == (path, None)


@pytest.mark.parametrize("kind", ["motion-lora", "domain-adapter"])
def test_motion_loras_and_adapters_may_lie_among_loras(put, use, kind):
    path = put("a1111/models/Lora/x.ckpt")
    use("a1111")
    assert locate(parse_ref("x"), kind).path == path


def test_a_file_put_into_our_own_folder_by_hand_is_found_with_and_without_a_sidecar(put):
    plain, told = put("models/lora/ink.safetensors"), put("models/lora/Neon.safetensors")
    put("models/lora/Neon.safetensors.json", b"{}")
    assert locate(parse_ref("ink"), "lora").path == plain
    assert locate(parse_ref("neon"), "lora").path == told


def test_a_model_folder_is_one_model_and_not_its_files(put):
    put("models/base/mine/unet/diffusion_pytorch_model.safetensors")
    folder = put("models/base/mine/model_index.json").parent
    assert locate(parse_ref("mine"), "base").path == folder
    assert [found.path for found in model_dirs()[0].found] == [folder]


@pytest.mark.parametrize("name", ["x.ckpt.part", "x.ckpt.part.jsonl", ".x.ckpt.lock", ".x.ckpt", "x.ckpt.new", "x.txt"])
def test_parts_locks_and_hidden_files_are_no_weights(put, name):
    put(f"models/lora/{name}")
    assert model_dirs()[0].found == ()
    with pytest.raises(NotFound):
        locate(parse_ref("x"), "lora")


def test_our_own_folder_comes_first_and_then_the_others_in_their_order(put, use):
    use("b", "a")
    second = put("a/loras/x.safetensors")
    assert locate(parse_ref("x"), "lora").path == second
    first = put("b/loras/x.safetensors")
    assert locate(parse_ref("x"), "lora").path == first
    own = put("models/lora/x.ckpt")
    assert locate(parse_ref("x"), "lora").path == own


def test_two_files_of_one_name_in_one_folder_are_both_named(put, use):
    use("ComfyUI")
    one, two = put("ComfyUI/models/loras/a/x.ckpt"), put("ComfyUI/models/loras/x.safetensors")
    with pytest.raises(UsageError) as refusal:
        locate(parse_ref("x"), "lora")
    assert str(one) in str(refusal.value) and str(two) in str(refusal.value)
    assert refusal.value.hint == f"give the path: `{one}`"


def test_one_name_for_two_kinds_is_told_apart_by_what_is_asked_for(put):
    lora, base = put("models/lora/x.safetensors"), put("models/base/x.safetensors")
    assert locate(parse_ref("x"), "lora").path == lora
    assert locate(parse_ref("x"), "base").path == base
    with pytest.raises(UsageError, match="names 2 files"):
        locate_any(parse_ref("x"))


def test_a_file_of_another_kind_is_told_its_flag(put):
    put("models/motion-module/x.safetensors")
    with pytest.raises(UsageError, match="the kind of `x` is motion-module, not base") as refusal:
        locate(parse_ref("x"), "base")
    assert refusal.value.hint == "use it as `--motion-module x`"


def test_a_slip_finds_the_file_that_was_meant(put):
    put("models/base/dreamshaper_8.safetensors")
    with pytest.raises(NotFound) as refusal:
        locate(parse_ref("dreamshapr_8"), "base")
    assert refusal.value.hint == "did you mean `dreamshaper_8`?"


def test_a_file_name_typed_where_it_is_not_is_told_the_name_alone(put, tmp_path, monkeypatch):
    put("models/base/dreamshaper_8.safetensors")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound) as refusal:
        locate(parse_ref("dreamshaper_8.safetensors"), "base")
    assert refusal.value.hint == "by its name alone: `dreamshaper_8`"


def test_links_that_lead_in_a_circle_end(put, person):
    path = put("models/lora/sub/x.safetensors")
    (person / "models/lora/sub/again").symlink_to(person / "models/lora")
    assert [found.path.name for found in model_dirs()[0].found] == [path.name]


def test_links_to_other_folders_are_followed(put, person):
    put("disk/loras/x.safetensors")
    (person / "models").mkdir()
    (person / "models/lora").symlink_to(person / "disk/loras")
    assert locate(parse_ref("x"), "lora").path == person / "models/lora/x.safetensors"


def test_a_folder_that_is_not_there_holds_nothing(person):
    assert ModelDir(person / "nowhere").found == ()


@pytest.mark.parametrize("text", ["./" + "a" * 400, "/" + "b/" * 3000 + "x.ckpt"])
def test_a_path_that_the_system_refuses_is_no_traceback(text):
    with pytest.raises(UsageError, match="the name is too long"):
        locate(parse_ref(text), "base")


def test_a_link_that_leads_nowhere_says_so(person):
    (person / "x.ckpt").symlink_to(person / "gone.ckpt")
    with pytest.raises(NotFound, match="a link to something that is gone"):
        locate(parse_ref(str(person / "x.ckpt")), "base")
