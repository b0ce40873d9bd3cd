"""ControlNets in every layout: diffusers itself reads what is written, and relatives are named and refused."""

from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.jobs.convert import convert
from animdiff_cli.motion import MotionModule, MotionSpec
from animdiff_cli.weights.controlnet import check_controlnet, controlnet_config, read_controlnet, read_sparse_encoder
from animdiff_cli.weights.controlnet_names import to_original
from animdiff_cli.weights.files import WeightFile, open_weights
from animdiff_cli.weights.identify import identify, kind_of
from animdiff_cli.weights.lazy import LazyTensor
from animdiff_cli.weights.model_configs import shipped_config

#: keys of control_v11p_sd15_canny.pth and their diffusers names, one of each sort
SD15_KEYS = {
    "time_embed.0.weight": "time_embedding.linear_1.weight",
    "input_blocks.0.0.bias": "conv_in.bias",
    "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (
        "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    ),
    "input_blocks.3.0.op.weight": "down_blocks.0.downsamplers.0.conv.weight",
    "input_blocks.11.0.out_layers.3.weight": "down_blocks.3.resnets.1.conv2.weight",
    "middle_block.1.proj_in.weight": "mid_block.attentions.0.proj_in.weight",
    "input_hint_block.0.weight": "controlnet_cond_embedding.conv_in.weight",
    "input_hint_block.8.bias": "controlnet_cond_embedding.blocks.3.bias",
    "input_hint_block.14.weight": "controlnet_cond_embedding.conv_out.weight",
    "zero_convs.11.0.weight": "controlnet_down_blocks.11.weight",
    "middle_block_out.0.bias": "controlnet_mid_block.bias",
}


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def folder(request, toy_model, toy_sdxl_model, tmp_path_factory):
    """A diffusers folder of a ControlNet of random weights, two ResNets a level."""
    model = toy_model if request.param == "sd15" else toy_sdxl_model
    config = dict(UNet2DConditionModel.load_config(model / "unet")) | {"layers_per_block": 2}
    torch.manual_seed(0)
    network = ControlNetModel.from_unet(UNet2DConditionModel.from_config(config))
    for parameter in network.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.01)
    path = tmp_path_factory.mktemp("controlnet") / request.param
    network.save_pretrained(path)
    return path


WEIGHTS = "diffusion_pytorch_model.safetensors"


def test_a_single_file_and_back_is_the_same_and_diffusers_reads_it(folder, tmp_path):
    single = convert(folder, "original", output=tmp_path / "single.safetensors").path
    keys = load_file(single).keys()
    assert {key.partition(".")[0] for key in keys} == {"control_model"}
    assert identify(single).kind == "controlnet" and identify(single).format == "original"
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    back = convert(single, "diffusers", output=tmp_path / "back").path
    before, after = load_file(folder / WEIGHTS), ControlNetModel.from_pretrained(back).state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    if (
        folder.name == "sd15"
    ):  # diffusers leaves the added embedding of SDXL out, and published files have its own names
        theirs = ControlNetModel.from_single_file(str(single), config=str(folder), local_files_only=True)
        assert all(torch.equal(tensor, before[key]) for key, tensor in theirs.state_dict().items())


def test_the_config_of_a_single_file_is_that_of_its_folder(folder):
    derived = controlnet_config(read_controlnet(open_weights(folder / WEIGHTS)).tensors)
    recorded = dict(ControlNetModel.load_config(folder))
    shaped = ("block_out_channels", "layers_per_block", "cross_attention_dim", "down_block_types", "mid_block_type")
    shaped += ("conditioning_embedding_out_channels", "use_linear_projection", "addition_embed_type")
    shaped += ("projection_class_embeddings_input_dim", "conditioning_channels", "in_channels")
    for key in shaped:
        found = derived.get(key, recorded[key])
        assert found == recorded[key], key


def test_published_names_are_translated(tmp_path):
    keys = {f"control_model.{key}": torch.zeros(2) for key in SD15_KEYS}
    torch.save(keys, tmp_path / "control_v11p_sd15_canny.pth")
    assert list(read_controlnet(open_weights(tmp_path / "control_v11p_sd15_canny.pth")).tensors) == list(
        SD15_KEYS.values()
    )


def test_files_of_the_first_version_hold_the_image_model_too(tmp_path):
    keys = {"control_model.zero_convs.0.0.weight": torch.zeros(2), "model.diffusion_model.out.0.weight": torch.zeros(2)}
    save_file(keys, tmp_path / "control_sd15_canny.safetensors")
    file = open_weights(tmp_path / "control_sd15_canny.safetensors")
    assert identify(file.path).kind == "controlnet"
    contents = read_controlnet(file)
    assert list(contents.tensors) == ["controlnet_down_blocks.0.weight"]
    assert list(contents.dropped.values()) == ["the image model that the ControlNet was trained on"]


RELATIVES = {
    "a Control-LoRA": ["lora_controlnet", "input_hint_block.0.weight", "input_blocks.1.0.in_layers.2.up"],
    "a ControlNet-LLLite": ["lllite_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.down.0.weight"],
    "a ControlNet-Union": ["controlnet_cond_embedding.conv_in.weight", "task_embedding"],
    "a ControlNet stored as its difference": ["control_model.input_hint_block.0.weight", "difference"],
}


@pytest.mark.parametrize("name", RELATIVES)
def test_relatives_are_named_and_refused(tmp_path, name):
    save_file({key: torch.zeros(2) for key in RELATIVES[name]}, tmp_path / "x.safetensors")
    info = identify(tmp_path / "x.safetensors")
    assert info.kind == "controlnet" and any(note.startswith(name) for note in info.notes)
    with pytest.raises(UsageError, match=f"x.safetensors is {name}"):
        read_controlnet(open_weights(tmp_path / "x.safetensors"))


def test_a_t2i_adapter_is_named(tmp_path):
    save_file({"body.0.block1.weight": torch.zeros(2), "conv_in.weight": torch.zeros(2)}, tmp_path / "t2i.safetensors")
    with pytest.raises(IntegrityError, match="looks like a T2I-Adapter"):
        identify(tmp_path / "t2i.safetensors")


def test_unknown_weights_are_refused(tmp_path):
    save_file(
        {"control_model.zero_convs.0.0.weight": torch.zeros(2), "control_model.x.y": torch.zeros(2)},
        tmp_path / "x.safetensors",
    )
    with pytest.raises(IntegrityError, match="not a weight of a ControlNet"):
        read_controlnet(open_weights(tmp_path / "x.safetensors"))


def unread(shapes, name):
    """Return a file of these shapes whose tensors nobody may read: true sizes without a gigabyte on disk."""
    return WeightFile(
        Path(name), "safetensors", {key: LazyTensor("F16", shape, None) for key, shape in shapes.items()}, {}
    )


def true_size(base, **settings):
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(shipped_config(base, "unet"))
        network = ControlNetModel.from_unet(unet, load_weights_from_unet=False, **settings)
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}, unet.config


@pytest.mark.parametrize(("base", "parameters"), [("sd15", 361_279_120), ("sdxl", 1_251_014_160)])
def test_a_control_of_true_size_is_read_in_both_layouts(base, parameters):
    shapes, _ = true_size(base)
    assert sum(map(prod, shapes.values())) == parameters
    original = {f"control_model.{to_original(key, 2)}": shape for key, shape in shapes.items()}
    for named in (shapes, original):
        file = unread(named, "control.safetensors")
        assert kind_of(file) == "controlnet"
        contents = read_controlnet(file)
        config = controlnet_config(contents.tensors)
        check_controlnet(contents, config, "control.safetensors")
        assert {key: tensor.shape for key, tensor in contents.tensors.items()} == shapes
        assert config["attention_head_dim"] == shipped_config(base, "unet")["attention_head_dim"]


@pytest.mark.parametrize(
    ("condition", "keys", "parameters"), [("rgb", 478, 496_730_880), ("scribble", 492, 497_802_784)]
)
def test_the_published_sparsectrls_have_this_many_weights(condition, keys, parameters):
    shapes, unet = true_size("sd15", conditioning_channels=4)
    if condition == "rgb":
        shapes = {key: shape for key, shape in shapes.items() if not key.startswith("controlnet_cond_embedding.")}
        shapes |= {"controlnet_cond_embedding.weight": (320, 5, 3, 3), "controlnet_cond_embedding.bias": (320,)}
    with torch.device("meta"):
        motion = MotionModule(replace(MotionSpec.for_unet(unet), up=(), num_attentions=1)).state_dict()
    shapes |= {key: tuple(tensor.shape) for key, tensor in motion.items() if not key.endswith(".pe")}
    assert (len(shapes), sum(map(prod, shapes.values()))) == (keys, parameters)
    file = unread(shapes, "v3_sd15_sparsectrl.ckpt")
    assert kind_of(file) == "sparsectrl"
    tensors, config = read_sparse_encoder(file)
    assert len(tensors) == keys - 152 and config["simplified"] == (condition == "rgb")
