"""The paper's ablation: what it shares with a motion module, and runs of a few steps by the program's own loop."""

import numpy as np
import pytest
import torch
import yaml
from diffusers import UNet2DConditionModel
from PIL import Image

from animdiff_cli.config.layers import Layer
from animdiff_cli.config.load import flag_layer
from animdiff_cli.config.train_layers import file_layer
from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.jobs.loading import load_animator
from animdiff_cli.jobs.render_plan import plan_renders
from animdiff_cli.jobs.train import run_training
from animdiff_cli.jobs.train_plan import plan_training
from animdiff_cli.motion import MotionModule, MotionSpec, plug, save_motion_module
from animdiff_cli.training.data.dataset import scan
from animdiff_cli.training.metrics_log import read_metrics
from animdiff_cli.weights.files import read_tensors
from animdiff_cli.weights.identify import identify
from tools.pocket.__main__ import main
from tools.pocket.convolution import ConvolutionModule, load_convolution, save_convolution
from tools.pocket.temporal_conv import load_conv_animator, train_temporal_conv

pytestmark = pytest.mark.usefixtures("quick_samples")


@pytest.fixture
def settings(toy_model, tmp_path, monkeypatch):
    """A run of four steps on two folders of frames; returns the YAML file of its settings."""
    monkeypatch.setenv("ANIMDIFF_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        folder = tmp_path / "clips" / name
        folder.mkdir(parents=True)
        for frame in range(4):
            patches = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
            Image.fromarray(patches).save(folder / f"{frame:02}.png")
    data = {"videos": str(tmp_path / "clips"), "num_frames": 4, "stride": 1, "size": 64, "caption": "a clip"}
    small = {"steps": 4, "save_every": 2, "batch": 1, "variants": 1, "dtype": "fp32", "ema": 0.9, "keep": 9}
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump({"model": str(toy_model), "data": data, **small}))
    return path


@pytest.fixture
def config(settings):
    """The same settings, resolved as `animdiff train-motion` resolves them."""
    return plan_training("motion-module", [file_layer(settings)], device="cpu").config


def losses(folder):
    return [row.loss for row in read_metrics(folder / "loss.csv")]


def render(animator, model):
    """Render three small frames with an image model's own settings."""
    flags = {"model": str(model), "motion_module": None, "width": 32, "height": 32, "steps": 2}
    config = plan_renders([flag_layer(flags)], prompts=["a fox"], seeds=[3], device="cpu").configs[0]
    return animator.render(config.model_copy(update={"num_frames": 3}))


@pytest.mark.parametrize("version", ["v2", "v3"])
@pytest.mark.parametrize("widths", [(64, 96, 128, 128), (320, 640, 1280, 1280)])
def test_every_plug_point_has_as_many_parameters_as_in_the_motion_module(version, widths):
    spec = MotionSpec.for_unet({"block_out_channels": widths, "layers_per_block": 1}, version)
    with torch.device("meta"):
        pair = MotionModule(spec), ConvolutionModule(spec)
    for name in spec.widths():
        ours, theirs = (sum(p.numel() for p in network.transformer(name).parameters()) for network in pair)
        assert ours == theirs


def test_a_frame_sees_the_frames_beside_it_and_no_other_place():
    torch.manual_seed(0)
    layer = ConvolutionModule(MotionSpec("v3", ((32,),), (), ((32,),), 32)).transformer(
        "down_blocks.0.motion_modules.0"
    )
    convolution = layer.transformer_blocks[0].attention_blocks[0]
    tokens = torch.randn(1, 7, 5, 32)
    changed = tokens.clone()
    changed[0, 3, 2] += 1
    moved = (convolution(changed) - convolution(tokens)).abs().amax(dim=-1)[0] > 1e-6
    assert {tuple(place) for place in moved.nonzero().tolist()} == {(2, 2), (3, 2), (4, 2)}
    last = convolution(tokens[:, :4])  # beyond a clip's ends there is nothing
    assert torch.allclose(last[:, :3], convolution(tokens)[:, :3], atol=1e-5)


def test_untrained_it_changes_nothing(make_unet):
    unet = make_unet(dtype=torch.float32)
    latents, text = torch.randn(4, 4, 8, 8), torch.randn(4, 7, 24)
    with torch.no_grad():
        still = unet(latents, 500, encoder_hidden_states=text).sample
        plug(unet, network := ConvolutionModule.from_unet(unet))
        with network.frames(4):
            assert torch.equal(unet(latents, 500, encoder_hidden_states=text).sample, still)


def test_a_run_trains_every_weight_by_the_programs_loop(config, toy_model, tmp_path):
    run = tmp_path / "conv"
    path = train_temporal_conv(config.model_copy(update={"sample_every": 4}), run, "cpu")
    assert path == run / "conv.safetensors"
    files = {file.name for file in run.rglob("*") if file.is_file()}
    assert {"config.yaml", "loss.csv", "loss.png", "report.json", "step-00000004.pt", "step-000004-1.gif"} <= files
    state = torch.load(run / "checkpoints" / "step-00000004.pt", weights_only=True)
    fresh = ConvolutionModule.from_unet(UNet2DConditionModel.from_pretrained(toy_model / "unet"))
    assert {name.removeprefix("0.") for name in state["weights"]} == dict(fresh.named_parameters()).keys()
    first = torch.load(run / "checkpoints" / "step-00000002.pt", weights_only=True)["weights"]
    still = [name for name, weight in state["weights"].items() if torch.equal(weight, first[name])]
    assert not still


@pytest.mark.full
def test_a_motion_module_sees_the_same_samples_and_begins_with_the_same_loss(config, tmp_path):
    train_temporal_conv(config, tmp_path / "conv", "cpu")
    layer = Layer("test", config.model_dump(mode="json") | {"out": str(tmp_path / "module")})
    plan = plan_training("motion-module", [layer], device="cpu")
    run_training(plan, scan(plan.config.data))
    conv, module = losses(tmp_path / "conv"), losses(tmp_path / "module")
    assert conv[0] == module[0]  # both are nothing yet
    assert conv[1] == pytest.approx(module[1], rel=0.05) and conv[1:] != module[1:]


@pytest.mark.full
def test_a_run_that_stopped_goes_on_where_it_was_and_only_with_its_own_network(config, tmp_path):
    whole = train_temporal_conv(config, tmp_path / "whole", "cpu")
    train_temporal_conv(config.model_copy(update={"steps": 2}), tmp_path / "parts", "cpu")
    assert len(losses(tmp_path / "parts")) == 2
    parts = train_temporal_conv(config, tmp_path / "parts", "cpu")
    assert losses(parts.parent) == losses(whole.parent)
    ours, theirs = read_tensors(parts), read_tensors(whole)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    plan = plan_training("motion-module", [file_layer(parts.parent / "config.yaml")], device="cpu")
    with pytest.raises(UsageError, match="network: temporal convolution → temporal transformer"):
        run_training(plan, scan(plan.config.data))


def test_the_command_prints_the_path_and_says_mistakes_as_the_program_does(settings, tmp_path, capsys, toy_motion_file):
    words = ["temporal-conv", "--config", str(settings), "--device", "cpu", "-o", str(tmp_path / "conv"), "-q"]
    assert main([*words, "--set", "steps=1"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'conv' / 'conv.safetensors'}\n"
    assert main([*words, "--set", "stepz=1"]) == 2
    assert "did you mean `steps`" in capsys.readouterr().err
    assert main([*words, "--set", f"motion_module={toy_motion_file}"]) == 2
    assert "cannot start from toy_mm.safetensors" in capsys.readouterr().err


def test_an_untrained_one_renders_what_an_untrained_motion_module_renders(toy_model, tmp_path):
    unet = UNet2DConditionModel.from_pretrained(toy_model / "unet")
    save_convolution(ConvolutionModule.from_unet(unet), tmp_path / "conv.safetensors", {})
    save_motion_module(MotionModule.from_unet(unet), tmp_path / "module.safetensors")
    flags = {"model": str(toy_model), "motion_module": str(tmp_path / "module.safetensors")}
    plan = plan_renders([flag_layer(flags)], prompts=["any"], seeds=[0], device="cpu")
    theirs = render(load_animator(plan.weights, plan.device), toy_model)
    ours = render(load_conv_animator(tmp_path / "conv.safetensors", str(toy_model), "cpu"), toy_model)
    assert np.array_equal(ours.frames, theirs.frames)
    assert ours.recipe["config"] == theirs.recipe["config"]
    assert list(ours.recipe["weights"]) == ["model", "temporal_convolution"]


def test_a_trained_one_moves_what_it_is_plugged_into(toy_model, tmp_path):
    network = ConvolutionModule.from_unet(UNet2DConditionModel.from_pretrained(toy_model / "unet"))
    save_convolution(network, tmp_path / "nothing.safetensors", {})
    torch.manual_seed(0)
    for parameter in network.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    save_convolution(network, tmp_path / "conv.safetensors", {})
    frames = [
        render(load_conv_animator(tmp_path / f"{name}.safetensors", str(toy_model), "cpu"), toy_model).frames
        for name in ("nothing", "conv")
    ]
    assert not np.array_equal(*frames)


def test_the_file_does_not_pass_for_a_motion_module(make_unet, tmp_path):
    path = tmp_path / "conv.safetensors"
    save_convolution(ConvolutionModule.from_unet(make_unet(dtype=torch.float32)), path, {})
    with pytest.raises(IntegrityError, match="not a known kind of weight file"):
        identify(path)


def test_a_file_of_something_else_or_for_another_unet_is_refused(make_unet, toy_motion_file, tmp_path):
    unet = make_unet(dtype=torch.float32)
    with pytest.raises(IntegrityError, match="no temporal convolution"):
        load_convolution(toy_motion_file, unet.config)
    save_convolution(ConvolutionModule.from_unet(unet), tmp_path / "conv.safetensors", {})
    with pytest.raises(IntegrityError, match="does not fit this image model"):
        load_convolution(tmp_path / "conv.safetensors", make_unet(layers=2).config)
