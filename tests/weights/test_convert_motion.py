"""Convert motion modules and SparseCtrl encoders between all layouts."""

from pathlib import Path

import pytest
import torch
from diffusers import MotionAdapter, SparseControlNetModel
from safetensors.torch import load_file, save_file

from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.jobs.convert import convert_weights, plan_conversion
from animdiff_cli.motion import load_motion_module
from animdiff_cli.weights.identify import identify
from animdiff_cli.weights.positional_encoding import sinusoid


def convert(source, to, output, **options):
    return convert_weights(plan_conversion(str(source), to, output=output, **options)).path


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("version", ["v1", "v2", "v3", "sdxl"])
def test_original_to_diffusers_and_back_is_exact(motion_file, tmp_path, version):
    source = motion_file(version)
    adapter = convert(source, "diffusers", tmp_path / "adapter")
    back = convert(adapter, "original", tmp_path / "back.safetensors")
    assert same(load_file(source), load_file(back))
    assert identify(back).version == version
    assert load_motion_module(back).spec == load_motion_module(source).spec


@pytest.mark.parametrize("version", ["v1", "v2", "v3", "sdxl"])
def test_diffusers_loads_the_folder_without_a_missing_or_unknown_weight(motion_file, tmp_path, version):
    folder = convert(motion_file(version), "diffusers", tmp_path / "adapter")
    adapter, report = MotionAdapter.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert adapter.config.motion_max_seq_length == (24 if version == "v1" else 32)
    assert same(dict(adapter.state_dict()), load_file(folder / "diffusion_pytorch_model.safetensors"))


def test_the_length_of_a_dropped_positional_encoding_is_recorded(motion_file, tmp_path):
    source = load_file(motion_file("v3"))
    long = {key: sinusoid(64, t.shape[2]) if key.endswith(".pe") else t for key, t in source.items()}
    save_file(long, tmp_path / "long.safetensors")
    adapter = convert(tmp_path / "long.safetensors", "diffusers", tmp_path / "a.safetensors")
    bare = {key: t for key, t in load_file(adapter).items() if "pos_embed" not in key}
    save_file(bare, tmp_path / "bare.safetensors", {"animdiff.max_frames": "64", "animdiff.motion_version": "v3"})
    back = load_file(convert(tmp_path / "bare.safetensors", "original", tmp_path / "b.safetensors"))
    assert same(back, long)


def test_a_module_without_positional_encoding_gets_none(motion_file, tmp_path):
    save_file({k: v for k, v in load_file(motion_file("v2")).items() if ".pe" not in k}, tmp_path / "lcm.safetensors")
    assert identify(tmp_path / "lcm.safetensors").version == "lcm"
    adapter = convert(tmp_path / "lcm.safetensors", "diffusers", tmp_path / "adapter")
    back = convert(adapter, "original", tmp_path / "back.safetensors")
    assert same(load_file(tmp_path / "lcm.safetensors"), load_file(back))
    assert identify(back).version == "lcm"


def test_a_learned_positional_encoding_is_kept(motion_file, tmp_path):
    weights = load_file(motion_file("v3"))
    learned = {k: v + 0.01 if k.endswith(".pe") else v for k, v in weights.items()}
    save_file(learned, tmp_path / "learned.safetensors")
    adapter = convert(tmp_path / "learned.safetensors", "diffusers", tmp_path / "adapter")
    assert same(load_file(convert(adapter, "original", tmp_path / "back.safetensors")), learned)


def test_a_training_checkpoint_becomes_a_motion_module(motion_file, make_unet, tmp_path):
    weights = load_file(motion_file("v3"))
    image = {key: value.float() for key, value in make_unet().state_dict().items()}
    whole = {f"module.{key}": value for key, value in (weights | image).items()}
    torch.save({"epoch": 1, "global_step": 2, "state_dict": whole}, tmp_path / "checkpoint.ckpt")
    plan = plan_conversion(str(tmp_path / "checkpoint.ckpt"), "original", output=tmp_path / "mm.safetensors")
    assert len(plan.converted.dropped) == len(image) + sum(key.endswith(".pe") for key in weights)
    assert same(load_file(convert_weights(plan).path), weights)


def test_hotshot_names_become_official_names(motion_file, tmp_path):
    weights = load_file(motion_file("sdxl"))
    theirs = {
        k.replace("motion_modules", "temporal_attentions")
        .replace(".temporal_transformer", "")
        .replace("pos_encoder.pe", "pos_encoder.positional_encoding"): v
        for k, v in weights.items()
    }
    save_file(theirs, tmp_path / "hsxl.safetensors")
    info = identify(tmp_path / "hsxl.safetensors")
    assert (info.version, info.base, info.format) == ("hotshot", "sdxl", "hotshot")
    assert same(load_file(convert(tmp_path / "hsxl.safetensors", "comfy", tmp_path / "c.safetensors")), weights)


def test_pia_keeps_its_input_convolution(motion_file, numbers, tmp_path):
    weights = load_file(motion_file("v3")) | {"conv_in.weight": numbers(32, 9, 3, 3), "conv_in.bias": numbers(32)}
    save_file(weights, tmp_path / "pia.safetensors")
    assert identify(tmp_path / "pia.safetensors").version == "pia"
    folder = convert(tmp_path / "pia.safetensors", "diffusers", tmp_path / "pia")
    assert MotionAdapter.from_pretrained(folder).config.conv_in_channels == 9
    assert same(load_file(convert(folder, "original", tmp_path / "back.safetensors")), weights)


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_casting_changes_only_the_dtype(motion_file, tmp_path, dtype):
    source = motion_file("v1")
    half = load_file(convert(source, "original", tmp_path / "half.safetensors", dtype=dtype))
    expected = {"fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    assert same(half, {key: value.to(expected) for key, value in load_file(source).items()})


def test_overflow_in_half_precision_is_reported(motion_file, tmp_path):
    weights = load_file(motion_file("v3"))
    key = "down_blocks.0.motion_modules.0.temporal_transformer.proj_in.bias"
    weights[key] = torch.full_like(weights[key], 1e6)
    save_file(weights, tmp_path / "large.safetensors")
    plan = plan_conversion(
        str(tmp_path / "large.safetensors"), "original", dtype="fp16", output=tmp_path / "h.safetensors"
    )
    assert convert_weights(plan).not_finite == (key,)


SITE = "up_blocks.1.motion_modules.0.temporal_transformer"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda w: w.pop(f"{SITE}.proj_out.bias"), r"lacks motion weights, first `up_blocks\.1.*proj_out\.bias`"),
        (
            lambda w: [w.pop(key) for key in list(w) if key.startswith(SITE)],
            r"lacks 1 of .*up_blocks\.1\.motion_modules\.0",
        ),
        (lambda w: w.update({f"{SITE}.proj_in.weight": torch.ones(64, 8)}), r"proj_in\.weight` has shape \(64, 8\)"),
        (lambda w: w.update({"img_encoder.conv.weight": torch.ones(1)}), r"1 key refused, first `img_encoder"),
    ],
)
def test_missing_and_unknown_weights_are_named_and_nothing_is_written(motion_file, tmp_path, spoil, why):
    weights = load_file(motion_file("v3"))
    spoil(weights)
    save_file(weights, tmp_path / "spoilt.safetensors")
    with pytest.raises(IntegrityError, match=why) as caught:
        plan_conversion(str(tmp_path / "spoilt.safetensors"), "diffusers", output=tmp_path / "out")
    assert caught.value.exit_code == 5
    assert not (tmp_path / "out").exists()


def test_positional_encodings_of_two_lengths_are_refused(motion_file, tmp_path):
    weights = load_file(motion_file("v3"))
    key = next(key for key in weights if key.endswith(".pe"))
    save_file(weights | {key: sinusoid(24, weights[key].shape[2])}, tmp_path / "two.safetensors")
    with pytest.raises(IntegrityError, match=r"different lengths: \[24, 32\]"):
        plan_conversion(str(tmp_path / "two.safetensors"), "diffusers", output=tmp_path / "x")


@pytest.mark.parametrize("frames", ["99999999", "-1", "many", "²"])
def test_an_implausible_recorded_length_is_ignored(motion_file, tmp_path, frames):
    bare = {key: t for key, t in load_file(motion_file("v2")).items() if not key.endswith(".pe")}
    save_file(bare, tmp_path / "bare.safetensors", {"animdiff.max_frames": frames, "animdiff.motion_version": "v99"})
    assert identify(tmp_path / "bare.safetensors").version == "lcm"
    assert same(load_file(convert(tmp_path / "bare.safetensors", "comfy", tmp_path / "x.safetensors")), bare)


def test_a_motion_module_has_no_kohya_layout(motion_file, tmp_path):
    with pytest.raises(UsageError, match="has no kohya layout"):
        plan_conversion(str(motion_file("v3")), "kohya", output=tmp_path / "x.safetensors")


@pytest.mark.parametrize("simplified", [True, False])
def test_sparsectrl_converts_both_ways_and_diffusers_loads_it(tmp_path, simplified):
    torch.manual_seed(0)
    model = SparseControlNetModel(
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=1,
        cross_attention_dim=16,
        conditioning_channels=4 if simplified else 3,
        conditioning_embedding_out_channels=(8, 16, 24),
        use_simplified_condition_embedding=simplified,
    )
    model.save_pretrained(tmp_path / "ctrl")
    info = identify(tmp_path / "ctrl")
    assert (info.kind, info.notes) == ("sparsectrl", (f"condition: {'rgb' if simplified else 'scribble'}",))
    original = convert(tmp_path / "ctrl", "original", tmp_path / "ctrl.safetensors")
    assert any(key.endswith("attention_blocks.0.pos_encoder.pe") for key in load_file(original))
    folder = convert(original, "diffusers", tmp_path / "back")
    again, report = SparseControlNetModel.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert same(dict(again.state_dict()), dict(model.state_dict()))


def test_weights_named_by_alias_or_of_another_program_are_written_to_the_current_folder(
    motion_file, tmp_path, monkeypatch
):
    source = motion_file("v3")
    assert plan_conversion(str(source), "diffusers").output.parent == source.parent
    assert plan_conversion("pocket-motion", "diffusers").output == Path("motion_module-diffusers")
    monkeypatch.setenv("ANIMDIFF_EXTRA_MODELS", str(source.parent))
    assert plan_conversion(str(source), "diffusers").output == Path(f"{source.stem}-diffusers")
