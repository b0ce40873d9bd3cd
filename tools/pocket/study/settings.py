"""Settings of the study by scale: amount of footage, length of trainings, number of clips.

`full` is for docs/pocket-study.md and needs a GPU. `small` takes a night on a CPU. `tiny` tests that every step runs;
its results are meaningless.
"""

from collections.abc import Mapping
from dataclasses import dataclass

Flags = tuple[str, ...]

#: in the order of execution; later phases use results of earlier ones
PHASES: tuple[str, ...] = ("data", "train", "render", "measure")

#: seeds of footage, trainings and renders; clips use `RENDER_SEED`, `RENDER_SEED` + 1, …
FOOTAGE_SEED, TRAINING_SEED, RENDER_SEED = 4000, 0, 7000

#: personalised models: full checkpoints from `refine`, LoRAs from `train-adapter`
CHECKPOINTS: tuple[str, ...] = ("ink", "pixel")
LORAS: tuple[str, ...] = ("crayon", "neon")

SHOTS: tuple[str, ...] = (
    *("zoom-in", "zoom-out", "pan-left", "pan-right"),
    *("tilt-up", "tilt-down", "roll-cw", "roll-ccw"),
)
#: shot for which rank and number of stills are varied
VARIED_SHOT = "pan-right"
#: two shots used at once
COMPOSED: tuple[str, str] = ("pan-right", "tilt-up")
SHOT_STILLS, FEW_STILLS, MANY_STILLS = 50, 5, 1000
CAMERA_RANK = 64
RANKS: tuple[int, ...] = (2, 16)
ADAPTER_SCALES: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25, 0.0)

#: additional flags of all trainings, by kind of device
TRAIN_ON: Mapping[str, Flags] = {"cuda": ("--set", "dtype=bf16", "--set", "cuda_graph=true")}
REFINE_ON: Mapping[str, Flags] = {"cuda": ("--graph",)}


@dataclass(frozen=True, slots=True)
class Scale:
    """Counts of clips or stills, and flags of the training commands."""

    clips: int  # without watermark, for the modules trained from scratch
    marked_clips: int
    style_stills: int  # for each LoRA
    wide_stills: int
    motion: Mapping[str, object]  # settings of `train-motion` from scratch: both schedules, and the convolutions
    marked_motion: Flags  # from the bundled module, on clips with watermark
    adapter: Flags
    style_lora: Flags
    look: Flags  # a checkpoint's decoder
    refine: Flags
    camera: Flags
    encoder: Flags
    classifier_clips: int
    classifier_epochs: int
    style_stills_read: int  # for the style reader to learn from
    clips_per_kind: int  # rendered in most conditions
    schedule_clips_per_kind: int
    stills_per_kind: int  # of each personalised model, to compare with
    steps: int  # of denoising
    ceiling_clips: int  # of each style, passed through the autoencoder


#: motion of small latents is decided at high noise, and the pocket model is trained with offset noise
NOISY: Flags = ("--set", "snr_gamma=0.02", "--set", "noise_offset=0.3")
ANNEALED: Flags = ("--set", "lr_schedule=cosine", "--set", "warmup=20")
#: of single frames, which are encoded once
ONCE: Flags = ("--set", "variants=1", "--set", "leak_stills=0")

SCALES: Mapping[str, Scale] = {
    "full": Scale(
        clips=3000,
        marked_clips=600,
        style_stills=600,
        wide_stills=MANY_STILLS,
        motion={
            "steps": 3000,
            "batch": 8,
            "lr": 6e-4,
            "lr_schedule": "cosine",
            "ema": 0.998,
            "warmup": 100,
            "save_every": 500,
            "variants": 1,
            "snr_gamma": 0.02,
            "noise_offset": 0.3,
        },
        marked_motion=(
            *("--steps", "500", "--batch", "8", "--lr", "3e-4", "--ema", "0.99", "--save-every", "500"),
            *("--set", "variants=1", *NOISY, *ANNEALED),
        ),
        adapter=("--steps", "500", "--batch", "32", "--rank", "16", "--lr", "1e-3", *ONCE, *ANNEALED),
        style_lora=("--steps", "600", "--batch", "32", "--rank", "16", "--lr", "1e-3", *ONCE, *ANNEALED),
        look=("--minutes", "0.6", "--clips", "480", "--batch", "64", "--learning-rate", "4e-4"),
        refine=("--minutes", "0.5", "--clips", "480", "--batch", "128", "--learning-rate", "4e-4"),
        camera=(
            *("--steps", "600", "--batch", "8", "--lr", "4e-3", "--no-spatial-lora", "--save-every", "600"),
            *("--set", "debias=0", "--set", "leak_stills=0", "--set", "noise_offset=0.3", *ANNEALED),
            *("--set", "snr_gamma=0.01", "--set", "from_noise=0.25"),
        ),
        encoder=("--minutes", "3", "--clips", "1500"),
        classifier_clips=4000,
        classifier_epochs=6,
        style_stills_read=5000,
        clips_per_kind=2,
        schedule_clips_per_kind=4,
        stills_per_kind=2,
        steps=20,
        ceiling_clips=24,
    ),
    "small": Scale(
        clips=200,
        marked_clips=100,
        style_stills=100,
        wide_stills=100,
        motion={"steps": 1000, "batch": 4, "lr": 6e-4, "ema": 0.99, "save_every": 100, "variants": 1, "snr_gamma": 0.1},
        marked_motion=("--steps", "300", "--batch", "2", "--lr", "3e-4", "--ema", "0.9", "--set", "variants=1"),
        adapter=("--steps", "300", "--batch", "8", "--rank", "16", "--lr", "1e-3", "--set", "leak_stills=0"),
        style_lora=("--steps", "300", "--batch", "8", "--rank", "16", "--lr", "1e-3", "--set", "leak_stills=0"),
        look=("--minutes", "10", "--clips", "160", "--batch", "8", "--learning-rate", "2e-4"),
        refine=("--minutes", "10", "--clips", "160", "--batch", "8", "--learning-rate", "2e-4"),
        camera=(
            *("--steps", "300", "--batch", "1", "--lr", "2e-3", "--no-spatial-lora"),
            *("--set", "debias=0", "--set", "snr_gamma=0.05", "--set", "first_timestep=200", "--set", "leak_stills=0"),
        ),
        encoder=("--minutes", "4", "--clips", "600"),
        classifier_clips=4000,
        classifier_epochs=6,
        style_stills_read=5000,
        clips_per_kind=1,
        schedule_clips_per_kind=1,
        stills_per_kind=1,
        steps=20,
        ceiling_clips=12,
    ),
    "tiny": Scale(
        clips=2,
        marked_clips=2,
        style_stills=4,
        wide_stills=6,
        motion={"steps": 2, "batch": 1, "variants": 1},
        marked_motion=("--steps", "2", "--batch", "1", "--set", "variants=1"),
        adapter=("--steps", "2", "--batch", "1", "--rank", "16", "--set", "leak_stills=0"),
        style_lora=("--steps", "2", "--batch", "1", "--rank", "16", "--set", "leak_stills=0"),
        look=("--minutes", "0.01", "--clips", "1", "--batch", "1"),
        refine=("--minutes", "0.01", "--clips", "1", "--batch", "1"),
        camera=(
            *("--steps", "2", "--batch", "1", "--no-spatial-lora"),
            *("--set", "variants=1", "--set", "debias=0", "--set", "leak_stills=0"),
        ),
        encoder=("--minutes", "0.02", "--clips", "4"),
        classifier_clips=40,
        classifier_epochs=1,
        style_stills_read=130,
        clips_per_kind=0,
        schedule_clips_per_kind=0,
        stills_per_kind=0,
        steps=1,
        ceiling_clips=1,
    ),
}
"""`clips_per_kind` of 0 asks for one clip in all."""
