"""Settings of the initial noise that would have no effect: refused before weights load."""

from pathlib import Path

from animdiff_cli.config.layers import Resolved
from animdiff_cli.config.load import flag_name
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.windows import Windows
from animdiff_cli.diffusion.source import open_model
from animdiff_cli.errors import UsageError


def check_noise_flags(resolved: Resolved[GenerateConfig]) -> None:
    """Raise `UsageError` for a filter without FreeInit. Presets may name one for later use."""
    flag = flag_name("free_init_filter")
    passes = resolved.values["free_init"]
    if resolved.origins["free_init_filter"] == flag and isinstance(passes, int) and passes < 2:
        raise UsageError(f"`{flag}` has no effect without FreeInit", hint="add `--free-init 3`, or leave it out")


def check_free_noise(resolved: Resolved[GenerateConfig], windows: Windows | None) -> None:
    """Raise `UsageError` for `--noise-schedule free-noise` in a clip of one window, which shares noise with none."""
    flag = flag_name("noise_schedule")
    is_asked = resolved.origins["noise_schedule"] == flag and resolved.values["noise_schedule"] == "free-noise"
    if windows is None and is_asked:
        raise UsageError(
            f"`{flag} free-noise` has no effect in a clip of one window",
            hint=f"render more frames, `--frames 64`, or shorter windows, `--context-length 8`; or leave `{flag}` out",
        )


def check_free_init(config: GenerateConfig, model: Path) -> None:
    """Raise `UsageError` for FreeInit on a schedule that ends in pure noise: nothing of the clip would be left."""
    if config.free_init < 2:
        return
    rescaled = config.rescale_betas_zero_snr
    if rescaled is None:
        rescaled = open_model(model).prediction()["rescale_betas_zero_snr"]
    if rescaled:
        raise UsageError(
            "`--free-init` has no effect on a schedule with zero terminal SNR, which keeps nothing of the clip",
            hint="leave `--free-init` out, or add `--set rescale_betas_zero_snr=false` if the model permits it",
        )
