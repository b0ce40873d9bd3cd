"""The files chosen from a Hub repository: one copy of each component, and nothing else."""

import pytest

from animdiff_cli.errors import UsageError
from animdiff_cli.fetch.hub import choose_files, stored_name

SCAFFOLD = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "vae/config.json",
]
WEIGHTS = [
    "text_encoder/model.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
]
#: other files in repositories such as Stable Diffusion 1.5
CLUTTER = [
    ".gitattributes",
    "README.md",
    "feature_extractor/preprocessor_config.json",
    "safety_checker/config.json",
    "safety_checker/model.safetensors",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/pytorch_model.bin",
    "text_encoder/pytorch_model.fp16.bin",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.fp16.bin",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.bin",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/model.onnx",
    "v1-5-pruned-emaonly.ckpt",
    "v1-5-pruned-emaonly.safetensors",
    "v1-5-pruned.safetensors",
    "vae/diffusion_pytorch_model.fp16.safetensors",
    "vae_decoder/model.onnx",
]


def test_chooses_one_copy_of_each_component():
    assert sorted(choose_files(SCAFFOLD + WEIGHTS + CLUTTER, "org/sd")) == sorted(SCAFFOLD + WEIGHTS)


def test_stores_half_precision_without_variant_if_it_is_the_only_copy():
    half = [name.replace(".safetensors", ".fp16.safetensors") for name in WEIGHTS]
    chosen = choose_files(SCAFFOLD + half, "org/sd")
    assert sorted(chosen) == sorted(SCAFFOLD + half)
    assert sorted(map(stored_name, chosen)) == sorted(SCAFFOLD + WEIGHTS)


def test_chooses_pickles_only_without_safetensors():
    pickles = [
        "text_encoder/pytorch_model.bin",
        "unet/diffusion_pytorch_model.bin",
        "vae/diffusion_pytorch_model.bin",
    ]
    assert set(choose_files(SCAFFOLD + pickles, "org/sd")) == {*SCAFFOLD, *pickles}


def test_chooses_all_shards_and_their_index():
    shards = [f"unet/diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    shards.append("unet/diffusion_pytorch_model.safetensors.index.json")
    rest = [name for name in WEIGHTS if not name.startswith("unet")]
    assert set(choose_files([*SCAFFOLD, *rest, *shards], "org/sd")) == {*SCAFFOLD, *rest, *shards}
    assert [stored_name(name) for name in shards] == shards


@pytest.mark.parametrize("component", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_refuses_a_pipeline_without_a_required_component(component):
    files = [name for name in SCAFFOLD + WEIGHTS if not name.startswith(f"{component}/")]
    with pytest.raises(UsageError, match=f"no usable `{component}`"):
        choose_files(files, "org/sd")


def test_chooses_config_and_weights_of_a_single_component():
    files = ["README.md", "config.json", "diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors"]
    assert choose_files(files, "org/vae") == ("config.json", "diffusion_pytorch_model.safetensors")


def test_chooses_the_only_weight_file():
    assert choose_files(["README.md", "lora.safetensors"], "org/lora") == ("lora.safetensors",)


def test_asks_the_user_to_name_one_of_several_weight_files():
    with pytest.raises(UsageError, match=r"has 2 weight files: a\.ckpt, b\.ckpt") as refusal:
        choose_files(["a.ckpt", "b.ckpt"], "org/many")
    assert refusal.value.hint == "name one: `hf:org/many/a.ckpt`"


def test_refuses_a_repository_without_weights():
    with pytest.raises(UsageError, match="has no weight files"):
        choose_files(["README.md"], "org/words")


def test_chooses_tokenizer_and_image_processor_of_a_clip_model():
    needed = ["config.json", "merges.txt", "model.safetensors", "preprocessor_config.json", "tokenizer.json"]
    needed += ["special_tokens_map.json", "tokenizer_config.json", "vocab.json"]
    clutter = [".gitattributes", "README.md", "flax_model.msgpack", "pytorch_model.bin", "tf_model.h5"]
    assert sorted(choose_files(needed + clutter, "openai/clip")) == sorted(needed)
