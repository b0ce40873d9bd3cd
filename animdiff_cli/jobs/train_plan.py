"""What a training run will do, settled before anything is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from animdiff_cli import paths
from animdiff_cli.config.layers import Layer
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.train_config import TrainConfig
from animdiff_cli.config.train_layers import COMMANDS, ResolvedTraining, resolve_training
from animdiff_cli.core.choices import Dtype, Stage
from animdiff_cli.core.naming import slug
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.diffusion.build import check_model, is_sdxl
from animdiff_cli.diffusion.device import DevicePlan, plan_device, probe_machine
from animdiff_cli.errors import UsageError
from animdiff_cli.registry.catalog import load_catalog
from animdiff_cli.registry.store import locate, require_model
from animdiff_cli.training.network import MOTION_MODULE, MotionNetwork

CONFIG_FILE = "config.yaml"


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """A run settled to the last file. Nothing of it is loaded."""

    resolved: ResolvedTraining
    model: Path
    motion_module: Path | None
    domain_adapter: tuple[Path, float] | None
    device: DevicePlan
    out: Path
    network: MotionNetwork = MOTION_MODULE  # what stage 2 makes and trains where it starts from nothing

    @property
    def config(self) -> TrainConfig:
        """The settings."""
        return self.resolved.config

    @property
    def result(self) -> Path:
        """The file the run is for."""
        return self.out / f"{self.out.name}.safetensors"


def plan_training(stage: Stage, layers: Sequence[Layer], *, device: str = "auto", local_rank: int = 0) -> TrainPlan:
    """Settle every setting, every file and the device.

    Raises `NotFound` for weights that are not here, `UsageError` for settings that do not fit or a folder in the way.
    """
    resolved = resolve_training(stage, with_recommended_training(stage, layers))
    config = resolved.config
    model = locate(parse_ref(require_model(config.model)), "base").path
    check_model(model)
    _refuse_sdxl(model)
    if stage == "motion-lora" and config.motion_module is None:
        raise UsageError(
            f"no motion module was named for `{config.model}`: a MotionLoRA belongs to one",
            hint="add `--motion-module mm-v2`; official MotionLoRAs are for v2",
        )
    motion = locate(parse_ref(config.motion_module), "motion-module").path if config.motion_module else None
    plan = TrainPlan(
        resolved=resolved,
        model=model,
        motion_module=None if stage == "domain-adapter" else motion,
        domain_adapter=_adapter(config.domain_adapter),
        device=_device(device, config.dtype, local_rank),
        out=(config.out or _default_out(config)).expanduser(),
    )
    check_folder(plan.out)
    return plan


def with_recommended_training(stage: Stage, layers: Sequence[Layer]) -> list[Layer]:
    """Put below `layers` what the catalog recommends for the image model: its motion module, and its picture size."""
    given = [layer.values["model"] for layer in layers if "model" in layer.values]
    name = given[-1] if given else None
    if not isinstance(name, str) or name.lower() not in load_catalog():
        return list(layers)
    entry = load_catalog().find(name)
    advice = entry.recommended
    values: dict[str, object] = {}
    if stage == "motion-lora" and advice.get("motion_module"):
        values["motion_module"] = advice["motion_module"]
    sides = [side for side in (advice.get("width"), advice.get("height")) if isinstance(side, int)]
    if sides:  # models of 512 pixels are trained on clips of 256, as the paper does
        values["data.size"] = min(*sides, 256)
    return [Layer(f"recommended for `{entry.alias}`", values), *layers]


def sample_settings(config: TrainConfig, bucket: tuple[int, int]) -> GenerateConfig:
    """Settle how sample clips are rendered: as `generate` would, in the size and on the noise that are trained."""
    from animdiff_cli.config.layers import resolve
    from animdiff_cli.registry.recommend import with_recommended

    chosen: dict[str, object] = {"model": config.model, "motion_module": config.motion_module}
    settled = resolve(with_recommended([Layer("training", chosen)]))
    return settled.config(prompt="", seed=config.seed).model_copy(
        update={
            "height": bucket[0],
            "width": bucket[1],
            "num_frames": config.data.num_frames,
            "beta_schedule": config.beta_schedule,
        }
    )


def check_folder(out: Path) -> None:
    """Refuse a folder that holds something else than a run. Raises `UsageError`."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"`{out}` is a file, not a folder", hint="name another place with `-o`")
    if out.is_dir() and any(out.iterdir()) and not (out / CONFIG_FILE).is_file():
        raise UsageError(f"`{out}` holds files of something else than a training run", hint="name a new folder: `-o`")


def _refuse_sdxl(model: Path) -> None:
    if is_sdxl(model):
        raise UsageError(
            f"{model.name} is an SDXL model, which this version renders and does not train on",
            hint="train on a Stable Diffusion 1.5 model: `--model sd15`",
        )


def _device(requested: str, dtype: Dtype, local_rank: int) -> DevicePlan:
    """Choose the device: of several processes on a machine each takes a GPU of its own.

    Where bf16 is native it is the better `auto`: its gradients need no scaling.
    """
    machine = probe_machine()
    own = f"cuda:{local_rank}" if local_rank and machine.cuda_names and requested in ("auto", "cuda") else requested
    plan = plan_device(machine, own, dtype)
    return replace(plan, dtype="bf16") if dtype == "auto" and plan.kind == "cuda" and machine.cuda_bf16 else plan


def _adapter(text: str | None) -> tuple[Path, float] | None:
    if text is None:
        return None
    ref = parse_ref(text, scaled=True)
    return locate(ref, "domain-adapter").path, 1.0 if ref.scale is None else ref.scale


def _default_out(config: TrainConfig) -> Path:
    """Name the run after what it learns from, so that the same command finds it again."""
    command = COMMANDS[config.stage].rpartition(" ")[2]
    videos = slug(config.data.videos.stem)
    return paths.output_dir() / command / (f"{videos}-{config.data.shot}" if config.data.shot else videos)
