from dataclasses import replace

import pytest
import torch
from diffusers import MotionAdapter
from safetensors.torch import save_file

from animdiff_cli.errors import IntegrityError, NotFound, UsageError
from animdiff_cli.motion import MotionModule, load_motion_module, read_motion_spec, save_motion_module
from animdiff_cli.motion.pia import open_pia_input, read_pia_channels
from animdiff_cli.motion.spec import MotionSpec
from animdiff_cli.weights.files import open_weights
from animdiff_cli.weights.identify import identify
from animdiff_cli.weights.positional_encoding import sinusoid
from tests.toy_networks import make_unet

POSITION = "mid_block.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.pos_encoder.pe"


@pytest.fixture
def official(make_unet, make_motion):
    """Return the random weights of a version in the official layout, float32."""

    def build(version):
        unet = make_unet("sdxl" if version in ("sdxl", "hotshot") else "sd15", dtype=torch.float32)
        return dict(make_motion(unet, version).state_dict())

    return build


@pytest.mark.parametrize("version", ["v1", "v2", "v3", "sdxl", "hotshot"])
def test_the_version_is_detected(official, tmp_path, version):
    weights = official(version)
    torch.save(weights, tmp_path / "mm.ckpt")
    motion = load_motion_module(tmp_path / "mm.ckpt")
    assert motion.spec.version == version
    assert motion.spec.max_frames == (24 if version in ("v1", "hotshot") else 32)
    loaded = motion.state_dict()
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)


def test_a_training_checkpoint_of_the_whole_network_yields_its_motion_module(official, tmp_path):
    weights = official("v3")
    whole = {f"module.{key}": value for key, value in weights.items()} | {"module.conv_in.weight": torch.zeros(1)}
    torch.save({"epoch": 3, "global_step": 9, "state_dict": whole}, tmp_path / "checkpoint.ckpt")
    loaded = load_motion_module(tmp_path / "checkpoint.ckpt").state_dict()
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)


def test_a_dummy_config_entry_is_ignored(official, tmp_path):
    torch.save(official("v3") | {"animatediff_config": {"a": 1}}, tmp_path / "mm.ckpt")
    assert load_motion_module(tmp_path / "mm.ckpt").spec.version == "v3"


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_the_diffusers_layout_loads_to_the_same_weights(official, tmp_path, version):
    weights = official(version)
    adapter = MotionAdapter(
        block_out_channels=(32, 32, 64, 64),
        motion_layers_per_block=1,
        use_motion_mid_block=version == "v2",
        motion_max_seq_length=24 if version == "v1" else 32,
    )
    renamed = adapter.state_dict()
    for key, value in weights.items():
        new = key.replace(".temporal_transformer", "").replace(".attention_blocks.0.", ".attn1.")
        new = new.replace(".attention_blocks.1.", ".attn2.").replace(".norms.0.", ".norm1.")
        new = new.replace(".norms.1.", ".norm2.").replace(".ff_norm.", ".norm3.")
        if "pos_encoder" not in new:
            assert new in renamed
            renamed[new] = value
    adapter.load_state_dict(renamed)
    adapter.save_pretrained(tmp_path)
    motion = load_motion_module(tmp_path / "diffusion_pytorch_model.safetensors")
    loaded = motion.state_dict()
    assert motion.spec.version == version
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)


def test_without_positional_encoding_the_version_must_be_named(official, tmp_path):
    save_file({k: v for k, v in official("v3").items() if "pos_encoder" not in k}, tmp_path / "mm.safetensors")
    with pytest.raises(UsageError, match="cannot be told apart"):
        load_motion_module(tmp_path / "mm.safetensors")
    assert load_motion_module(tmp_path / "mm.safetensors", "v1").spec.max_frames == 24


@pytest.mark.parametrize(
    ("frames", "version"), [(8, "v1"), (16, "v1"), (24, "v1"), (25, "v3"), (32, "v3"), (None, None)]
)
def test_inspect_and_load_agree_on_the_version(official, tmp_path, frames, version):
    weights = {k: sinusoid(frames or 1, v.shape[-1]) if "pos_encoder" in k else v for k, v in official("v3").items()}
    kept = {k: v.contiguous() for k, v in weights.items() if frames or "pos_encoder" not in k}
    save_file(kept, tmp_path / "mm.safetensors")
    info = identify(tmp_path / "mm.safetensors")
    assert (info.version, info.max_frames) == (version, frames)
    if version is None:
        with pytest.raises(UsageError, match="cannot be told apart"):
            read_motion_spec(tmp_path / "mm.safetensors")
    else:
        spec = read_motion_spec(tmp_path / "mm.safetensors")
        assert (spec.version, spec.max_frames) == (version, frames)
        assert load_motion_module(tmp_path / "mm.safetensors").spec == spec


@pytest.mark.parametrize("family", ["lcm", "lightning", "long"])
def test_a_recorded_family_loads_as_the_version_of_its_architecture(official, tmp_path, family):
    save_file(official("v2"), tmp_path / "mm.safetensors", {"animdiff.motion_version": family})
    assert identify(tmp_path / "mm.safetensors").version == family
    assert read_motion_spec(tmp_path / "mm.safetensors").version == "v2"


def test_saving_and_loading_is_exact_and_keeps_the_version(official, tmp_path, make_unet):
    motion = MotionModule.from_unet(make_unet(dtype=torch.float32), "v1")
    save_motion_module(motion, tmp_path / "mm.safetensors")
    again = load_motion_module(tmp_path / "mm.safetensors")
    assert again.spec == motion.spec
    assert all(torch.equal(value, motion.state_dict()[key]) for key, value in again.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["mm.safetensors"]


def test_a_missing_weight_is_named(official, tmp_path):
    weights = official("v3")
    del weights["up_blocks.1.motion_modules.0.temporal_transformer.proj_out.bias"]
    torch.save(weights, tmp_path / "mm.ckpt")
    with pytest.raises(IntegrityError, match=r"up_blocks\.1\.motion_modules\.0.*proj_out\.bias"):
        load_motion_module(tmp_path / "mm.ckpt")


def test_a_wrong_shape_is_named(official, tmp_path):
    weights = official("v3")
    key = "down_blocks.0.motion_modules.0.temporal_transformer.proj_in.weight"
    weights[key] = weights[key][:, :16]
    torch.save(weights, tmp_path / "mm.ckpt")
    with pytest.raises(IntegrityError, match=r"proj_in\.weight.*shape \(32, 16\)"):
        load_motion_module(tmp_path / "mm.ckpt")


def test_an_image_checkpoint_is_not_a_motion_module(make_unet, tmp_path):
    save_file({k: v.float() for k, v in make_unet().state_dict().items()}, tmp_path / "unet.safetensors")
    with pytest.raises(IntegrityError, match="no motion-module weights"):
        load_motion_module(tmp_path / "unet.safetensors")


def test_a_pickle_that_could_run_code_is_refused(tmp_path):
    class Payload:
        def __reduce__(self):
            return (print, ("this must never be printed",))

    torch.save({"state_dict": {"a": Payload()}}, tmp_path / "evil.ckpt")
    with pytest.raises(IntegrityError, match="could run code") as caught:
        load_motion_module(tmp_path / "evil.ckpt")
    assert "safetensors" in caught.value.hint


@pytest.mark.parametrize("name", ["mm.ckpt", "mm.safetensors"])
def test_a_truncated_file_is_refused(official, tmp_path, name):
    whole = tmp_path / name
    weights = official("v3")
    torch.save(weights, whole) if name.endswith("ckpt") else save_file(weights, whole)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(IntegrityError, match=name):
        load_motion_module(whole)


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(NotFound):
        load_motion_module(tmp_path / "nothing.ckpt")


def test_the_recorded_length_is_used_without_positional_encoding(official, tmp_path):
    bare = {k: v for k, v in official("v2").items() if "pos_encoder" not in k}
    save_file(bare, tmp_path / "mm.safetensors", {"animdiff.max_frames": "64"})
    spec = read_motion_spec(tmp_path / "mm.safetensors")
    assert (spec.version, spec.max_frames) == ("v2", 64)
    motion = load_motion_module(tmp_path / "mm.safetensors")
    assert motion.spec == spec
    assert motion.state_dict()[POSITION].shape[1] == 64


@pytest.mark.parametrize("recorded", ["0", "-3", "many", "9999999999", ""])
def test_an_implausible_recorded_length_is_ignored(official, tmp_path, recorded):
    bare = {k: v for k, v in official("v2").items() if "pos_encoder" not in k}
    save_file(bare, tmp_path / "mm.safetensors", {"animdiff.max_frames": recorded})
    assert read_motion_spec(tmp_path / "mm.safetensors").max_frames == 32


@pytest.mark.parametrize("frames", [64, 128])
def test_a_long_module_takes_as_many_frames_as_it_has_positions(official, tmp_path, frames):
    weights = official("v2")
    long = {k: sinusoid(frames, v.shape[-1]) if "pos_encoder" in k else v for k, v in weights.items()}
    torch.save(long, tmp_path / "lt_long_mm.ckpt")
    motion = load_motion_module(tmp_path / "lt_long_mm.ckpt")
    assert (motion.spec.version, motion.spec.max_frames) == ("v2", frames)
    motion.check_frames(frames)


def test_an_animatelcm_module_without_positional_encoding_loads_as_v2(official, tmp_path):
    torch.save({k: v for k, v in official("v2").items() if "pos_encoder" not in k}, tmp_path / "lcm.ckpt")
    spec = load_motion_module(tmp_path / "lcm.ckpt").spec
    assert (spec.version, spec.max_frames) == ("v2", 32)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_pia_module_has_the_layout_of_v3_and_an_input_convolution(official, tmp_path, prefix):
    weights = official("v3")
    whole = weights | {"conv_in.weight": torch.rand(32, 9, 3, 3), "conv_in.bias": torch.zeros(32)}
    torch.save({prefix + key: tensor for key, tensor in whole.items()}, tmp_path / "pia.ckpt")
    info = identify(tmp_path / "pia.ckpt")
    assert (info.kind, info.version, info.max_frames) == ("motion-module", "pia", 32)
    motion = load_motion_module(tmp_path / "pia.ckpt")
    assert motion.spec == replace(MotionSpec.for_unet(make_unet("sd15").config), version="pia")
    assert all(torch.equal(tensor, weights[key]) for key, tensor in motion.state_dict().items())
    opened = open_pia_input(open_weights(tmp_path / "pia.ckpt"), 32)
    assert torch.equal(read_pia_channels(opened), whole["conv_in.weight"][:, 4:])
    with pytest.raises(UsageError, match="32 wide, the model's 320"):
        open_pia_input(open_weights(tmp_path / "pia.ckpt"), 320)


def test_a_pia_module_that_lost_its_input_convolution_is_damaged(official, tmp_path):
    save_file(official("v3"), tmp_path / "pia.safetensors", {"animdiff.motion_version": "pia"})
    with pytest.raises(IntegrityError, match="without the input convolution"):
        open_pia_input(open_weights(tmp_path / "pia.safetensors"), 32)


def test_the_length_is_read_from_the_config_of_a_diffusers_folder(tmp_path):
    MotionAdapter(
        block_out_channels=(32, 32, 64, 64),
        motion_layers_per_block=1,
        use_motion_mid_block=True,
        motion_max_seq_length=48,
    ).save_pretrained(tmp_path / "adapter")
    motion = load_motion_module(tmp_path / "adapter")
    assert (motion.spec.version, motion.spec.max_frames) == ("v2", 48)


def test_the_spec_is_read_without_the_weights(official, tmp_path):
    save_file(official("v1"), tmp_path / "mm.safetensors")
    assert read_motion_spec(tmp_path / "mm.safetensors") == load_motion_module(tmp_path / "mm.safetensors").spec


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (
            (
                "motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.processor.to_q_lora.down.weight",
                "motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.processor.to_q_lora.up.weight",
            ),
            "a MotionLoRA",
        ),
        (("motion_modules.0.temporal_transformer.norm.weight", "controlnet_cond_embedding.weight"), "a SparseCtrl"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path, names, kind):
    tensors = {f"down_blocks.0.{name}" if "motion" in name else name: torch.ones(4, 4) for name in names}
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match=f"{kind}.*not a motion module"):
        load_motion_module(tmp_path / "x.safetensors")
