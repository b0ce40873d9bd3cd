"""Words that stand for a closed set of things, spelled as the field spells them."""

from typing import Literal

Dtype = Literal["auto", "fp32", "fp16", "bf16"]
Scheduler = Literal[
    "ddim",
    "ddpm",
    "pndm",
    "euler",
    "euler-a",
    "heun",
    "dpm++2m",
    "dpm++2m-karras",
    "dpm++2m-sde",
    "unipc",
    "lcm",
    "tcd",
]
MotionVersion = Literal["v1", "v2", "v3", "sdxl", "hotshot"]
NoiseSchedule = Literal["linear", "scaled_linear"]
BetaSchedule = Literal["auto", NoiseSchedule]
#: camera moves, named as the published MotionLoRAs are: the camera moves, so the picture goes the other way
Shot = Literal["zoom-in", "zoom-out", "pan-left", "pan-right", "tilt-up", "tilt-down", "roll-cw", "roll-ccw"]
#: how a camera move is spread over the clip: at one speed, or starting and ending at rest
Easing = Literal["linear", "smooth"]
#: what weights are, and what image model they are for; `pocket` is the bundled miniature
Kind = Literal[
    "base",
    "motion-module",
    "motion-lora",
    "domain-adapter",
    "lora",
    "vae",
    "embedding",
    "controlnet",
    "sparsectrl",
    "ip-adapter",
    "clip-encoder",
]
Base = Literal["sd15", "sdxl", "pocket"]
#: families of motion modules by name; for a MotionLoRA, adapter or SparseCtrl, the family it was made for
Family = Literal["v1", "v2", "v3", "lcm", "lightning", "sdxl", "hotshot", "long", "pia"]
TimestepSpacing = Literal["leading", "trailing", "linspace"]
LoraAlphaMode = Literal["alpha", "official"]
Stage = Literal["motion-lora", "domain-adapter", "motion-module"]
Optimizer = Literal["adamw", "adamw8bit"]
LrSchedule = Literal["constant", "cosine"]
LoraFormat = Literal["original", "diffusers", "peft"]
