"""Check the installation: Python, torch, device, memory, ffmpeg, disk, models, catalog, settings, tokens."""

import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from animdiff_cli import paths
from animdiff_cli.config.layers import resolve
from animdiff_cli.config.load import env_layer
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.formats import FORMATS
from animdiff_cli.core.memory_examples import chosen_levels
from animdiff_cli.core.text import counted
from animdiff_cli.errors import AnimdiffError, DeviceError, NotFound, UsageError
from animdiff_cli.fetch.disk import format_bytes, free_bytes, readable_failures
from animdiff_cli.fetch.network import Network, is_offline
from animdiff_cli.files.threads import chosen_threads, prepare_threads
from animdiff_cli.outputs.ffmpeg import list_encoders
from animdiff_cli.registry.catalog import load_catalog, read_catalog
from animdiff_cli.registry.catalog_files import CATALOG, user_catalog_path
from animdiff_cli.registry.model_dirs import ModelDir, download_path, is_present

if TYPE_CHECKING:
    from animdiff_cli.diffusion.device import DevicePlan

Status = Literal["ok", "note", "broken"]
#: bytes for one checkpoint and its motion module
MIN_FREE_BYTES = 4_000_000_000
REINSTALL = "run `pip install --force-reinstall {}`"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `remedy` says how to fix it if `status` is not `ok`."""

    what: str
    status: Status
    found: str
    remedy: str | None = None
    exit_code: int = 0  # nonzero if broken

    def record(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return asdict(self)


def run_checks(environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Run all checks in order and yield their findings. A broken check does not stop the others."""
    checks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("python", _python),
        ("torch", lambda: _torch(environ)),
        ("memory", _memory),
        ("ffmpeg", _ffmpeg),
        ("pocket model", _pocket_model),
        ("models", _models),
        ("other folders", _other_folders),
        ("catalog", _catalog),
        ("settings", lambda: _settings(environ)),
        ("tokens", lambda: _tokens(environ)),
        ("offline", lambda: _offline(environ)),
    )
    for what, check in checks:
        try:
            yield from check()
        except AnimdiffError as error:
            # a damaged installation is not a bug, so its exit code is never 1
            code = error.exit_code if error.exit_code > 1 else NotFound.exit_code
            yield Finding(what, "broken", str(error), error.hint, code)


def _python() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Finding("animdiff", "ok", f"{version('animdiff')} at {paths.PACKAGE}")


def _torch(environ: Mapping[str, str]) -> Iterator[Finding]:
    threads = chosen_threads(environ)
    prepare_threads(None)
    try:
        import torch

        from animdiff_cli.diffusion.device import plan_device, probe_machine
        from animdiff_cli.diffusion.memory import free_memory
    except (ImportError, OSError) as error:
        raise DeviceError(f"torch cannot be loaded: {error}", hint=REINSTALL.format("torch")) from error
    others = ", ".join(f"{name} {version(name)}" for name in ("diffusers", "transformers"))
    yield Finding("torch", "ok", f"{torch.__version__}; {others}")
    machine = probe_machine()
    plan = plan_device(machine)
    if plan.kind == "cpu":
        found = f"cpu, {counted(threads.number, 'thread')} ({threads.reason}), {plan.dtype}"
        yield Finding(
            "device", "note", found, "full-size models are slow without a GPU; the bundled `pocket` model is fast"
        )
        yield Finding("low-vram", "ok", "no effect on a CPU: all weights are in main memory anyway")
        yield _cpu_layers()
        return
    names = machine.cuda_names or ("Apple GPU",)
    yield Finding("device", "ok", f"{plan.device}: {names[plan.index]}, {plan.dtype}")
    if plan.kind == "cuda":
        free, total = torch.cuda.mem_get_info(plan.device)
        yield Finding("GPU memory", "ok", f"{format_bytes(free)} free of {format_bytes(total)}")
        yield gpu_kernels(plan)
    yield from low_vram_findings(free_memory(plan.device))


def _cpu_layers() -> Finding:
    from animdiff_cli.diffusion.kernels import native

    why = native.obstacle()
    if why is None:
        return Finding("CPU layers", "ok", f"in C++ with {native.instruction_set()}")
    if why == native.NOT_SUPPORTED:
        return Finding("CPU layers", "ok", f"by torch: C++ {why}")
    remedy = "install g++, and choose a cache folder from which libraries can be loaded: `export ANIMDIFF_CACHE=…`"
    return Finding("CPU layers", "note", f"by torch, which is slower: {why}", remedy)


def gpu_kernels(plan: "DevicePlan") -> Finding:
    """Say whether Triton works on the GPU of a plan, and if not, why."""
    from animdiff_cli.diffusion.kernels import trial

    why = trial.obstacle(plan.device, plan.torch_dtype)
    if why is None:
        return Finding("GPU kernels", "ok", "group norms and GEGLU by Triton")
    return Finding("GPU kernels", "note", f"by PyTorch, which takes longer: {why}", trial.remedy(why))


def low_vram_findings(free: int | None) -> Iterator[Finding]:
    """Say which level `--low-vram auto` chooses for well-known clips with `free` bytes on the GPU."""
    for words, fits in chosen_levels(free) if free is not None else ():
        found = f"auto with {format_bytes(free or 0)} free: {words}"
        smaller = "render smaller or fewer frames, or free memory of the GPU"
        yield Finding("low-vram", "ok" if fits else "note", found, None if fits else smaller)


def _memory() -> Iterator[Finding]:
    import torch

    from animdiff_cli.diffusion.memory import free_memory, total_memory

    total = total_memory()
    if total is None:
        return
    found = format_bytes(total)
    free = free_memory(torch.device("cpu"))
    yield Finding("memory", "ok", f"{format_bytes(free)} free of {found}" if free is not None else found)


def _ffmpeg() -> Iterator[Finding]:
    ffmpeg_version, encoders = list_encoders()
    needed = {name: row.encoder for name, row in FORMATS.items() if row.encoder}
    missing = [name for name, encoder in needed.items() if encoder not in encoders]
    if missing:
        remedy = REINSTALL.format("imageio-ffmpeg")
        yield Finding(
            "ffmpeg",
            "broken",
            f"{ffmpeg_version}, without the encoder for {', '.join(missing)}",
            remedy,
            NotFound.exit_code,
        )
        return
    yield Finding("ffmpeg", "ok", f"{ffmpeg_version}; {', '.join(needed.values())}")


def _pocket_model() -> Iterator[Finding]:
    for alias in ("pocket", "pocket-motion"):
        entry = next(entry for entry in read_catalog(CATALOG).entries if entry.alias == alias)
        if not is_present(download_path(entry)):
            raise NotFound(f"`{alias}` is missing from this installation", hint=REINSTALL.format("animdiff"))
    yield Finding("pocket model", "ok", "present")


def _models() -> Iterator[Finding]:
    folder = paths.models_dir()
    with readable_failures(folder):
        free = free_bytes(folder)
        _require_writable(folder)
        count = len(ModelDir(folder, is_own=True).weights)
    found = f"{folder}: {counted(count, 'model')}, {format_bytes(free)} free on the disk"
    if free < MIN_FREE_BYTES:
        remedy = "free some space, or choose another disk: `export ANIMDIFF_MODELS=…`"
        yield Finding("models", "note", found, remedy)
    else:
        yield Finding("models", "ok", found)


def _require_writable(folder: Path) -> None:
    """Raise UsageError if files cannot be created in a folder, or the folder itself cannot be created."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = "choose another folder: `export ANIMDIFF_MODELS=…`"
        raise UsageError(f"cannot write to {existing}: {reason}", hint=hint) from error


def _other_folders() -> Iterator[Finding]:
    for folder in paths.extra_models_dirs():
        if not os.access(folder, os.R_OK | os.X_OK) or not folder.is_dir():
            why = "cannot be read" if folder.exists() else "does not exist"
            yield Finding("other folder", "note", f"{folder} {why}", "correct or unset `ANIMDIFF_EXTRA_MODELS`")
            continue
        count = len(ModelDir(folder).weights)
        remedy = None if count else "set it to the program's folder or its model folder"
        yield Finding("other folder", "ok" if count else "note", f"{folder}: {counted(count, 'model')}", remedy)
    cache = paths.hub_cache_dir()
    count = sum(1 for _ in cache.glob("models--*")) if cache.is_dir() else 0
    if count:
        yield Finding("Hub cache", "ok", f"{cache}: {count} repositories, used in place")


def _catalog() -> Iterator[Finding]:
    read_catalog(CATALOG)
    catalog = load_catalog()
    from_user = f", {len(catalog.user_aliases)} of them from {user_catalog_path()}" if catalog.user_aliases else ""
    lost = [entry for entry in catalog.entries if entry.path and not is_present(download_path(entry))]
    dangling = [(e.alias, name) for e in catalog.entries for name in e.requires if name not in catalog]
    if lost:
        remedy = f"set its new path: `animdiff models add {lost[0].alias} PATH --overwrite`"
        yield Finding("catalog", "note", f"`{lost[0].alias}` was not found at {lost[0].path}", remedy)
    elif dangling:
        alias, name = dangling[0]
        yield Finding(
            "catalog", "note", f"`{alias}` requires the unknown model `{name}`", f"edit {user_catalog_path()}"
        )
    else:
        yield Finding("catalog", "ok", f"{counted(len(catalog.entries), 'model')}{from_user}")


def _settings(environ: Mapping[str, str]) -> Iterator[Finding]:
    layer = env_layer(environ)
    resolve(GenerateConfig, [layer])
    names = sorted(layer.spelled.values())
    if names:
        yield Finding("settings", "note", f"{', '.join(names)} apply to every render", f"`unset {names[0]}` to undo")


def _tokens(environ: Mapping[str, str]) -> Iterator[Finding]:
    network = Network.from_environment(environ)
    hub, civitai = network.hub_token is not None, network.civitai_token is not None
    how = "needed only for gated models: `hf auth login` or `export HF_TOKEN=…`"
    yield Finding("Hub token", "ok", "present" if hub else "none", None if hub else how)
    how = "needed for Civitai: create a token in its account settings, then `export CIVITAI_TOKEN=…`"
    yield Finding("Civitai token", "ok", "present" if civitai else "none", None if civitai else how)


def _offline(environ: Mapping[str, str]) -> Iterator[Finding]:
    if is_offline(environ):
        yield Finding("offline", "note", "HF_HUB_OFFLINE is set: downloads are disabled", "`unset HF_HUB_OFFLINE`")
    else:
        yield Finding("offline", "ok", "off")
