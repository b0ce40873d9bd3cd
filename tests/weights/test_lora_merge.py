"""Merge LoRAs of every family, whole and row by row."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from animdiff_cli.errors import IntegrityError
from animdiff_cli.jobs.convert import convert_weights, plan_conversion
from animdiff_cli.weights.files import open_weights, read_tensors
from animdiff_cli.weights.lazy import dtype_name, wrap_tensor
from animdiff_cli.weights.lora import LoraWeights, open_lora
from animdiff_cli.weights.lora_merge import lora_delta, merge_loras
from animdiff_cli.weights.materialize import materialize
from animdiff_cli.weights.stream import write_safetensors

MODULE = "unet.conv_in"


def merged(weight, group, *, alpha=None, scale=1.0):
    lazy = {role: wrap_tensor(tensor) for role, tensor in group.items()}
    lora = LoraWeights("test", {MODULE: lazy}, {} if alpha is None else {MODULE: alpha}, scale)
    return merge_loras({f"{MODULE}.weight": wrap_tensor(weight)}, [lora])[f"{MODULE}.weight"].read()


def close(one, other):
    return torch.allclose(one, other, atol=1e-5)


def test_a_linear_lora_adds_scale_times_alpha_over_rank(numbers):
    weight, up, down = numbers(6, 5), numbers(6, 2), numbers(2, 5)
    assert close(merged(weight, {"up": up, "down": down}, alpha=1, scale=0.5), weight + 0.5 * 0.5 * up @ down)
    assert close(merged(weight, {"up": up, "down": down}), weight + up @ down)


def test_a_convolutional_lora_equals_two_convolutions(numbers):
    weight, up, down = numbers(6, 5, 3, 3), numbers(6, 2, 1, 1), numbers(2, 5, 3, 3)
    picture = numbers(1, 5, 7, 7)
    change = merged(weight, {"up": up, "down": down}) - weight
    twice = torch.conv2d(torch.conv2d(picture, down), up)
    assert close(torch.conv2d(picture, change), twice)


def test_a_locon_with_a_core_equals_three_convolutions(numbers):
    weight, up, mid, down = numbers(6, 5, 3, 3), numbers(6, 2, 1, 1), numbers(2, 4, 3, 3), numbers(4, 5, 1, 1)
    picture = numbers(1, 5, 7, 7)
    change = merged(weight, {"up": up, "mid": mid, "down": down}) - weight
    thrice = torch.conv2d(torch.conv2d(torch.conv2d(picture, down), mid), up)
    assert torch.allclose(torch.conv2d(picture, change), thrice, atol=1e-4)


def test_loha_is_the_product_of_two_low_rank_matrices(numbers):
    weight = numbers(6, 5)
    group = {
        "hada_w1_a": numbers(6, 2),
        "hada_w1_b": numbers(2, 5),
        "hada_w2_a": numbers(6, 2),
        "hada_w2_b": numbers(2, 5),
    }
    product = (group["hada_w1_a"] @ group["hada_w1_b"]) * (group["hada_w2_a"] @ group["hada_w2_b"])
    assert close(merged(weight, group, alpha=1), weight + 0.5 * product)


def test_lokr_is_a_kronecker_product_and_alpha_applies_only_with_a_rank(numbers):
    weight, first, second = numbers(6, 8), numbers(2, 2), numbers(3, 4)
    assert close(merged(weight, {"lokr_w1": first, "lokr_w2": second}, alpha=3), weight + torch.kron(first, second))
    a, b = numbers(3, 2), numbers(2, 4)
    group = {"lokr_w1": first, "lokr_w2_a": a, "lokr_w2_b": b}
    assert close(merged(weight, group, alpha=1), weight + 0.5 * torch.kron(first, a @ b))


def test_lokr_of_a_convolution(numbers):
    weight, first, second = numbers(6, 4, 3, 3), numbers(2, 2), numbers(3, 2, 3, 3)
    expected = torch.stack([torch.cat([first[o // 3, i] * second[o % 3] for i in range(2)]) for o in range(6)])
    assert close(merged(weight, {"lokr_w1": first, "lokr_w2": second}), weight + expected)


@pytest.mark.parametrize("shape", [(1, 5), (6, 1)])
def test_dora_sets_the_norm_of_every_column_or_row(numbers, shape):
    weight, up, down = numbers(6, 5), numbers(6, 2), numbers(2, 5)
    lengths = numbers(*shape).abs() + 1
    result = merged(weight, {"up": up, "down": down, "dora_scale": lengths})
    assert close(result.norm(dim=0 if shape[0] == 1 else 1), lengths.flatten())
    direction = weight + up @ down
    assert close(
        torch.nn.functional.cosine_similarity(result, direction, dim=0 if shape[0] == 1 else 1).min(), torch.tensor(1.0)
    )


@given(st.integers(0, 5), st.integers(1, 6))
def test_rows_of_a_delta_equal_rows_of_the_whole_delta(start, count):
    torch.manual_seed(0)
    stop = min(start + count, 6)
    group = {"up": wrap_tensor(torch.randn(6, 2)), "down": wrap_tensor(torch.randn(2, 5))}
    assert close(lora_delta(group, 1.0, (6, 5), start, stop), lora_delta(group, 1.0, (6, 5), 0, 6)[start:stop])


def test_scale_zero_changes_no_bit_even_in_half_precision(numbers):
    weight = numbers(6, 5).half()
    assert torch.equal(merged(weight, {"up": numbers(6, 2), "down": numbers(2, 5)}, scale=0.0), weight)


def test_a_lora_merges_into_both_layouts_of_a_checkpoint(sd15_folder, numbers, tmp_path):
    module = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    name = "lora_unet_" + module.replace(".", "_")
    lora = {f"{name}.lora_down.weight": numbers(2, 32), f"{name}.lora_up.weight": numbers(32, 2)}
    lora[f"{name}.alpha"] = torch.tensor(1.0)
    save_file(lora, tmp_path / "l.safetensors")
    ref = f"{tmp_path / 'l.safetensors'}@0.5"
    plan = plan_conversion(str(sd15_folder), "original", merge_loras=[ref], output=tmp_path / "m.safetensors")
    merged = load_file(convert_weights(plan).path)
    plain = load_file(sd15_folder / "unet" / "diffusion_pytorch_model.safetensors")[f"{module}.weight"]
    expected = plain + 0.5 * 0.5 * lora[f"{name}.lora_up.weight"] @ lora[f"{name}.lora_down.weight"]
    key = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
    assert close(merged[key], expected)
    folder = plan_conversion(str(sd15_folder), "diffusers", merge_loras=[ref], output=tmp_path / "folder")
    path = convert_weights(folder).path / "unet" / "diffusion_pytorch_model.safetensors"
    assert torch.equal(load_file(path)[f"{module}.weight"], merged[key])


def test_a_motion_lora_merges_into_a_motion_module(motion_file, motion_lora, tmp_path):
    source, lora = motion_file("v2"), motion_lora("v2")
    plan = plan_conversion(str(source), "original", merge_loras=[f"{lora}@0.25"], output=tmp_path / "m.safetensors")
    merged, before, change = load_file(convert_weights(plan).path), load_file(source), read_tensors(lora)
    stem = "mid_block.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.1"
    product = change[f"{stem}.processor.to_out_lora.up.weight"] @ change[f"{stem}.processor.to_out_lora.down.weight"]
    assert close(merged[f"{stem}.to_out.0.weight"], before[f"{stem}.to_out.0.weight"] + 0.25 * product)


def test_a_v2_motion_lora_on_a_v3_module_is_refused_before_anything_is_written(motion_file, motion_lora, tmp_path):
    with pytest.raises(IntegrityError, match=r"changes `unet\.mid_block.*does not have"):
        plan_conversion(str(motion_file("v3")), merge_loras=[str(motion_lora("v2"))], output=tmp_path / "m.safetensors")


def test_kohya_names_with_original_numbering_find_their_weights(sd15_folder, numbers, tmp_path):
    name = "lora_unet_output_blocks_5_1_transformer_blocks_0_attn1_to_q"
    save_file(
        {f"{name}.lora_down.weight": numbers(2, 32), f"{name}.lora_up.weight": numbers(32, 2)},
        tmp_path / "s.safetensors",
    )
    groups = open_lora(open_weights(tmp_path / "s.safetensors")).modules
    assert list(groups) == ["unet.up_blocks.1.attentions.2.transformer_blocks.0.attn1.to_q"]


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("wanted", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("read", ["materialize", "cast", "write"])
def test_a_merged_weight_is_rounded_once(numbers, tmp_path, stored, wanted, read):
    weight, up, down = numbers(64, 32).to(stored), 0.01 * numbers(64, 4), numbers(4, 32)
    factors = {"up": wrap_tensor(up), "down": wrap_tensor(down)}
    merged = merge_loras({f"{MODULE}.weight": wrap_tensor(weight)}, [LoraWeights("x", {MODULE: factors}, {}, 0.7)])
    if read == "materialize":
        result = materialize(merged, wanted)[f"{MODULE}.weight"]
    elif read == "cast":
        result = merged[f"{MODULE}.weight"].cast(dtype_name(wanted)).read()
    else:
        cast = {name: tensor.cast(dtype_name(wanted)) for name, tensor in merged.items()}
        write_safetensors(cast, tmp_path / "x.safetensors", {})
        result = load_file(tmp_path / "x.safetensors")[f"{MODULE}.weight"]
    exact = weight.double() + 0.7 * (up.double() @ down.double())
    assert result.dtype == wanted
    once = torch.finfo(wanted).eps / 2 * exact.abs() + 1e-6
    assert ((result.double() - exact).abs() <= once).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("role", ["up", "down", "dora_scale"])
def test_a_change_that_is_not_finite_names_the_file_and_the_module(numbers, bad, role):
    group = {"up": numbers(6, 2), "down": numbers(2, 5)}
    group |= {"dora_scale": torch.ones(6, 1)} if role == "dora_scale" else {}
    group[role][0, 0] = bad
    with pytest.raises(IntegrityError, match=r"test is damaged: its change of `unet\.conv_in`"):
        merged(numbers(6, 5), group)
