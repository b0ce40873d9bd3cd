"""Which clips run with CUDA graphs, and what a device does not support."""

from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace

import pytest
import torch

from animdiff_cli.config.layers import Layer, resolve
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.diffusion import speed
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.kernels import native, trial
from animdiff_cli.diffusion.speed import check_speed, faster, is_offloaded, uses_graphs
from animdiff_cli.errors import DeviceError
from tests.toy_networks import LAYOUTS

CPU, CUDA = DevicePlan("cpu", 0, "fp32"), DevicePlan("cuda", 0, "fp16")


@dataclass(frozen=True)
class OnCuda:
    """A UNet as this choice sees one, on a device that is not here."""

    width: int
    offloaded: bool = False
    device: torch.device = CUDA.device

    @property
    def config(self):
        sizes = {"block_out_channels": (self.width, 2 * self.width, 4 * self.width, 4 * self.width)}
        shape = {"attention_head_dim": 8, "cross_attention_dim": 768, "in_channels": 4, "out_channels": 4}
        return LAYOUTS["sd15"] | sizes | shape | {"layers_per_block": 2, "addition_embed_type": None}

    def modules(self):
        return [SimpleNamespace(**({"_hf_hook": object()} if self.offloaded else {}))]


def config(**settings):
    return GenerateConfig(prompt="a fox", model="m", seed=1, **settings)


@pytest.mark.parametrize(
    ("unet", "settings", "expected"),
    [
        (OnCuda(64), {}, True),
        (OnCuda(320), {}, False),  # SD1.5 at 512 px keeps a large GPU busy
        (OnCuda(320), {"width": 256, "height": 256}, True),
        (OnCuda(320), {"cuda_graph": "on"}, True),
        (OnCuda(64), {"cuda_graph": "off"}, False),
        (OnCuda(64), {"steps": 2}, False),
        (OnCuda(64, offloaded=True), {"cuda_graph": "on"}, False),
        (OnCuda(64, device=torch.device("cpu")), {}, False),
    ],
)
def test_small_unets_on_cuda_use_graphs(unet, settings, expected):
    assert uses_graphs(config(**settings), unet, None, 16) is expected


def test_a_failing_compiler_is_reported_once(make_unet, monkeypatch, tmp_path):
    monkeypatch.setenv("ANIMDIFF_CACHE", str(tmp_path))
    monkeypatch.setattr(native, "COMPILER", "false")  # a program that always fails
    monkeypatch.setattr(native, "is_supported", lambda: True)
    monkeypatch.setattr(native, "library", lru_cache(1)(native.library.__wrapped__))
    unet, told = make_unet("one-level", dtype=torch.float32), []
    for _ in range(2):
        with faster(config(), unet, report=told.append):
            pass
    assert told == ["rendering without the compiled layers, which takes longer: false failed"]


def test_the_arithmetic_of_a_cpu_is_named(monkeypatch):
    monkeypatch.setattr(native, "arithmetic", lambda: "avx2")
    assert speed.cpu_arithmetic(config(), CPU) == "avx2"
    assert speed.cpu_arithmetic(config(kernels=False), CPU) == "torch"
    assert speed.cpu_arithmetic(config(), CUDA) is None


def test_weights_that_move_are_seen(make_unet):
    unet = make_unet("one-level", dtype=torch.float32)
    assert not is_offloaded(unet)
    unet.enable_group_offload(torch.device("cpu"), offload_type="leaf_level")
    assert is_offloaded(unet)


def test_what_a_device_does_not_support_is_refused(monkeypatch):
    with pytest.raises(DeviceError, match="needs CUDA"):
        check_speed(config(cuda_graph="on"), CPU)
    monkeypatch.setattr(speed, "COMPILERS", ("no-such-compiler",))
    with pytest.raises(DeviceError, match=r"C\+\+ compiler"):
        check_speed(config(compile="on"), CPU)
    for why, hint in ((trial.NOT_INSTALLED, "pip install triton"), ("no C compiler", "apt install gcc python3-dev")):
        monkeypatch.setattr(speed, "obstacle", lambda device, dtype, why=why: why)
        with pytest.raises(DeviceError, match=f"`--compile on` needs Triton: {why}") as caught:
            check_speed(config(compile="on"), CUDA)
        assert hint in caught.value.hint and "leave `--compile on` out" in caught.value.hint
    check_speed(config(), CPU)
    check_speed(config(cuda_graph="on"), CUDA)


@pytest.mark.parametrize(("written", "read"), [(True, "on"), (False, "off"), ("on", "on"), ("auto", "auto")])
def test_a_bare_on_of_yaml_is_on(written, read):
    layer = Layer("look.yaml", {"prompt": "a fox", "model": "m", "seed": 1, "compile": written})
    assert resolve(GenerateConfig, [layer]).values["compile"] == read


def test_networks_are_as_before_afterwards(make_unet):
    unet = make_unet("one-level", dtype=torch.float32)
    with faster(config(compile="on"), unet):
        assert any("forward" in module.__dict__ for module in unet.modules())
    assert not any("forward" in module.__dict__ for module in unet.modules())
