"""Options and commands of similar programs, and what to type here: the one table for hints on unknown options."""

from collections.abc import Collection, Mapping

from animdiff_cli.core.suggest import closest

#: what to type here → names elsewhere; it is suggested only by commands that have the option
HERE: Mapping[str, tuple[str, ...]] = {
    "--guidance-scale": ("cfg", "cfg-scale", "guidance", "cfg-guidance-scale", "scale", "unconditional-guidance-scale"),
    "--scheduler": ("sampler", "sampler-name", "sampling-method", "noise-scheduler"),
    "--negative": ("negative-prompt", "neg", "neg-prompt", "n-prompt", "uncond", "negative-prompts"),
    "--prompt": ("text", "prompts", "positive", "positive-prompt"),
    "--frames": ("num-frames", "n-frames", "length", "video-length", "frame-count", "sample-n-frames", "max-frames"),
    "--context-length": ("context", "context-frames", "window", "window-length", "context-batch-size"),
    "--context-overlap": ("overlap", "window-overlap"),
    "--context-fuse": ("fuse-method", "fuse"),
    "--free-init": ("freeinit", "free-init-iters", "num-iters"),
    "--noise-schedule": ("free-noise", "freenoise", "noise-type"),
    "--dry-run": ("estimate", "plan-only"),
    "--loop": ("closed-loop", "seamless", "is-loop"),
    "--fps": ("frame-rate", "framerate", "frames-per-second"),
    "--output": ("output-dir", "out-dir", "outdir", "out", "out-path", "output-path", "save-path", "output-folder"),
    "--steps": (
        *("num-inference-steps", "num-steps", "ddim-steps", "sampling-steps", "inference-steps", "n-steps"),
        *("max-train-steps", "train-steps", "num-train-steps"),
    ),
    "--batch": ("batch-size", "train-batch-size", "bs"),
    "--prompt-at": ("prompt-map", "prompt-travel", "prompt-schedule"),
    "--prompt-file": ("head-prompt", "tail-prompt", "prompts-file"),
    "--prompt-hold": ("prompt-fixed-ratio",),
    "--prompt-syntax": ("prompt-weighter", "prompt-weighting"),
    "--region": ("regions", "region-map", "regional-prompt", "regional-prompts", "attention-couple", "masks"),
    "--repeat": ("batch-size", "n-samples", "num-samples", "num-images-per-prompt", "num-videos", "count", "n-iter"),
    "--model": (
        *("ckpt", "checkpoint", "base-model", "base", "pretrained-model-path", "pretrained-model-name-or-path"),
        *("model-path", "model-id", "dreambooth-path", "dreambooth", "sd-model"),
    ),
    "--motion-module": ("motion-adapter", "motion-model", "mm", "motion-module-path", "adapter", "motion-modules"),
    "--motion-lora": ("motion-loras", "motion-module-lora", "motion-module-lora-configs"),
    "--lora": ("loras", "lora-path", "lora-model-path"),
    "--lora NAME@0.8": ("lora-scale", "lora-alpha", "lora-weight", "lora-strength"),
    "--domain-adapter": ("adapter-lora", "adapter-lora-path", "adapter-path"),
    "--vae": ("vae-path", "vae-model"),
    "--control": (
        *("controlnet", "controlnets", "control-image", "control-video", "controlnet-path", "sparsectrl"),
        *("controlnet-map", "controlnet-images", "conditioning-frames"),
    ),
    "--control REF=SOURCE@0.8": ("controlnet-conditioning-scale", "controlnet-scale", "control-scale"),
    "--preprocess": ("preprocessor", "use-preprocessor", "image-processor"),
    "--save-control": ("save-detectmap", "save-controlnet-images"),
    "--embedding": ("embeddings", "textual-inversion", "textual-inversions", "ti"),
    "--width 512 --height 512": ("resolution", "size", "image-size", "res"),
    "--width": ("w",),
    "--height": ("h",),
    "--size": ("resolution", "image-size", "sample-size", "width", "height"),
    "--format": ("ext", "save-format", "output-format", "save-as"),
    "--format gif": ("gif", "save-gif"),
    "--format mp4": ("mp4", "save-mp4", "video"),
    "--dtype fp16": ("half", "fp16", "float16"),
    "--dtype bf16": ("bf16", "bfloat16"),
    "--dtype fp32": ("fp32", "full-precision", "no-half", "float32"),
    "--dtype": ("precision", "mixed-precision", "torch-dtype"),
    "--device cpu": ("cpu", "use-cpu"),
    "--device cuda": ("gpu", "cuda", "gpu-id"),
    "--seed": ("random-seed", "manual-seed"),
    "--config": ("config-file", "config-path", "yaml"),
    "--from": ("recipe", "from-file", "reproduce"),
    "--no-fetch": ("no-download", "local-files-only"),
    "--offline": ("local", "no-network"),
    "--overwrite": ("force", "yes", "replace"),
    "--image": ("init-image", "input-image", "img", "image-path", "init-img"),
    "--video": ("input-video", "init-video", "video-path"),
    "--denoise": ("strength", "denoising-strength"),
    "--image-prompt": ("ip-adapter", "ip-adapter-image", "ip-adapter-scale", "reference-image"),
    "--quiet": ("silent", "no-progress"),
    "--videos": ("data", "dataset", "data-dir", "train-data-dir", "instance-data-dir", "images", "video", "input"),
    "--caption": ("instance-prompt", "prompt", "validation-prompt"),
    "--lr": ("learning-rate",),
    "--rank": ("lora-rank", "network-dim", "dim"),
    "--accumulation": ("gradient-accumulation-steps", "gradient-accumulation", "grad-accum"),
    "--save-every": ("checkpointing-steps", "checkpoint-every", "save-steps", "save-every-n-steps"),
    "--keep": ("checkpoints-total-limit", "save-total-limit"),
    "--sample-every": ("validation-steps", "validation-epochs", "sample-steps"),
    "--sample-prompt": ("validation-prompts", "sample-prompts"),
    "--stride": ("sample-stride", "frame-stride"),
}

#: what no command has yet → names elsewhere
NOT_YET: Mapping[str, tuple[str, ...]] = {
    "upscaling": ("upscale", "upscaler", "hires", "hires-fix", "highres-fix", "tile", "tiled"),
    "interpolation": ("interpolate", "rife", "film", "interpolation"),
    "FreeU": ("freeu", "free-u"),
}

#: command that reads settings from a file → hint for an option of `generate`
FROM_FILE: Mapping[str, str] = {"batch run": "write `{key}` into the file, or type `--set {key}=…`"}
#: command that takes no words → hint for words
WORDS: Mapping[str, str] = {"generate": 'the prompt is an option: `--prompt "{words}"`'}

#: command elsewhere → command here
COMMANDS: Mapping[str, str] = {
    **dict.fromkeys(("render", "run", "txt2gif", "txt2vid", "animate", "gen", "sample"), "animdiff generate"),
    **dict.fromkeys(("train", "finetune", "fine-tune"), "animdiff train-lora"),
    **dict.fromkeys(("download", "pull", "get", "install"), "animdiff fetch"),
    **dict.fromkeys(("list", "ls"), "animdiff models list"),
    **dict.fromkeys(("rm", "remove", "delete"), "animdiff models rm"),
    **dict.fromkeys(("info", "identify"), "animdiff inspect"),
    **dict.fromkeys(("eval", "metrics"), "animdiff evaluate"),
    **dict.fromkeys(("browse", "grid", "html", "xy", "xyz"), "animdiff gallery"),
    **dict.fromkeys(("check", "env"), "animdiff doctor"),
    "version": "animdiff --version",
    "help": "animdiff --help",
}


def option_hint(option: str, available: Collection[str], command: str) -> str:
    """Return the hint for an unknown option of a command whose options are `available`.

    >>> option_hint("--cfg_scale", ["--guidance-scale"], "animdiff generate")
    'use `--guidance-scale`'
    """
    if (hint := _of(command, FROM_FILE)) and (key := _setting_of(option)):
        return hint.format(key=key)
    name = option.lstrip("-").replace("_", "-").lower()
    if f"--{name}" in available:
        return f"use `--{name}`"
    ours = [here for here, names in HERE.items() if name in names and here.split()[0] in available]
    if ours:
        return f"use `{ours[0]}`"
    missing = next((feature for feature, names in NOT_YET.items() if name in names), None)
    if missing:
        return f"there is no option for this yet: {missing} is not supported"
    close = closest(f"--{name}", [known for known in available if known.startswith("--")])
    return f"did you mean `{close}`? See `{command} --help`" if close else f"see `{command} --help`"


def words_hint(words: str, command: str) -> str:
    """Return the hint for words that a command does not take; with none, for another mistake.

    >>> words_hint("a fox", "python -m animdiff_cli generate")
    'the prompt is an option: `--prompt "a fox"`'
    """
    if words and (hint := _of(command, WORDS)):
        return hint.format(words=words.replace('"', "'"))
    return f"see `{command} --help`"


def command_hint(name: str, available: Collection[str], help_command: str) -> str:
    """Return the hint for an unknown command of a group whose commands are `available`."""
    close = closest(name, available)
    if name in COMMANDS and help_command == "animdiff --help":
        return f"use `{COMMANDS[name]}`"
    return f"did you mean `{close}`? See `{help_command}`" if close else f"see `{help_command}`"


def _of(command: str, hints: Mapping[str, str]) -> str | None:
    """Return the hint of a command, which may be called by another name of the program: `python -m animdiff_cli`."""
    return next((hint for name, hint in hints.items() if command.endswith(f" {name}")), None)


def _setting_of(option: str) -> str | None:
    """Return the setting that an option of `generate` sets; None if there is none."""
    from animdiff_cli.config.load import flag_names

    settings = {parameter: key for key, parameter in flag_names().items()} | {"prompt": "prompt", "seed": "seed"}
    return settings.get(option.lstrip("-").replace("-", "_"))
