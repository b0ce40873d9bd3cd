"""Weights laid over a model render what the same arithmetic done by hand renders."""

import json
import shutil

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from animdiff_cli import generate
from animdiff_cli.core.events import Note
from animdiff_cli.errors import UsageError
from animdiff_cli.files.hashing import sha256_of
from animdiff_cli.motion import MotionModule, save_motion_module
from animdiff_cli.outputs import read_recipe
from tests.jobs.conftest import UNET


@pytest.fixture(scope="module")
def plain(small):
    """The clip with nothing laid over the model."""
    return generate("a fox", **small)


def far(one, other):
    """The largest difference of two clips, in levels of 255."""
    return abs(one.frames.astype(int) - other.frames).max()


def scaled(products, factor):
    return {place: factor * product for place, product in products.items()}


def test_a_lora_adds_scale_times_alpha_over_rank_to_unet_and_text_encoder(small, plain, make_lora, changed_model):
    path, products = make_lora()
    laid_over = generate("a fox", **small, loras=[f"{path}@0.5"])
    by_hand = generate("a fox", **small | {"model": changed_model(scaled(products, 0.5 * 2 / 4))})
    assert far(laid_over, by_hand) <= 1 < far(laid_over, plain)


def test_the_text_encoders_part_counts(small, plain, make_lora):
    whole, _ = make_lora("whole.safetensors", strength=1.0)
    text_alone, _ = make_lora("text.safetensors", parts=("te",), strength=1.0)
    clips = [generate("a fox", **small, loras=[lora]) for lora in (text_alone, whole)]
    assert far(plain, clips[0]) > 0 < far(*clips)


def test_in_official_mode_alpha_is_left_out(small, make_lora, changed_model):
    path, products = make_lora()
    official = generate("a fox", **small, loras=[f"{path}@0.5"], lora_alpha_mode="official")
    by_hand = generate("a fox", **small | {"model": changed_model(scaled(products, 0.5))})
    assert far(official, by_hand) <= 1
    assert far(official, generate("a fox", **small, loras=[f"{path}@0.5"])) > 1


def test_several_loras_add_up_in_any_order(small, make_lora, changed_model):
    (one, first), (other, second) = make_lora("one.safetensors"), make_lora("other.safetensors")
    sums = {place: 0.5 * (0.4 * first[place] - 0.3 * second[place]) for place in first}
    by_hand = generate("a fox", **small | {"model": changed_model(sums)})
    for loras in ([f"{one}@0.4", f"{other}@-0.3"], [f"{other}@-0.3", f"{one}@0.4"]):
        assert far(generate("a fox", **small, loras=loras), by_hand) <= 1


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_scale_of_zero_changes_no_bit(small, make_lora, adapter, v2_motion, motion_lora, dtype):
    settings = small | {"dtype": dtype, "motion_module": v2_motion}
    overlaid = {
        "loras": [f"{make_lora()[0]}@0"],
        "domain_adapter": f"{adapter[0]}@0",
        "motion_loras": [f"{motion_lora('v2', 'original')[0]}@0"],
    }
    assert far(generate("a fox", **settings, **overlaid), generate("a fox", **settings)) == 0


def test_modules_the_model_does_not_have_are_counted_and_said_once(small, make_lora):
    path, _ = make_lora(strange=3)
    events = []
    generate("a fox", **small, loras=[path], emit=events.append)
    notes = [event.message for event in events if isinstance(event, Note)]
    assert len(notes) == 1
    assert notes[0].startswith("style.safetensors: not in the model: 3 of its 109 modules, such as `unet.down_blocks.0")


@pytest.fixture
def adapter(toy_model, numbers, tmp_path):
    """A domain adapter in the official layout, rank 128; returns its path and up @ down by place."""
    tensors, products = {}, {}
    for key, tensor in load_file(toy_model / UNET).items():
        if ".attn" in key and key.endswith(".weight"):
            stem, _, projection = key.removesuffix(".weight").removesuffix(".0").rpartition(".")
            down, up = 0.05 * numbers(128, tensor.shape[1]), 0.05 * numbers(tensor.shape[0], 128)
            prefix = f"{stem}.processor.{projection}_lora"
            tensors |= {f"{prefix}.down.weight": down, f"{prefix}.up.weight": up}
            products[UNET, key] = up @ down
    torch.save(tensors, tmp_path / "adapter.ckpt")
    return tmp_path / "adapter.ckpt", products


def test_the_domain_adapter_is_off_unless_named_and_counts_as_much_as_its_scale(small, plain, adapter, changed_model):
    path, products = adapter
    named = generate("a fox", **small, domain_adapter=f"{path}@0.7")
    by_hand = generate("a fox", **small | {"model": changed_model(scaled(products, 0.7))})
    assert far(named, by_hand) <= 1 < far(named, plain)


def test_an_adapter_converted_to_another_layout_is_still_taken(small, adapter, tmp_path):
    renamed = {
        f"unet.{key.replace('.processor.', '.').replace('_lora.', '.lora.').replace('to_out.', 'to_out.0.')}": tensor
        for key, tensor in torch.load(adapter[0]).items()
    }
    save_file(renamed, tmp_path / "adapter.safetensors")
    clips = [generate("a fox", **small, domain_adapter=path) for path in (adapter[0], tmp_path / "adapter.safetensors")]
    assert far(*clips) == 0


@pytest.fixture(scope="module")
def v2_motion(toy_model, tmp_path_factory):
    """A v2 motion module of random weights that fits the toy model; returns its path."""
    motion = MotionModule.from_unet(UNet2DConditionModel.from_pretrained(toy_model / "unet"), "v2")
    generator = torch.Generator().manual_seed(6)
    for name, parameter in motion.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = 0.2 * noise + (1.0 if "norm" in name and "weight" in name else 0.0)
    path = tmp_path_factory.mktemp("v2") / "v2.safetensors"
    save_motion_module(motion, path)
    return path


@pytest.fixture(scope="module")
def plain_v2(small, v2_motion):
    """The clip of that module with nothing laid over it."""
    return generate("a fox", **small | {"motion_module": v2_motion})


@pytest.fixture
def motion_lora(v2_motion, numbers, tmp_path):
    """Write a MotionLoRA in the keys of a layout, rank 4; returns its path and up @ down by key of the module."""

    def write(version, layout, name="pan", strength=0.3):
        tensors, products = {}, {}
        for key, weight in load_file(v2_motion).items():
            if ".attention_blocks." not in key or not key.endswith(".weight"):
                continue
            if version != "v2" and key.startswith("mid_block"):
                continue
            down, up = strength * numbers(4, weight.shape[1]), strength * numbers(weight.shape[0], 4)
            products[key] = up @ down
            stem, _, projection = key.removesuffix(".weight").removesuffix(".0").rpartition(".")
            module = key.removesuffix(".weight").replace(".temporal_transformer", "")
            module = module.replace("attention_blocks.0", "attn1").replace("attention_blocks.1", "attn2")
            attention = module.removesuffix(".0").rpartition(".")[0]
            keys = {
                "original": f"{stem}.processor.{projection}_lora.{{}}.weight",
                "diffusers": f"unet.{attention}.processor.{projection}_lora.{{}}.weight",
                "peft": f"unet.{module}.lora_{{}}.weight",
                "kohya": f"lora_unet_{module.replace('.', '_')}.lora_{{}}.weight",
            }
            words = ("A", "B") if layout == "peft" else ("down", "up")
            tensors |= {keys[layout].format(word): t for word, t in zip(words, (down, up), strict=True)}
        path = tmp_path / f"{name}.{'ckpt' if layout == 'original' else 'safetensors'}"
        torch.save(tensors, path) if layout == "original" else save_file(tensors, path)
        return path, products

    return write


@pytest.mark.parametrize("layout", ["original", "diffusers", "peft", "kohya"])
def test_motion_loras_of_every_layout_add_up_in_the_motion_module(
    small, v2_motion, plain_v2, motion_lora, layout, tmp_path
):
    settings = small | {"motion_module": v2_motion}
    (pan, first), (zoom, second) = motion_lora("v2", layout), motion_lora("v2", layout, "zoom")
    weights = load_file(v2_motion)
    for key, product in first.items():
        weights[key] = weights[key] + 0.8 * product - 0.5 * second[key]
    save_file(weights, tmp_path / "by-hand.safetensors", {"animdiff.motion_version": "v2"})
    laid_over = generate("a fox", **settings, motion_loras=[f"{pan}@0.8", f"{zoom}@-0.5"])
    by_hand = generate("a fox", **small | {"motion_module": tmp_path / "by-hand.safetensors"})
    assert far(laid_over, by_hand) <= 1 < far(laid_over, plain_v2)


def test_a_v2_motion_lora_on_a_v3_module_names_the_mid_block_and_a_way_out(small, motion_lora):
    with pytest.raises(UsageError, match=r"pan\.ckpt was made for a v2 motion module: .* mid block") as told:
        generate("a fox", **small, motion_loras=[motion_lora("v2", "original")[0]])
    assert "--motion-module mm-v2" in told.value.hint


def test_a_motion_lora_without_mid_block_goes_on_v3(small, plain, motion_lora):
    path, _ = motion_lora("v3", "original")
    assert far(generate("a fox", **small, motion_loras=[path]), plain) > 1


def test_a_motion_lora_is_added_before_numbers_are_rounded(small, numbers, tmp_path):
    module = load_file(small["motion_module"])
    key = next(key for key in module if key.endswith("to_q.weight"))
    down, up = 0.1 * numbers(4, module[key].shape[1]), 0.1 * numbers(module[key].shape[0], 4)
    stem = key.removesuffix(".to_q.weight") + ".processor.to_q_lora"
    torch.save({f"{stem}.down.weight": down, f"{stem}.up.weight": up}, tmp_path / "pan.ckpt")
    module[key] = module[key] + up @ down
    save_file(module, tmp_path / "by-hand.safetensors", {"animdiff.motion_version": "v3"})
    half = small | {"dtype": "bf16"}
    laid_over = generate("a fox", **half, motion_loras=[tmp_path / "pan.ckpt"])
    assert far(laid_over, generate("a fox", **half | {"motion_module": tmp_path / "by-hand.safetensors"})) == 0


def test_a_vae_of_ones_own_decodes_in_either_layout(small, plain, toy_model, changed_model, tmp_path):
    file = "vae/diffusion_pytorch_model.safetensors"
    brighter = changed_model({(file, "decoder.conv_out.bias"): torch.tensor([0.4, 0.0, -0.4])})
    by_hand = generate("a fox", **small | {"model": brighter})
    shutil.copy(brighter / file, tmp_path / "my.vae.safetensors")
    for vae in (brighter / "vae", tmp_path / "my.vae.safetensors"):
        clip = generate("a fox", **small, vae=vae)
        assert far(clip, by_hand) == 0 < far(clip, plain)


@pytest.fixture
def cat_file(numbers, tmp_path):
    """A textual inversion of two vectors as A1111 keeps it, at the toy text encoder's width."""
    content = {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": {"*": numbers(2, 32)}, "name": "cat"}
    torch.save(content, tmp_path / "my-cat.pt")
    return tmp_path / "my-cat.pt"


def test_an_embeddings_word_reads_as_its_vectors_wherever_it_stands(small, plain, cat_file):
    clips = {p: generate(p, **small, embeddings=[cat_file]) for p in ("a fox, my-cat", "a fox, MY-CAT", "a fox")}
    assert far(clips["a fox, my-cat"], clips["a fox, MY-CAT"]) == 0
    assert far(clips["a fox"], plain) == 0
    assert far(clips["a fox, my-cat"], generate("a fox, my-cat", **small)) > 0
    negative = [generate("a fox", **small, negative_prompt="my-cat", embeddings=files) for files in ([], [cat_file])]
    assert far(*negative) > 0


def test_an_embedding_inside_a_lora_file_is_a_word_of_the_prompt(small, make_lora, cat_file, numbers, tmp_path):
    path, _ = make_lora()
    vectors = torch.load(cat_file)["string_to_param"]["*"]
    save_file(load_file(path) | {"bundle_emb.my-cat.string_to_param.*": vectors}, tmp_path / "bundle.safetensors")
    bundle = tmp_path / "bundle.safetensors"
    apart = generate("a fox, my-cat", **small, loras=[path], embeddings=[cat_file])
    assert far(generate("a fox, my-cat", **small, loras=[bundle]), apart) == 0
    assert far(generate("a fox, my-cat", **small, loras=[path]), apart) > 0
    torch.save({"string_to_param": {"*": numbers(2, 32)}}, tmp_path / "my-cat.pt")
    notes = []
    other = generate("a fox, my-cat", **small, loras=[bundle], embeddings=[tmp_path / "my-cat.pt"], emit=notes.append)
    assert any("its textual inversion `my-cat` is left out" in getattr(note, "message", "") for note in notes)
    assert far(other, generate("a fox, my-cat", **small, loras=[path], embeddings=[tmp_path / "my-cat.pt"])) == 0


def test_a_recipe_holds_every_reference_and_hash_and_renders_again(
    small, make_lora, adapter, v2_motion, motion_lora, cat_file, toy_model, tmp_path
):
    lora, pan = make_lora()[0], motion_lora("v2", "original")[0]
    applied = {
        "loras": [f"{lora}@0.5", f"{lora}@0.1"],
        "motion_loras": [f"{pan}@0.8"],
        "domain_adapter": f"{adapter[0]}@0.3",
        "vae": toy_model / "vae",
        "embeddings": [cat_file],
        "lora_alpha_mode": "official",
    }
    clip = generate("a fox, my-cat", **small | {"motion_module": v2_motion}, **applied)
    clip.save(tmp_path / "clip.gif")
    recipe = read_recipe(tmp_path / "clip.gif")
    assert recipe["weights"]["loras"] == {"style.safetensors": sha256_of(lora), "style.safetensors#2": sha256_of(lora)}
    assert recipe["weights"]["motion_loras"] == {"pan.ckpt": sha256_of(pan)}
    assert set(recipe["weights"]) == {"model", "motion_module", *applied} - {"lora_alpha_mode"}
    again = generate(**json.loads(json.dumps(recipe["config"])))
    assert far(again, clip) == 0
    assert again.recipe == clip.recipe
