"""Check a LoRA by names and shapes alone: the computed size of its change matches the change."""

import json

import pytest
import torch
from safetensors.torch import save_file

from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.weights.files import open_weights
from animdiff_cli.weights.identify import open_any
from animdiff_cli.weights.lazy import wrap_tensor
from animdiff_cli.weights.lora import LoraWeights, check_lora, delta_size, open_lora
from animdiff_cli.weights.lora_merge import lora_delta, merge_loras_in_place

#: family → (shape by role, shape of the changed weight), for matrices and convolutions
FAMILIES = {
    "lora": ({"up": (6, 2), "down": (2, 5)}, (6, 5)),
    "lora on a convolution": ({"up": (6, 2, 1, 1), "down": (2, 5, 3, 3)}, (6, 5, 3, 3)),
    "1x1 as a matrix": ({"up": (6, 2), "down": (2, 5)}, (6, 5, 1, 1)),
    "locon with a core": ({"up": (6, 2, 1, 1), "mid": (2, 4, 3, 3), "down": (4, 5, 1, 1)}, (6, 5, 3, 3)),
    "loha": ({f"hada_w{n}_{s}": (6, 2) if s == "a" else (2, 5) for n in "12" for s in "ab"}, (6, 5)),
    "loha on a convolution": (
        {f"hada_w{n}_{s}": (6, 2) if s == "a" else (2, 45) for n in "12" for s in "ab"},
        (6, 5, 3, 3),
    ),
    "loha with cores": (
        {f"hada_w{n}_{s}": (2, 6) if s == "a" else (2, 5) for n in "12" for s in "ab"}
        | {f"hada_t{n}": (2, 2, 3, 3) for n in "12"},
        (6, 5, 3, 3),
    ),
    "lokr": ({"lokr_w1": (2, 2), "lokr_w2": (3, 4)}, (6, 8)),
    "lokr of low rank": ({"lokr_w1_a": (2, 1), "lokr_w1_b": (1, 2), "lokr_w2_a": (3, 2), "lokr_w2_b": (2, 4)}, (6, 8)),
    "lokr on a convolution": ({"lokr_w1": (2, 2), "lokr_w2": (3, 2, 3, 3)}, (6, 4, 3, 3)),
    "lokr with a core": (
        {"lokr_w1": (2, 2), "lokr_w2_a": (2, 3), "lokr_w2_b": (2, 2), "lokr_t2": (2, 2, 3, 3)},
        (6, 4, 3, 3),
    ),
}


def module_tensors(shapes):
    return {role: wrap_tensor(torch.ones(shape)) for role, shape in shapes.items()}


def lora(module="unet.a", **shapes):
    return LoraWeights("style.safetensors", {module: module_tensors(shapes)}, {}, 1.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_delta_size_matches_the_computed_delta(family):
    shapes, weight = FAMILIES[family]
    assert delta_size(module_tensors(shapes)) == (weight[0], torch.Size(weight).numel())
    assert lora_delta(module_tensors(shapes), None, weight, 0, weight[0]).shape == weight


@pytest.mark.parametrize("family", FAMILIES)
def test_matching_modules_are_merged_and_missing_ones_are_listed(family):
    shapes, shape = FAMILIES[family]
    style = LoraWeights("s", {"unet.a": module_tensors(shapes), "unet.gone": module_tensors(shapes)}, {}, 0.5)
    checked = check_lora(style, {"unet.a.weight": shape}, "the model")
    assert (list(checked.lora.modules), checked.missing) == (["unet.a"], ("unet.gone",))
    assert checked.note == "s: not in the model: 1 of its 2 modules, such as `unet.gone`"
    weight = torch.nn.Parameter(torch.zeros(shape))
    merge_loras_in_place({"unet.a.weight": weight}, [checked.lora])
    assert torch.allclose(weight, 0.5 * lora_delta(module_tensors(shapes), None, shape, 0, shape[0]))


def test_a_wrong_shape_is_refused_naming_both_shapes():
    with pytest.raises(UsageError, match=r"its change of `unet\.a` is 6 x 5, the weight is 6 x 8"):
        check_lora(lora(up=(6, 2), down=(2, 5)), {"unet.a.weight": (6, 8)}, "the model")


def test_a_lora_without_a_matching_module_is_refused():
    with pytest.raises(UsageError, match="changes nothing in the model"):
        check_lora(lora("unet.b", up=(6, 2), down=(2, 5)), {"unet.a.weight": (6, 5)}, "the model")


def test_half_precision_is_rounded_once_for_several_loras():
    weight = torch.nn.Parameter(torch.ones(1, 1, dtype=torch.float16))
    step = LoraWeights(
        "s", {"unet.a": {"up": wrap_tensor(torch.full((1, 1), 3e-4)), "down": wrap_tensor(torch.ones(1, 1))}}, {}, 1.0
    )
    merge_loras_in_place({"unet.a.weight": weight}, [step, step])  # each alone would be rounded away
    assert weight.item() == torch.tensor(1.0006).half().item() != 1.0


M = "down_blocks.0.attentions.0.proj_in"
K = "lora_unet_" + M.replace(".", "_")
FACTORS = {"lora_down.weight": (2, 5), "lora_up.weight": (6, 2)}
PEFT = {"lora_A.weight": (2, 5), "lora_B.weight": (6, 2)}


@pytest.mark.parametrize(
    ("stem", "shapes"),
    [
        (f"{K}.", FACTORS),
        (f"lora_unet__orig_mod_{M.replace('.', '_')}.", FACTORS),
        (f"lycoris_{M.replace('.', '_')}.", FACTORS),
        (f"unet.{M}.", FACTORS),
        (f"unet._orig_mod.{M}.", FACTORS),
        (f"diffusion_model.{M}.", FACTORS),
        ("diffusion_model.input_blocks.1.1.proj_in.", FACTORS),
        ("model.diffusion_model.input_blocks.1.1.proj_in.", FACTORS),
        (f"unet.{M}.", PEFT),
        (f"base_model.model.{M}.", PEFT),
        (f"unet.base_model.model.{M}.", PEFT),
        (f"unet.{M}.", {"lora_A.style.weight": (2, 5), "lora_B.style.weight": (6, 2)}),
    ],
)
def test_names_of_every_trainer_are_read(tmp_path, stem, shapes):
    save_file({stem + role: torch.ones(shape) for role, shape in shapes.items()}, tmp_path / "x.safetensors")
    opened = open_lora(open_weights(tmp_path / "x.safetensors"))
    assert {module: set(tensors) for module, tensors in opened.modules.items()} == {f"unet.{M}": {"up", "down"}}


def test_a_text_encoder_that_lycoris_wraps_is_read(tmp_path):
    stem = "lycoris_text_model_encoder_layers_0_mlp_fc1"
    save_file({f"{stem}.{role}": torch.ones(shape) for role, shape in FACTORS.items()}, tmp_path / "x.safetensors")
    opened = open_lora(open_weights(tmp_path / "x.safetensors"))
    assert list(opened.modules) == ["text_encoder.text_model.encoder.layers.0.mlp.fc1"]


def test_attentions_of_a_text_encoder_by_old_diffusers_names_are_read(tmp_path):
    stem = "text_encoder.text_model.encoder.layers.0.self_attn.to_out_lora"
    tensors = {f"{stem}.down.weight": torch.ones(2, 5), f"{stem}.up.weight": torch.ones(5, 2)}
    save_file(tensors, tmp_path / "x.safetensors")
    opened = open_lora(open_weights(tmp_path / "x.safetensors"))
    assert list(opened.modules) == ["text_encoder.text_model.encoder.layers.0.self_attn.out_proj"]


def test_full_changes_biases_norms_and_scalars_are_merged(tmp_path, numbers):
    norm, other = "lora_unet_down_blocks_0_attentions_0_norm", "lora_unet_down_blocks_0_attentions_0_proj_out"
    tensors = {
        f"{K}.lora_down.weight": numbers(2, 5),
        f"{K}.lora_up.weight": numbers(6, 2),
        f"{K}.alpha": torch.tensor(1.0),
        f"{K}.scalar": torch.tensor(0.5),
        f"{K}.diff_b": numbers(6),
        f"{norm}.w_norm": numbers(4),
        f"{norm}.b_norm": numbers(4),
        f"{other}.diff": numbers(6, 5),
        f"{K}.diff": numbers(6, 5),
        "other": numbers(2),
        "bundle_emb.cat.string_to_param.*": numbers(2, 8),
    }
    save_file(tensors, tmp_path / "x.safetensors")
    file = open_weights(tmp_path / "x.safetensors")
    with pytest.raises(IntegrityError, match="bundle_emb"):
        open_lora(file)
    stem = "unet.down_blocks.0.attentions.0"
    shapes = {
        f"{stem}.proj_in.weight": (6, 5),
        f"{stem}.proj_in.bias": (6,),
        f"{stem}.norm.weight": (4,),
        f"{stem}.norm.bias": (4,),
        f"{stem}.proj_out.weight": (6, 5),
    }
    checked = check_lora(open_lora(file, 0.8, strict=False), shapes, "the model")
    assert not checked.missing and checked.note.startswith("x.safetensors: left out: 1 key of no known layout")
    weights = {name: torch.zeros(shape) for name, shape in shapes.items()}
    merge_loras_in_place(weights, [checked.lora])
    product = 0.5 * 0.5 * tensors[f"{K}.lora_up.weight"] @ tensors[f"{K}.lora_down.weight"]
    expected = (
        product + tensors[f"{K}.diff"],
        tensors[f"{K}.diff_b"],
        tensors[f"{norm}.w_norm"],
        tensors[f"{norm}.b_norm"],
        tensors[f"{other}.diff"],
    )
    assert all(torch.allclose(weights[name], 0.8 * change) for name, change in zip(shapes, expected, strict=True))


def test_the_bias_of_a_peft_lora_is_scaled_as_its_product(tmp_path, numbers):
    tensors = {f"unet.{M}.{role}": numbers(*shape) for role, shape in PEFT.items()}
    tensors |= {f"unet.{M}.lora_B.bias": numbers(6), f"unet.{M}.alpha": torch.tensor(1.0)}
    save_file(tensors, tmp_path / "x.safetensors")
    weights = {f"unet.{M}.weight": torch.zeros(6, 5), f"unet.{M}.bias": torch.zeros(6)}
    merge_loras_in_place(weights, [open_lora(open_weights(tmp_path / "x.safetensors"))])
    assert torch.allclose(weights[f"unet.{M}.bias"], 0.5 * tensors[f"unet.{M}.lora_B.bias"])


def test_a_peft_folder_by_part_and_folders_of_adapters_are_read(tmp_path):
    def adapter(folder, alpha=4):
        folder.mkdir(parents=True)
        tensors = {f"base_model.model.{M}.{role}": torch.ones(shape) for role, shape in PEFT.items()}
        save_file(tensors, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": alpha}))

    adapter(tmp_path / "parts" / "unet")
    opened = open_lora(open_any(tmp_path / "parts"))
    assert opened.alphas == {f"unet.{M}": 4.0} and list(opened.modules) == [f"unet.{M}"]
    adapter(tmp_path / "named" / "style")
    assert list(open_lora(open_any(tmp_path / "named")).modules) == [f"unet.{M}"]
    adapter(tmp_path / "named" / "other")
    with pytest.raises(UsageError, match="holds 2 adapters: other, style"):
        open_any(tmp_path / "named")
