"""How many steps of a schedule a clip takes that begins from given frames instead of noise."""


def num_denoised(steps: int, denoise: float) -> int:
    """Return how many of the last `steps` denoise frames that are rendered anew by `denoise`, from 0 to 1.

    Above 0 it is one step at least, otherwise as in diffusers.

    >>> [num_denoised(25, denoise) for denoise in (0, 0.01, 0.6, 1)]
    [0, 1, 15, 25]
    """
    return max(1, int(steps * denoise + 1e-9)) if denoise else 0
