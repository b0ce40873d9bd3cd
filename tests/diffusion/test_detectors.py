"""Networks of controlnet-aux: random weights in the published layouts, and what its own classes make of them.

`make test-full` skips these where the extra `control` is not installed.
"""

import importlib

import numpy as np
import pytest
import torch

from animdiff_cli.diffusion import detectors
from animdiff_cli.diffusion.detectors import NETWORKS, load_detector, open_detector
from animdiff_cli.errors import IntegrityError, UsageError

CPU = torch.device("cpu")
SIDE = 128
#: detector → file name in the published repository, wrapper of its weights and prefix of their names
LAYOUTS = {
    "hed": ("ControlNetHED.pth", None, ""),
    "pidinet": ("table5_pidinet.pth", "state_dict", "module."),
    "lineart": ("sk_model.pth", None, ""),
    "lineart-anime": ("netG.pth", None, "module."),
    "mlsd": ("mlsd_large_512_fp32.pth", None, ""),
    "normal-bae": ("scannet.pt", "model", ""),
    "openpose": ("body_pose_model.pth", None, ""),
}
#: detector → its class in controlnet-aux, which reads the file by itself
CLASSES = {
    "hed": "HEDdetector",
    "pidinet": "PidiNetDetector",
    "lineart": "LineartDetector",
    "lineart-anime": "LineartAnimeDetector",
    "mlsd": "MLSDdetector",
    "normal-bae": "NormalBaeDetector",
}
pytestmark = pytest.mark.full


@pytest.fixture
def package():
    return pytest.importorskip("controlnet_aux")


@pytest.fixture
def frame():
    """A frame of smooth colours with a dark bar and a bright square, uint8 [96, 160, 3]."""
    down, across = np.mgrid[0:96, 0:160]
    frame = np.stack([across, 2 * down, 255 - across], axis=-1).astype(np.uint8)
    frame[20:60, 40:80], frame[70:76] = (250, 200, 30), 20
    return frame


def write(name, folder, *, without=None, extra=()):
    """Write random weights in the layout that is published. `without`: place of a weight that is left out."""
    torch.manual_seed(0)
    file, wrapper, prefix = LAYOUTS[name]
    network = NETWORKS[name]
    with detectors._quiet():
        built = network.build(detectors._import(network.module))
    for parameter in built.parameters():
        if parameter.dim() > 1:  # large ones, so that pictures differ from one colour
            parameter.data.normal_(std=(2 / parameter[0].numel()) ** 0.5)
    names = detectors._names(network, built)
    state = {prefix + stored: built.state_dict()[key] for stored, key in names.items()}
    if without is not None:
        del state[list(state)[without]]
    state |= dict.fromkeys(extra, torch.zeros(3))
    torch.save({wrapper: state, "epoch": 7} if wrapper else state, folder / file)
    if name == "lineart":
        torch.save(state, folder / "sk_model2.pth")
    return folder / file


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(detectors, "SMALLEST", SIDE)


@pytest.mark.parametrize("name", NETWORKS)
def test_pictures_are_those_of_the_package_itself(package, tmp_path, frame, name):
    opened = open_detector(write(name, tmp_path))
    assert opened.name == name
    made = load_detector(opened, CPU)(frame)
    assert made.shape == frame.shape and made.dtype == np.uint8
    if name == "openpose":
        body = importlib.import_module("controlnet_aux.open_pose").Body(str(opened.file.path))
        own = package.OpenposeDetector(body)
    else:
        own = getattr(package, CLASSES[name]).from_pretrained(str(tmp_path))
    expected = own(frame, detect_resolution=SIDE, image_resolution=SIDE, output_type="np")
    import cv2

    expected = cv2.resize(expected, (160, 96), interpolation=cv2.INTER_AREA)
    assert (made == expected).all()
    assert made.std() > 1, "a picture of one colour shows nothing"


@pytest.mark.parametrize("name", NETWORKS)
def test_missing_and_unknown_weights_are_found_before_any_is_read(package, tmp_path, name):
    with pytest.raises(IntegrityError, match="lacks 1 weight, first"):
        open_detector(write(name, tmp_path, without=-1))
    with pytest.raises(IntegrityError, match="1 key refused, first `stranger`"):
        open_detector(write(name, tmp_path, extra=("stranger",)))


def test_weights_of_another_shape_are_refused(package, tmp_path):
    path = write("hed", tmp_path)
    torch.save(torch.load(path) | {"norm": torch.zeros(1, 4, 1, 1)}, path)
    with pytest.raises(IntegrityError, match=r"`norm` has shape \(1, 4, 1, 1\), not \(1, 3, 1, 1\)"):
        open_detector(path)


def test_a_package_that_cannot_be_imported_is_said(package, monkeypatch):
    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(detectors.importlib, "import_module", broken)
    with pytest.raises(UsageError, match="cannot be imported: operator torchvision::nms") as refusal:
        detectors._import("hed")
    assert "torchvision" in refusal.value.hint
