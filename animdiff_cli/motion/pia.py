"""The input convolution of PIA: what a PIA module has beside its temporal transformers."""

from torch import Tensor

from animdiff_cli.errors import IntegrityError, UsageError
from animdiff_cli.weights.files import WeightFile
from animdiff_cli.weights.lazy import LazyTensor, is_float
from animdiff_cli.weights.motion_version import pia_input

LATENT_CHANNELS = 4


def open_pia_input(file: WeightFile, width: int) -> LazyTensor:
    """Return PIA's input convolution [D, 9, 3, 3], not read, for a UNet whose first layer is `width` wide.

    Raises `IntegrityError` if the file has none, `UsageError` if it does not fit.
    """
    key = pia_input(file.tensors)
    if key is None or not is_float(file.tensors[key].dtype):
        raise IntegrityError(
            f"{file.path.name} is a PIA module without the input convolution that reads the picture",
            hint="fetch it again: `animdiff fetch pia`",
        )
    found = file.tensors[key]
    if found.shape[0] != width:
        raise UsageError(
            f"{file.path.name} does not fit the image model: its input convolution is {found.shape[0]} wide, the"
            f" model's {width}",
            hint="use an image model of Stable Diffusion 1.5",
        )
    return found


def read_pia_channels(opened: LazyTensor) -> Tensor:
    """Read the part of the input convolution for score and picture, float32 [D, 5, 3, 3].

    The part for the latents is left out: the image model has its own.
    """
    return opened.read().float()[:, LATENT_CHANNELS:]
