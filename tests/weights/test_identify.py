"""Identify files of every kind by names and shapes, and refuse unknown files."""

import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file, save_file

from animdiff_cli.errors import IntegrityError, NotFound
from animdiff_cli.weights.files import read_tensors
from animdiff_cli.weights.identify import identify

UNET = "down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


def identify_tensors(tmp_path, tensors, metadata=None, name="x.safetensors"):
    path = tmp_path / name
    zeros = {key: torch.zeros(shape, dtype=torch.float16) for key, shape in tensors.items()}
    save_file(zeros, path, metadata) if name.endswith(".safetensors") else torch.save(zeros, path)
    return identify(path)


@pytest.mark.parametrize(
    ("version", "base", "frames", "with_middle"),
    [("v1", "sd15", 24, False), ("v2", "sd15", 32, True), ("v3", "sd15", 32, False), ("sdxl", "sdxl", 32, False)],
)
@pytest.mark.parametrize("name", ["mm.ckpt", "mm.safetensors"])
def test_motion_modules_by_mid_block_levels_and_positions(motion_file, version, base, frames, with_middle, name):
    info = identify(motion_file(version, name))
    assert (info.kind, info.version, info.base, info.max_frames) == ("motion-module", version, base, frames)
    assert (info.format, info.dtype) == ("original", "fp32")
    assert info.container == ("torch pickle (zip)" if name.endswith("ckpt") else "safetensors")
    assert info.parameters == sum(t.numel() for t in load_file(motion_file(version)).values())


@pytest.mark.parametrize(("frames", "version"), [(32, "v2"), (64, "long"), (128, "long")])
def test_a_longer_positional_encoding_means_a_long_module(tmp_path, frames, version):
    prefix = "mid_block.motion_modules.0.temporal_transformer"
    position = f"{prefix}.transformer_blocks.0.attention_blocks.0.pos_encoder.pe"
    info = identify_tensors(tmp_path, {f"{prefix}.proj_in.weight": (8, 8), position: (1, frames, 8)})
    assert (info.version, info.max_frames) == (version, frames)


def test_without_positional_encoding_v1_and_v3_cannot_be_told_apart(motion_file, tmp_path):
    save_file({k: v for k, v in load_file(motion_file("v3")).items() if ".pe" not in k}, tmp_path / "x.safetensors")
    info = identify(tmp_path / "x.safetensors")
    assert info.version is None
    assert "v1 and v3 cannot be told apart" in info.notes[0]


def test_a_motion_lora_without_mid_block_is_for_v1_or_v3(motion_lora):
    info = identify(motion_lora("v3"))
    assert (info.kind, info.version) == ("motion-lora", None)
    assert info.goes_with == "`--motion-lora`, on a v1 or v3 motion module of sd15"


@pytest.mark.parametrize(
    ("roles", "family", "rank"),
    [
        ({"lora_down.weight": (8, 768), "lora_up.weight": (320, 8)}, "lora", 8),
        ({"lora_down.weight": (8, 768, 3, 3), "lora_up.weight": (320, 8, 1, 1)}, "locon", 8),
        ({"lora_down.weight": (8, 768), "lora_up.weight": (320, 8), "dora_scale": (1, 768)}, "dora", 8),
        ({f"hada_w{n}_{s}": (320, 4) if s == "a" else (4, 768) for n in "12" for s in "ab"}, "loha", 4),
        ({"lokr_w1": (4, 4), "lokr_w2_a": (80, 6), "lokr_w2_b": (6, 192)}, "lokr", 6),
    ],
)
def test_every_family_of_kohya_and_lycoris(tmp_path, roles, family, rank):
    info = identify_tensors(tmp_path, {f"lora_unet_{UNET}.{role}": shape for role, shape in roles.items()})
    assert (info.kind, info.format, info.family, info.rank, info.dtype) == ("lora", "kohya", family, rank, "fp16")


@pytest.mark.parametrize(
    ("key", "layout"),
    [
        ("unet.{m}.lora_{AB}.weight", "peft"),
        ("base_model.model.{m}.lora_{AB}.weight", "peft"),
        ("unet.{m}.lora.{du}.weight", "diffusers"),
        ("unet.{block}processor.to_k_lora.{du}.weight", "diffusers"),
    ],
)
def test_peft_and_diffusers_loras(tmp_path, key, layout):
    module = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    key = key.replace("{block}", module.removesuffix("to_k")).replace("{m}", module)
    down, up = (key.replace("{AB}", ab).replace("{du}", du) for ab, du in (("A", "down"), ("B", "up")))
    info = identify_tensors(tmp_path, {down: (16, 768), up: (320, 16)})
    assert (info.kind, info.format, info.rank, info.base) == ("lora", layout, 16, "sd15")


@pytest.mark.parametrize(("width", "base"), [(768, "sd15"), (1024, "sd2"), (2048, "sdxl")])
def test_the_base_of_a_lora_is_detected_by_the_width_of_the_text(tmp_path, width, base):
    stem = f"lora_unet_{UNET}"
    assert (
        identify_tensors(tmp_path, {f"{stem}.lora_down.weight": (4, width), f"{stem}.lora_up.weight": (320, 4)}).base
        == base
    )


def test_a_first_generation_diffusers_lora_is_not_a_domain_adapter(spatial_lora, adapter_file, tmp_path):
    def processor(module, role):
        stem, _, projection = module.removesuffix(".0").rpartition(".")
        return f"{stem}.processor.{projection}_lora.{role}.weight"

    torch.save(spatial_lora(4, processor), tmp_path / "old.bin")
    assert identify(tmp_path / "old.bin").kind == "lora"
    assert identify(adapter_file).kind == "domain-adapter"


@pytest.mark.parametrize(
    ("tensors", "kind", "base"),
    [
        ({"emb_params": (3, 768)}, "embedding", "sd15"),
        ({"clip_l": (2, 768), "clip_g": (2, 1280)}, "embedding", "sdxl"),
        ({"<my-cat>": (768,)}, "embedding", "sd15"),
        ({"string_to_param.*": (2, 1024), "string_to_token.*": (1,)}, "embedding", "sd2"),
        ({"ip_adapter.1.to_k_ip.weight": (320, 768), "image_proj.proj.weight": (8, 8)}, "ip-adapter", None),
        ({"control_model.input_hint_block.0.weight": (16, 3, 3, 3)}, "controlnet", None),
        ({"first_stage_model.decoder.up.0.block.0.conv1.weight": (8, 8, 3, 3)}, "vae", None),
        ({"decoder.up_blocks.0.resnets.0.conv1.weight": (8, 8, 3, 3)}, "vae", None),
        ({"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768)}, "base", "sd15"),
        ({"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024)}, "base", "sd2"),
        (
            {"model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, 2048)},
            "base",
            "sdxl",
        ),
        (
            {"module.down_blocks.0.resnets.0.conv1.weight": (8, 8), "module.time_embedding.linear_1.bias": (8,)},
            "unet",
            None,
        ),
    ],
)
def test_every_other_kind(tmp_path, tensors, kind, base):
    info = identify_tensors(tmp_path, tensors)
    assert info.kind == kind
    assert base is None or info.base == base


def test_a_textual_inversion_pickle_reports_its_number_of_tokens(tmp_path):
    content = {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": {"*": torch.zeros(5, 768)}, "step": 9}
    torch.save(content, tmp_path / "easynegative.pt")
    info = identify(tmp_path / "easynegative.pt")
    assert (info.kind, info.base, info.notes[0]) == ("embedding", "sd15", "5 tokens")


def test_folders_are_identified(sd15_folder, sdxl_folder, make_unet, tmp_path):
    assert (identify(sd15_folder).kind, identify(sd15_folder).base) == ("base", "sd15")
    assert identify(sdxl_folder).base == "sdxl"
    ControlNetModel.from_unet(make_unet(dtype=torch.float32)).save_pretrained(tmp_path / "cn")
    assert identify(tmp_path / "cn").kind == "controlnet"


@pytest.mark.parametrize(
    ("tensors", "guess"),
    [
        ({"double_blocks.0.img_attn.qkv.weight": (8, 8)}, "looks like Flux"),
        ({"model.layers.0.self_attn.q_proj.weight": (8, 8)}, "a language model"),
        ({"lora_something.thing": (8, 8)}, "most similar to a LoRA, but without pairs"),
        ({"motion_module.strange": (8, 8)}, "most similar to a motion-module, but without"),
        ({"a.b.c": (8, 8)}, "no key resembles"),
    ],
)
def test_an_unknown_file_is_refused_with_the_most_similar_kind(tmp_path, tensors, guess):
    with pytest.raises(IntegrityError, match=guess) as caught:
        identify_tensors(tmp_path, tensors)
    assert caught.value.exit_code == 5 and caught.value.hint


def test_metadata_alone_does_not_make_a_motion_module(tmp_path):
    with pytest.raises(IntegrityError):
        identify_tensors(tmp_path, {"a.b.c": (8, 8)}, {"animdiff.kind": "motion-module"})


def test_a_missing_path_is_not_found(tmp_path):
    with pytest.raises(NotFound):
        identify(tmp_path / "nothing.safetensors")


def with_metadata(path, tmp_path, **metadata):
    """Save a file's tensors with metadata of this program, and identify the copy."""
    save_file(read_tensors(path), tmp_path / "recorded.safetensors", {f"animdiff.{k}": v for k, v in metadata.items()})
    return identify(tmp_path / "recorded.safetensors")


def test_only_metadata_distinguishes_the_pocket_model_from_sd15(motion_lora, motion_file, adapter_file, tmp_path):
    lora = with_metadata(motion_lora("v3"), tmp_path, base="pocket", motion_version="v3")
    assert (lora.base, lora.goes_with) == ("pocket", "`--motion-lora`, on a v3 motion module of pocket")
    assert with_metadata(motion_file("v3"), tmp_path, base="pocket").base == "pocket"
    assert with_metadata(adapter_file, tmp_path, base="pocket", kind="domain-adapter").base == "pocket"


def test_usage_of_a_lora_and_an_adapter_of_sdxl(motion_lora, adapter_file, tmp_path):
    bare = identify(motion_lora("sdxl"))
    assert (bare.base, bare.version, bare.notes) == ("sdxl", None, ())
    assert bare.goes_with == "`--motion-lora`, on a sdxl or hotshot motion module of sdxl"
    assert with_metadata(motion_lora("sdxl"), tmp_path, motion_version="hotshot").version == "hotshot"
    adapter = with_metadata(adapter_file, tmp_path, kind="domain-adapter", motion_version="v1")
    assert adapter.version == "v1" and "with the v1 motion module" in adapter.goes_with
    assert identify(adapter_file).version == "v3"


@pytest.mark.parametrize("recorded", ["sdxl", "unknown", "my own"])
def test_a_recorded_base_that_contradicts_the_names_is_ignored(motion_lora, tmp_path, recorded):
    assert with_metadata(motion_lora("v3"), tmp_path, base=recorded).base == "sd15"


@pytest.mark.parametrize(("layout", "base"), [("sd15", "sd15"), ("sdxl", "sdxl")])
def test_without_widths_the_base_of_a_lora_is_detected_by_its_levels(make_unet, tmp_path, layout, base):
    attentions = [
        key for key in make_unet(layout, dtype=torch.float32).state_dict() if key.endswith("attn1.to_q.weight")
    ]
    modules = [f"lora_unet_{key.removesuffix('.weight').replace('.', '_')}" for key in attentions]
    shapes = {f"{module}.lora_{side}.weight": (4, 4) for module in modules for side in ("down", "up")}
    assert identify_tensors(tmp_path, shapes).base == base


@pytest.mark.parametrize(
    ("keys", "makes"),
    [
        (("norm", "block1.convs.0.weight", "block5.projection.weight"), "softedge"),
        (("module.init_block.weight", "module.block1_1.conv1.weight"), "softedge"),
        (("model0.1.weight", "model4.1.bias"), "lineart-realistic"),
        (("module.model.model.0.weight", "module.model.model.3.bias"), "lineart-anime"),
        (("backbone.features.0.0.weight", "block23.conv3.weight"), "mlsd"),
        (("encoder.original_model.conv_stem.weight", "decoder.out_conv_res1.0.weight"), "normal"),
        (("conv1_1.weight", "Mconv7_stage6_L2.bias"), "openpose"),
        (("backbone.embeddings.cls_token", "neck.fusion_stage.layers.0.bias", "head.conv1.bias"), "depth"),
    ],
)
def test_networks_that_make_control_pictures(tmp_path, keys, makes):
    info = identify_tensors(tmp_path, dict.fromkeys(keys, (2, 2)), name="x.pth")
    assert (info.kind, info.base, info.notes) == (
        "preprocessor",
        None,
        (f"makes control pictures of `--preprocess {makes}`",),
    )
