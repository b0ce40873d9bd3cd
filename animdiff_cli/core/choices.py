"""The allowed values of settings and fields, as Literal types."""

from typing import Literal

Switch = Literal["auto", "on", "off"]
Dtype = Literal["auto", "fp32", "fp16", "bf16"]
#: where weights are while a clip is rendered, and how those of the UNet are stored
LowVram = Literal["auto", "off", "offload", "sequential"]
WeightsDtype = Literal["same", "fp8"]
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
MotionVersion = Literal["v1", "v2", "v3", "sdxl", "hotshot", "pia"]
NoiseSchedule = Literal["linear", "scaled_linear"]
BetaSchedule = Literal["auto", NoiseSchedule]
#: camera moves, named like the published MotionLoRAs: the camera moves, so the image content moves the other way
Shot = Literal["zoom-in", "zoom-out", "pan-left", "pan-right", "tilt-up", "tilt-down", "roll-cw", "roll-ccw"]
#: speed profile of a camera move: constant, or slow at both ends
Easing = Literal["linear", "smooth"]
#: what a weight file is
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
    "image-encoder",
    "clip-encoder",
    "preprocessor",
]
#: the image model that weights fit; `pocket` is the bundled miniature
Base = Literal["sd15", "sdxl", "pocket"]
#: motion module families; for a MotionLoRA, adapter or SparseCtrl, the family it was trained for
Family = Literal["v1", "v2", "v3", "lcm", "lightning", "sdxl", "hotshot", "long", "pia"]
PredictionType = Literal["epsilon", "v_prediction", "sample"]
TimestepSpacing = Literal["leading", "trailing", "linspace"]
#: initial noise of a clip: independent frames, or frames that context windows share (FreeNoise)
InitialNoise = Literal["random", "free-noise"]
#: in every how many steps deep layers are computed (DeepCache); with 1 nothing is reused
StepCache = Literal[
    "off",
    "deep:1",
    "deep:2",
    "deep:3",
    "deep:4",
    "deep:5",
    "deep:6",
    "deep:7",
    "deep:8",
    "deep:9",
    "deep:10",
]
FreeInitFilter = Literal["butterworth", "gaussian", "ideal"]
#: how weights in prompts are written
PromptSyntax = Literal["a1111", "compel", "plain"]
#: order of context windows, weights where they overlap, and what is windowed
ContextSchedule = Literal["static", "uniform", "looped", "batched"]
ContextFuse = Literal["flat", "pyramid", "relative", "overlap-linear", "gauss-sigma"]
ContextMode = Literal["auto", "plug", "unet"]
#: how one text of a clip leads into the next
PromptInterpolation = Literal["linear", "slerp"]
LoraAlphaMode = Literal["alpha", "official"]
#: how pictures and videos of another shape are fitted to a clip, and what follows a video that ends before the clip
Fit = Literal["crop", "pad", "stretch"]
AfterEnd = Literal["hold", "loop", "refuse"]
#: what makes a control picture of a video: `auto` is what the network was trained with, `none` leaves it as it is
Preprocessor = Literal[
    "auto",
    "none",
    "canny",
    "lineart",
    "scribble",
    "blur",
    "luminance",
    "invert",
    "flow",
    "depth",
    "normal",
    "openpose",
    "softedge",
    "lineart-realistic",
    "lineart-anime",
    "mlsd",
]
#: how pictures become frames of a clip: a SparseCtrl, a PIA module, or a mix with noise that needs no weights
ImageMethod = Literal["auto", "sparsectrl", "pia", "blend"]
#: how much a clip of PIA may differ from its picture over time
PiaVariant = Literal["animation", "loop", "style"]
Stage = Literal["motion-lora", "domain-adapter", "motion-module"]
Optimizer = Literal["adamw", "adamw8bit"]
LrSchedule = Literal["constant", "cosine"]
LoraFormat = Literal["original", "diffusers", "peft"]
