"""Words that stand for a closed set of things, spelled as the field spells them."""

from typing import Literal

Format = Literal["gif", "mp4", "webm", "webp", "apng", "frames"]
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
BetaSchedule = Literal["auto", "linear", "scaled_linear"]
TimestepSpacing = Literal["leading", "trailing", "linspace"]
