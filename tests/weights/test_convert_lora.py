"""Convert LoRAs between all layouts without changing their scale."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.jobs.convert import convert_weights, plan_conversion
from animdiff_cli.weights.files import open_weights, read_tensors
from animdiff_cli.weights.identify import identify
from animdiff_cli.weights.lora import open_lora
from animdiff_cli.weights.lora_names import KOHYA_WORDS, dotted, underscored


def convert(source, to, output, **options):
    return convert_weights(plan_conversion(str(source), to, output=output, **options)).path


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@given(st.lists(st.one_of(st.sampled_from(KOHYA_WORDS), st.integers(0, 99).map(str)), min_size=1, max_size=9))
def test_dotted_and_underscored_names_round_trip(words):
    read = dotted(underscored(".".join(words)))
    assert read is not None and underscored(read) == underscored(".".join(words))


@pytest.mark.parametrize("layout", ["diffusers", "kohya", "peft"])
def test_a_motion_lora_round_trips_through_every_layout(motion_lora, tmp_path, layout):
    source = motion_lora("v2")
    info = identify(source)
    assert (info.kind, info.version, info.rank, info.format) == ("motion-lora", "v2", 4, "original")
    there = convert(source, layout, tmp_path / "there.safetensors")
    assert identify(there).format == layout and identify(there).kind == "motion-lora"
    assert same(load_file(convert(there, "original", tmp_path / "back.safetensors")), read_tensors(source))


@pytest.mark.parametrize("layout", ["diffusers", "kohya", "peft"])
def test_a_domain_adapter_round_trips_through_every_layout(adapter_file, tmp_path, layout):
    info = identify(adapter_file)
    assert (info.kind, info.version, info.rank) == ("domain-adapter", "v3", 128)
    there = convert(adapter_file, layout, tmp_path / "there.safetensors")
    assert identify(there).kind == "domain-adapter"
    assert same(load_file(convert(there, "original", tmp_path / "back.safetensors")), read_tensors(adapter_file))


@pytest.mark.parametrize("layout", ["diffusers", "peft"])
def test_a_kohya_lora_round_trips_with_its_alphas(kohya_lora, tmp_path, layout):
    there = convert(kohya_lora, layout, tmp_path / "there.safetensors")
    back = convert(there, "kohya", tmp_path / "back.safetensors")
    assert same(load_file(back), load_file(kohya_lora))
    assert open_weights(back).metadata["ss_network_dim"] == "8"


def test_a_domain_adapter_for_comfy_gets_alphas_equal_to_its_ranks(adapter_file, tmp_path):
    weights = load_file(convert(adapter_file, "comfy", tmp_path / "comfy.safetensors"))
    alphas = [value.item() for key, value in weights.items() if key.endswith(".alpha")]
    assert alphas and set(alphas) == {128.0}


@pytest.mark.parametrize("layout", ["diffusers", "peft", "kohya"])
def test_diffusers_applies_each_layout_as_the_merge_does(kohya_lora, make_unet, tmp_path, layout):
    pytest.importorskip("peft")
    from diffusers.loaders import StableDiffusionLoraLoaderMixin as Loader

    unet = make_unet(dtype=torch.float32)
    path = convert(kohya_lora, layout, tmp_path / "x.safetensors")
    state, alphas, metadata = Loader.lora_state_dict(path, return_lora_metadata=True)
    Loader.load_lora_into_unet(state, alphas, unet, metadata=metadata)
    sample, text = torch.randn(1, 4, 8, 8), torch.randn(1, 3, 24)
    theirs = unet(sample, 5, text).sample

    plain = make_unet(dtype=torch.float32)
    untouched = plain(sample, 5, text).sample
    for module, group in open_lora(open_weights(kohya_lora)).modules.items():
        weight = plain.get_submodule(module.removeprefix("unet.")).weight
        weight.data += 3 / 8 * group["up"].read() @ group["down"].read()
    ours = plain(sample, 5, text).sample
    assert torch.allclose(theirs, ours, atol=1e-4)
    assert not torch.allclose(theirs, untouched, atol=1e-2)


def test_alphas_in_the_adapter_config_of_a_peft_folder_are_used(spatial_lora, tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    names = {"down": "lora_A.weight", "up": "lora_B.weight"}
    weights = spatial_lora(8, lambda module, role: f"base_model.model.{module}.{names[role]}")
    save_file(weights, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"r": 8, "lora_alpha": 2}')
    kohya = load_file(convert(folder, "kohya", tmp_path / "k.safetensors"))
    assert {value.item() for key, value in kohya.items() if key.endswith(".alpha")} == {2.0}
    (folder / "adapter_config.json").write_text('{"r": 8, "lora_alpha": 2, "use_rslora": true}')
    kohya = load_file(convert(folder, "kohya", tmp_path / "rs.safetensors"))
    (alpha,) = {value.item() for key, value in kohya.items() if key.endswith(".alpha")}
    assert alpha / 8 == pytest.approx(2 / 8**0.5)  # rsLoRA: alpha / sqrt(rank)


def test_an_incomplete_pair_is_named(kohya_lora, tmp_path):
    weights = load_file(kohya_lora)
    key = next(key for key in weights if key.endswith("attn1_to_q.lora_up.weight"))
    del weights[key]
    save_file(weights, tmp_path / "half.safetensors")
    with pytest.raises(IntegrityError, match=r"attn1\.to_q` has no up matrix"):
        plan_conversion(str(tmp_path / "half.safetensors"), "peft", output=tmp_path / "x.safetensors")


def test_a_key_of_no_layout_refuses_the_lora(kohya_lora, tmp_path):
    save_file(load_file(kohya_lora) | {"lora_unet_warp_core.lora_up.weight": torch.ones(1)}, tmp_path / "s.safetensors")
    with pytest.raises(IntegrityError, match="1 key refused, first `lora_unet_warp_core"):
        plan_conversion(str(tmp_path / "s.safetensors"), "peft", output=tmp_path / "x.safetensors")


def test_loha_does_not_convert_to_peft_and_the_message_suggests_merging(tmp_path, numbers):
    module = "lora_unet_mid_block_attentions_0_proj_in"
    roles = {"hada_w1_a": (8, 2), "hada_w1_b": (2, 8), "hada_w2_a": (8, 2), "hada_w2_b": (2, 8)}
    save_file({f"{module}.{role}": numbers(*shape) for role, shape in roles.items()}, tmp_path / "loha.safetensors")
    assert identify(tmp_path / "loha.safetensors").family == "loha"
    with pytest.raises(IntegrityError, match="--merge-lora"):
        plan_conversion(str(tmp_path / "loha.safetensors"), "peft", output=tmp_path / "x.safetensors")


def test_alphas_that_the_original_layout_would_lose_are_an_error(spatial_lora, tmp_path):
    def kohya(module, role):
        suffix = {"down": "lora_down.weight", "up": "lora_up.weight", "alpha": "alpha"}[role]
        return f"lora_unet_{underscored(module)}.{suffix}"

    save_file(spatial_lora(128, kohya, alpha=64.0), tmp_path / "a.safetensors", {"animdiff.kind": "domain-adapter"})
    with pytest.raises(IntegrityError, match="readers of the original layout ignore"):
        plan_conversion(str(tmp_path / "a.safetensors"), "original", output=tmp_path / "x.safetensors")


def test_a_lora_of_an_image_model_has_no_original_layout(kohya_lora, tmp_path):
    with pytest.raises(UsageError, match="has no original layout; its trainers write the kohya layout"):
        plan_conversion(str(kohya_lora), "original", output=tmp_path / "x.safetensors")


def test_a_lora_for_another_base_is_not_merged(motion_lora, motion_file, tmp_path):
    with pytest.raises(UsageError, match="made for sd15"):
        plan_conversion(
            str(motion_file("sdxl")), merge_loras=[f"{motion_lora('v2')}@1"], output=tmp_path / "x.safetensors"
        )


def test_a_lora_of_the_pocket_model_is_merged_into_its_motion_module(motion_lora, motion_file, tmp_path):
    save_file(read_tensors(motion_lora("v3")), tmp_path / "lora.safetensors", {"animdiff.base": "pocket"})
    merged = convert(
        motion_file("v3"), "original", tmp_path / "x.safetensors", merge_loras=[str(tmp_path / "lora.safetensors")]
    )
    assert not same(read_tensors(merged), read_tensors(motion_file("v3")))
