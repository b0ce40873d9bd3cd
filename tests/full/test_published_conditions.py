"""True-size files of ControlNet 1.1, SparseCtrl, IP-Adapter plus and PIA: identified, planned and rendered with.

Slow and large (6 GB of disk, temporarily): `make test-full`.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import true_size
from benchmarks.true_size_pictures import WRITERS
from tests.fetch.server import Site

pytestmark = pytest.mark.full

#: parameters of the published networks, positional encodings included (32 positions of each attention)
CARDS = {
    "controlnet": {"kind": "controlnet", "base": "sd15", "tensors": 340, "parameters": 361_279_120},
    "sparsectrl-rgb": {"kind": "sparsectrl", "tensors": 478 + 8, "parameters": 496_730_880 + 225_280},
    "sparsectrl-scribble": {"kind": "sparsectrl", "tensors": 492 + 8, "parameters": 497_802_784 + 225_280},
    "ip-adapter-plus": {"kind": "ip-adapter", "base": "sd15"},
    "clip-vit-h": {"kind": "image-encoder", "parameters": 632_076_800},
    "pia": {"kind": "motion-module", "base": "sd15", "version": "pia", "tensors": 562, "max_frames": 32},
}
#: bytes of the published float32 pickles
PUBLISHED = {"sparsectrl-rgb": 1_988_040_333, "sparsectrl-scribble": 1_992_335_697, "pia": 1_673_373_725}
#: address of each in its repository, and the size that the stand-in for the Hub reports
ADDRESSES = {
    "controlnet-canny": ("lllyasviel/ControlNet-v1-1/resolve/main/control_v11p_sd15_canny.pth", 1_445_234_681),
    "ip-adapter-plus": ("h94/IP-Adapter/resolve/main/models/ip-adapter-plus_sd15.safetensors", 98_183_288),
    "clip-vit-h": ("h94/IP-Adapter/resolve/main/models/image_encoder/model.safetensors", 2_528_373_448),
}
SMALL = ("--steps", "1", "-L", "2", "-W", "64", "-H", "64", "--seed", "1", "--dtype", "bf16", "-f", "frames", "-q")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Write the image model and the v3 motion module once."""
    folder = tmp_path_factory.mktemp("base")
    return {name: true_size.write(name, folder) for name in ("sd15", "v3")}


@pytest.fixture
def file(tmp_path):
    """Write a file; it is deleted after the test."""
    written = []

    def write(name):
        written.append(true_size.write(name, tmp_path, WRITERS))
        return written[-1]

    yield write
    for path in written:
        path.unlink()


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    return path


def animdiff(*words, **environ):
    """Run the command; returns its standard output."""
    code = "from animdiff_cli.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered(base, out, *words):
    """Render two tiny frames in one step."""
    model = ["--model", base["sd15"], "-p", "a fox", *SMALL]
    animdiff("generate", *model, *words, "-o", out)
    return np.stack([np.asarray(Image.open(path)) for path in sorted(out.glob("*.png"))])


def check_card(name, path):
    info = json.loads(animdiff("inspect", path, "--json", "--no-hash"))
    assert {key: info[key] for key in CARDS[name]} == CARDS[name]
    assert info["dtype"] == "fp16"
    if name in PUBLISHED:  # the rest of a pickle is its index
        assert 0 < PUBLISHED[name] - 4 * info["parameters"] < 250_000


@pytest.mark.parametrize("name", ["controlnet", "sparsectrl-rgb", "sparsectrl-scribble"])
def test_a_control_is_identified_and_steers_a_clip(base, file, picture, tmp_path, name):
    path = file(name)
    check_card(name, path)
    common = ["--motion-module", base["v3"]]
    plain = rendered(base, tmp_path / "plain", *common)
    steered = rendered(base, tmp_path / "steered", *common, "--control", f"{path}={picture}", "--preprocess", "none")
    assert steered.shape == (2, 64, 64, 3) and (steered != plain).any()


def test_an_ip_adapter_is_identified_and_reads_a_picture(base, file, picture, tmp_path):
    adapter, encoder = file("ip-adapter-plus"), file("clip-vit-h")
    check_card("ip-adapter-plus", adapter)
    check_card("clip-vit-h", encoder)
    common = ["--motion-module", base["v3"]]
    words = ["--image-prompt", f"{adapter}={picture}", "--image-encoder", encoder]
    assert (rendered(base, tmp_path / "read", *common, *words) != rendered(base, tmp_path / "plain", *common)).any()


def test_a_pia_module_is_identified_and_animates_a_picture(base, file, picture, tmp_path):
    path = file("pia")
    check_card("pia", path)
    common = ["--motion-module", path, "--image", picture]
    small, large = (rendered(base, tmp_path / str(m), *common, "--set", f"pia_magnitude={m}") for m in (0, 2))
    assert small.shape == (2, 64, 64, 3) and (small != large).any()
    folder = json.loads(animdiff("convert", path, "--to", "diffusers", "-o", tmp_path / "adapter", "--json", "-q"))
    assert json.loads((tmp_path / "adapter" / "config.json").read_text())["conv_in_channels"] == 9
    again = rendered(base, tmp_path / "again", "--motion-module", folder["path"], "--image", picture)
    assert np.array_equal(again, small)


def test_a_dry_run_of_fetch_lists_them_with_their_sizes(tmp_path):
    names = ["controlnet-canny", "sparsectrl-rgb", "sparsectrl-scribble", "ip-adapter-plus", "clip-vit-h", "pia"]
    with Site() as hub, Site() as storage:
        for address, size in ADDRESSES.values():
            linked = {"X-Linked-Etag": f'"{"0" * 64}"', "X-Linked-Size": str(size), "X-Repo-Commit": "c0ffee" * 7}
            hub.put(f"/{address}", redirect=storage.put("/blob"), headers=linked)
        environ = {"HF_ENDPOINT": hub.url, "ANIMDIFF_MODELS": str(tmp_path / "models"), "HF_HUB_OFFLINE": "0"}
        plan = json.loads(animdiff("fetch", "--dry-run", "--json", *names, **environ))
        hub.shutdown()
        storage.shutdown()
    sizes = {item["ref"]: item["bytes"] for item in plan["items"]}
    for alias, (_, size) in ADDRESSES.items():
        assert sizes[alias] == size
    assert {name: sizes[name] for name in PUBLISHED} == PUBLISHED
