"""Resolve a training run to settings, files and device before anything is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.config.layers import Layer, Resolved, resolve
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.train_config import TrainConfig
from animdiff_cli.config.train_layers import COMMANDS, resolve_training
from animdiff_cli.core.choices import Dtype, MotionVersion, Stage
from animdiff_cli.core.naming import slug
from animdiff_cli.core.refs import WEIGHT_SUFFIXES, constant_scale, parse_ref
from animdiff_cli.diffusion.build import check_model, is_sdxl
from animdiff_cli.diffusion.device import DevicePlan, plan_device, probe_machine
from animdiff_cli.diffusion.schedulers import check_prediction
from animdiff_cli.errors import UsageError
from animdiff_cli.files.os_errors import check_output_path
from animdiff_cli.jobs.model_settings import prediction_layer
from animdiff_cli.motion import read_motion_spec
from animdiff_cli.motion.spec import TRAITS
from animdiff_cli.registry.catalog import load_catalog
from animdiff_cli.registry.store import locate, require_model
from animdiff_cli.training.export import MOTION_MODULE, MotionNetwork

CONFIG_FILE = "config.yaml"
RESULT_SUFFIX = ".safetensors"
#: motion module versions of each base; the first is the default of a new module
VERSIONS: Mapping[str, tuple[MotionVersion, ...]] = {"sd15": ("v3", "v1", "v2"), "sdxl": ("sdxl", "hotshot")}
#: shorter side of training clips in pixels: half the size of the image model's pictures, as in the paper
SIZES: Mapping[str, int] = {"sd15": 256, "sdxl": 512}


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """A resolved training run. Nothing is loaded yet."""

    resolved: Resolved[TrainConfig]
    model: Path
    motion_module: Path | None
    domain_adapter: tuple[Path, float] | None
    device: DevicePlan
    out: Path
    network: MotionNetwork = MOTION_MODULE  # that stage 2 creates if there is no motion module to start from
    version: MotionVersion = "v3"  # of the motion module, or of the one that an adapter is for

    @property
    def config(self) -> TrainConfig:
        """The resolved settings."""
        return self.resolved.config

    @property
    def result(self) -> Path:
        """The file that the run writes its result to: inside the folder of the run, or beside it if `out` names it."""
        named = self.config.out and paths.expanded_output(self.config.out)
        return named if named and _is_result_file(named) else self.out / f"{self.out.name}{RESULT_SUFFIX}"


def plan_training(stage: Stage, layers: Sequence[Layer], *, device: str = "auto", local_rank: int = 0) -> TrainPlan:
    """Resolve every setting and file, and choose the device.

    Raises `NotFound` for missing weights, `UsageError` for incompatible settings or an output folder in use.
    """
    layers = with_recommended_training(stage, layers)
    config = resolve_training(stage, layers).config
    model = locate(parse_ref(require_model(config.model)), "base").path
    check_model(model)
    base = "sdxl" if is_sdxl(model) else "sd15"
    if stage == "motion-lora" and config.motion_module is None:
        best = "mm-sdxl-beta`" if base == "sdxl" else "mm-v2`; official MotionLoRAs are for v2"
        raise UsageError(
            f"a MotionLoRA for `{config.model}` needs a motion module",
            hint=f"add `--motion-module {best}",
        )
    motion = locate(parse_ref(config.motion_module), "motion-module").path if config.motion_module else None
    version = _version(config, motion, base)
    resolved = resolve_training(stage, [_version_defaults(stage, base, version), prediction_layer(model), *layers])
    config = resolved.config
    check_prediction(
        sample_settings(config, (8, 8)).scheduler,
        config.prediction_type or "epsilon",
        bool(config.rescale_betas_zero_snr),
    )
    plan = TrainPlan(
        resolved=resolved,
        model=model,
        motion_module=None if stage == "domain-adapter" else motion,
        domain_adapter=_adapter(config.domain_adapter),
        device=_device(device, config.dtype, local_rank),
        out=_run_folder(paths.expanded_output(config.out or _default_out(config))),
        version=version,
    )
    check_folder(plan.out)
    if plan.result.exists() and not (plan.out / CONFIG_FILE).is_file():
        raise UsageError(f"`{plan.result}` exists and is not of a training run", hint="choose another name with `-o`")
    return plan


def with_recommended_training(stage: Stage, layers: Sequence[Layer]) -> list[Layer]:
    """Add the catalog's recommendations for the image model below `layers`: motion module, picture size, settings."""
    models = [layer.values["model"] for layer in layers if "model" in layer.values]
    name = models[-1] if models else None
    if not isinstance(name, str) or name.lower() not in load_catalog():
        return list(layers)
    entry = load_catalog().find(name)
    recommended = entry.recommended
    values: dict[str, object] = {}
    if stage == "motion-lora" and recommended.get("motion_module"):
        values["motion_module"] = recommended["motion_module"]
    sides = [side for side in (recommended.get("width"), recommended.get("height")) if isinstance(side, int)]
    if sides:
        values["data.size"] = min(*sides, SIZES.get(entry.base, SIZES["sd15"]))
    values |= entry.training.get(stage, {})
    return [Layer(f"recommended for `{entry.alias}`", values), *layers]


def sample_settings(config: TrainConfig, bucket: tuple[int, int]) -> GenerateConfig:
    """Return the settings of sample clips: those of `generate`, with the size and noise schedule of training."""
    from animdiff_cli.registry.recommend import with_recommended

    chosen: dict[str, object] = {"model": config.model, "motion_module": config.motion_module}
    resolved = resolve(GenerateConfig, with_recommended([Layer("training", chosen)]))
    return resolved.build(prompt="", seed=config.seed).model_copy(
        update={
            "height": bucket[0],
            "width": bucket[1],
            "num_frames": config.data.num_frames,
            "beta_schedule": config.beta_schedule,
            "beta_end": config.beta_end,
            "prediction_type": config.prediction_type,
            "rescale_betas_zero_snr": config.rescale_betas_zero_snr,
        }
    )


def check_folder(out: Path) -> None:
    """Raise `UsageError` for a folder that cannot be written, or contains anything other than a training run."""
    check_output_path(out, "-o")
    if out.exists() and not out.is_dir():
        raise UsageError(f"`{out}` is a file, not a folder", hint="choose another folder with `-o`")
    if out.is_dir() and any(out.iterdir()) and not (out / CONFIG_FILE).is_file():
        raise UsageError(f"`{out}` contains files that are not of a training run", hint="choose a new folder with `-o`")


def _is_result_file(out: Path) -> bool:
    """Return whether `-o` names the file of the result, not the folder of the run. Raises `UsageError`."""
    suffix = out.suffix.lower()
    if suffix in WEIGHT_SUFFIXES and suffix != RESULT_SUFFIX and not out.is_dir():
        raise UsageError(
            f"`{out}`: results are written as `{RESULT_SUFFIX}`", hint=f"use `-o {out.with_suffix(RESULT_SUFFIX)}`"
        )
    return suffix == RESULT_SUFFIX and not out.is_dir()


def _run_folder(out: Path) -> Path:
    return out.with_suffix("") if _is_result_file(out) else out


def _version(config: TrainConfig, motion: Path | None, base: str) -> MotionVersion:
    """Return the version of the motion module. Raises `UsageError` for a version of another base."""
    version = read_motion_spec(motion, config.motion_version).version if motion else config.motion_version
    version = version or VERSIONS[base][0]
    if version in VERSIONS[base]:
        return version
    if motion:
        raise UsageError(
            f"{motion.name} is a {version} motion module, and the image model `{config.model}` is {base}",
            hint=f"`animdiff models list --all --kind motion-module --base {base}` lists compatible ones",
        )
    raise UsageError(
        f"motion version {version} does not exist for `{config.model}`, which is {base}",
        hint=f"choose one of {', '.join(VERSIONS[base])}, or leave it out",
    )


def _version_defaults(stage: Stage, base: str, version: MotionVersion) -> Layer:
    """Return the defaults that depend on image model and motion version: clip size and noise schedule."""
    values: dict[str, object] = {"data.size": SIZES[base]}
    if stage != "domain-adapter":  # which uses the image model's own noise schedule
        traits = TRAITS[version]
        values |= {"beta_schedule": traits.beta_schedule, "beta_end": traits.beta_end}
    return Layer(f"defaults for {version}", values)


def _device(requested: str, dtype: Dtype, local_rank: int) -> DevicePlan:
    """Choose the device; with several processes on a machine, each uses another GPU.

    `auto` dtype is bf16 on GPUs that support it: unlike float16, it needs no gradient scaling.
    """
    machine = probe_machine()
    name = f"cuda:{local_rank}" if local_rank and machine.cuda_names and requested in ("auto", "cuda") else requested
    plan = plan_device(machine, name, dtype)
    return replace(plan, dtype="bf16") if dtype == "auto" and plan.kind == "cuda" and machine.cuda_bf16 else plan


def _adapter(text: str | None) -> tuple[Path, float] | None:
    if text is None:
        return None
    ref = parse_ref(text, scaled=True)
    return locate(ref, "domain-adapter").path, constant_scale(ref, "training")


def _default_out(config: TrainConfig) -> Path:
    """Name the run after its videos, so that the same command finds it again."""
    command = COMMANDS[config.stage].rpartition(" ")[2]
    videos = slug(config.data.videos.stem)
    return paths.output_dir() / command / (f"{videos}-{config.data.shot}" if config.data.shot else videos)
