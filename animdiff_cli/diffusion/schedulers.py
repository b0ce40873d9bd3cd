"""Samplers by their usual names, on the noise schedule of the motion module."""

from collections.abc import Mapping
from typing import Any, cast, get_args

import diffusers

from animdiff_cli.core.choices import PredictionType, Scheduler, TimestepSpacing
from animdiff_cli.errors import UsageError

#: name: (diffusers class, its settings)
SAMPLERS: Mapping[Scheduler, tuple[str, Mapping[str, object]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "ddpm": ("DDPMScheduler", {"clip_sample": False}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm++2m": ("DPMSolverMultistepScheduler", {}),
    "dpm++2m-karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "dpm++2m-sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {"clip_sample": False}),
    "tcd": ("TCDScheduler", {"clip_sample": False}),
}
assert set(SAMPLERS) == set(get_args(Scheduler))

WITHOUT_SAMPLE = ("pndm", "euler", "euler-a", "heun")
WITHOUT_ZERO_SNR = ("pndm", "heun")
#: last beta of Stable Diffusion 1.5; that of the SDXL motion module is 0.020
BETA_END = 0.012
#: Official inference config. `leading` with offset 1 gives 961, 921, … 41, 1 at 25 steps; `linspace`, which diffusers'
#: own AnimateDiff pages recommend, makes DDIM step to a wrong previous timestep.
SCHEDULE: Mapping[str, object] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "steps_offset": 1,
}


def make_scheduler(
    name: Scheduler,
    beta_schedule: str = "linear",
    prediction_type: str = "epsilon",
    *,
    beta_end: float = BETA_END,
    timestep_spacing: TimestepSpacing = "leading",
    rescale_betas_zero_snr: bool = False,
) -> Any:
    """Build a diffusers scheduler. Motion modules are trained on `linear` betas, image models on `scaled_linear`.

    `timestep_spacing`: distilled modules such as AnimateDiff-Lightning need `trailing`, which starts at the noisiest
    step. LCM chooses its own steps and ignores it. `rescale_betas_zero_snr`: end the schedule in pure noise
    (arXiv 2305.08891). Raises `UsageError` as `check_prediction`.
    """
    class_name, settings = SAMPLERS[name]
    check_prediction(name, prediction_type, rescale_betas_zero_snr)
    settings = {**settings, **({"rescale_betas_zero_snr": True} if rescale_betas_zero_snr else {})}
    schedule = {**SCHEDULE, "beta_end": beta_end, "timestep_spacing": timestep_spacing, **settings}
    return cast(Any, getattr(diffusers, class_name))(
        **schedule, beta_schedule=beta_schedule, prediction_type=prediction_type
    )


def check_prediction(name: Scheduler, prediction_type: str, rescale_betas_zero_snr: bool) -> None:
    """Raise `UsageError` if a scheduler cannot sample with this prediction type, or not from zero terminal SNR."""
    if prediction_type not in get_args(PredictionType) or (prediction_type == "sample" and name in WITHOUT_SAMPLE):
        raise UsageError(
            f"the scheduler {name} does not support the prediction type {prediction_type[:40]}",
            hint="use another scheduler, `--scheduler ddim`, or `--set prediction_type=epsilon`",
        )
    if rescale_betas_zero_snr and name in WITHOUT_ZERO_SNR:
        raise UsageError(
            f"the scheduler {name} cannot rescale betas to zero terminal SNR, which this model needs",
            hint="use another scheduler: `--scheduler ddim`",
        )
    if rescale_betas_zero_snr and prediction_type == "epsilon":  # the clip is noise / 0 at the last timestep
        raise UsageError(
            "a model that predicts noise (epsilon) cannot start from zero terminal SNR",
            hint="use `--set prediction_type=v_prediction` if the model predicts it, or"
            " `--set rescale_betas_zero_snr=false`",
        )
