"""Settings of the noise and of context windows that would have no effect: refused before weights load."""

from pathlib import Path

from animdiff_cli.config.layers import Resolved
from animdiff_cli.config.load import flag_name
from animdiff_cli.config.sampling_settings import CONTEXT_SETTINGS
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


def check_window_flags(resolved: Resolved[GenerateConfig], windows: Windows | None) -> None:
    """Raise `UsageError` for flags of windows and of the noise they share in a clip of one window.

    Presets may have them for longer clips. `--context-length` is no mistake there: it is what the clip fits into.
    """
    for key in (*CONTEXT_SETTINGS, "noise_schedule"):
        flag, value = flag_name(key), resolved.values[key]
        is_default = value == GenerateConfig.model_fields[key].default
        if windows is None and resolved.origins[key] == flag and key != "context_length" and not is_default:
            raise UsageError(
                f"`{flag} {value}` has no effect in a clip of one window",
                hint="render more frames, `--frames 64`, or shorter windows, `--context-length 8`;"
                f" or leave `{flag}` out",
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


def reject_unused_windows(resolved: Resolved[GenerateConfig]) -> None:
    """Raise `UsageError` for `--context-length` and its like without a motion module: stills have no windows."""
    for key in (*CONTEXT_SETTINGS, "noise_schedule"):
        flag = flag_name(key)
        if resolved.values["motion_module"] is None and resolved.origins[key] == flag:
            raise UsageError(
                f"`{flag}` has no effect without a motion module: every frame is rendered alone",
                hint=f"leave out `{flag}`, or `--no-motion`",
            )
