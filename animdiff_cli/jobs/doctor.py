"""What a render stands on, examined: each thing with what was found, and what to do if it is not right."""

import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from animdiff_cli import paths
from animdiff_cli.config.layers import resolve
from animdiff_cli.config.load import env_layer
from animdiff_cli.core.formats import FORMATS
from animdiff_cli.errors import AnimdiffError, DeviceError, NotFound, UsageError
from animdiff_cli.fetch.disk import format_bytes, free_bytes, readable_failures
from animdiff_cli.fetch.network import Network
from animdiff_cli.outputs.ffmpeg import list_encoders
from animdiff_cli.registry.catalog import CATALOG, load_catalog, read_catalog, user_catalog_path
from animdiff_cli.registry.model_dirs import ModelDir, download_path, is_present

Status = Literal["ok", "note", "broken"]
#: a checkpoint and its motion module
ROOM_FOR_ONE = 4_000_000_000
REINSTALL = "run `pip install --force-reinstall {}`"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `remedy` is what to do about anything that is not `ok`."""

    what: str
    status: Status
    found: str
    remedy: str | None = None
    exit_code: int = 0  # of what is broken

    def record(self) -> dict[str, Any]:
        """List everything under its name, for JSON."""
        return asdict(self)


def examine(environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Look at everything a render needs, one thing after the other; what is broken stops nothing."""
    checks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("python", _python),
        ("torch", _torch),
        ("memory", _memory),
        ("ffmpeg", _ffmpeg),
        ("miniature", _miniature),
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
            # a part of the installation that is missing is no bug of the program
            code = error.exit_code if error.exit_code > 1 else NotFound.exit_code
            yield Finding(what, "broken", str(error), error.hint, code)


def _python() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Finding("animdiff", "ok", f"{version('animdiff')} at {paths.PACKAGE}")


def _torch() -> Iterator[Finding]:
    try:
        import torch

        from animdiff_cli.diffusion.device import plan_device, probe_machine
    except (ImportError, OSError) as error:
        raise DeviceError(f"torch cannot be loaded: {error}", hint=REINSTALL.format("torch")) from error
    others = ", ".join(f"{name} {version(name)}" for name in ("diffusers", "transformers"))
    yield Finding("torch", "ok", f"{torch.__version__}; {others}")
    machine = probe_machine()
    plan = plan_device(machine)
    if plan.kind == "cpu":
        found = f"cpu, {torch.get_num_threads()} threads, {plan.dtype}"
        yield Finding("device", "note", found, "large models are slow without a GPU; the bundled miniature is not")
        return
    names = machine.cuda_names or ("Apple GPU",)
    yield Finding("device", "ok", f"{plan.device}: {names[plan.index]}, {plan.dtype}")
    if plan.kind == "cuda":
        free, total = torch.cuda.mem_get_info(plan.device)
        yield Finding("GPU memory", "ok", f"{format_bytes(free)} free of {format_bytes(total)}")


def _memory() -> Iterator[Finding]:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not told on this system
        return
    found = f"{format_bytes(pages * size)}"
    free = _available()
    yield Finding("memory", "ok", f"{format_bytes(free)} free of {found}" if free is not None else found)


def _available() -> int | None:
    """Bytes that can be had without swapping, where Linux tells."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None


def _ffmpeg() -> Iterator[Finding]:
    told, encoders = list_encoders()
    needed = {name: row.encoder for name, row in FORMATS.items() if row.encoder}
    missing = [name for name, encoder in needed.items() if encoder not in encoders]
    if missing:
        remedy = REINSTALL.format("imageio-ffmpeg")
        yield Finding(
            "ffmpeg", "broken", f"{told}, without the encoder of {', '.join(missing)}", remedy, NotFound.exit_code
        )
        return
    yield Finding("ffmpeg", "ok", f"{told}; {', '.join(needed.values())}")


def _miniature() -> Iterator[Finding]:
    for alias in ("pocket", "pocket-motion"):
        entry = next(entry for entry in read_catalog(CATALOG).entries if entry.alias == alias)
        if not is_present(download_path(entry)):
            raise NotFound(f"`{alias}` is missing from this installation", hint=REINSTALL.format("animdiff"))
    yield Finding("miniature", "ok", "here")


def _models() -> Iterator[Finding]:
    folder = paths.models_dir()
    with readable_failures(folder):
        free = free_bytes(folder)
        _require_writable(folder)
        count = len(ModelDir(folder, is_own=True).weights)
    found = f"{folder}: {count} model{'s' * (count != 1)}, {format_bytes(free)} free on the disk"
    if free < ROOM_FOR_ONE:
        remedy = "free some space, or choose another disk: `export ANIMDIFF_MODELS=…`"
        yield Finding("models", "note", found, remedy)
    else:
        yield Finding("models", "ok", found)


def _require_writable(folder: Path) -> None:
    """Raise UsageError where nothing can be put into a folder, or made where it is to be."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        hint = "choose another: `export ANIMDIFF_MODELS=…`"
        raise UsageError(f"{there} takes no files: {said}", hint=hint) from error


def _other_folders() -> Iterator[Finding]:
    for folder in paths.extra_models_dirs():
        if not os.access(folder, os.R_OK | os.X_OK) or not folder.is_dir():
            why = "may not be read" if folder.exists() else "is not there"
            yield Finding("other folder", "note", f"{folder} {why}", "correct `ANIMDIFF_EXTRA_MODELS`, or unset it")
            continue
        count = len(ModelDir(folder).weights)
        remedy = None if count else "name the program's folder, or the one its models are in"
        yield Finding("other folder", "ok" if count else "note", f"{folder}: {count} models", remedy)
    cache = paths.hub_cache_dir()
    count = sum(1 for _ in cache.glob("models--*")) if cache.is_dir() else 0
    if count:
        yield Finding("Hub cache", "ok", f"{cache}: {count} repositories, used from there")


def _catalog() -> Iterator[Finding]:
    read_catalog(CATALOG)
    catalog = load_catalog()
    own = f", {len(catalog.user_aliases)} of your own in {user_catalog_path()}" if catalog.user_aliases else ""
    lost = [entry for entry in catalog.entries if entry.path and not is_present(download_path(entry))]
    dangling = [(e.alias, name) for e in catalog.entries for name in e.requires if name not in catalog]
    if lost:
        remedy = f"say where it is now: `animdiff models add {lost[0].alias} PATH --overwrite`"
        yield Finding("catalog", "note", f"`{lost[0].alias}` should be at {lost[0].path}, and is not", remedy)
    elif dangling:
        alias, name = dangling[0]
        yield Finding(
            "catalog", "note", f"`{alias}` needs `{name}`, which nobody knows", f"correct {user_catalog_path()}"
        )
    else:
        yield Finding("catalog", "ok", f"{len(catalog.entries)} models{own}")


def _settings(environ: Mapping[str, str]) -> Iterator[Finding]:
    layer = env_layer(environ)
    resolve([layer])
    names = sorted(layer.spelled.values())
    if names:
        yield Finding("settings", "note", f"{', '.join(names)} apply to every render", f"`unset {names[0]}` to undo")


def _tokens(environ: Mapping[str, str]) -> Iterator[Finding]:
    network = Network.from_environment(environ)
    hub, civitai = network.hub_token is not None, network.civitai_token is not None
    how = "only for gated models: `hf auth login` or `export HF_TOKEN=…`"
    yield Finding("Hub token", "ok", "present" if hub else "none", None if hub else how)
    how = "to fetch from Civitai: `export CIVITAI_TOKEN=…`, made under account settings there"
    yield Finding("Civitai token", "ok", "present" if civitai else "none", None if civitai else how)


def _offline(environ: Mapping[str, str]) -> Iterator[Finding]:
    if Network.from_environment(environ).offline:
        yield Finding("offline", "note", "HF_HUB_OFFLINE is set: nothing is fetched", "`unset HF_HUB_OFFLINE`")
    else:
        yield Finding("offline", "ok", "off")
