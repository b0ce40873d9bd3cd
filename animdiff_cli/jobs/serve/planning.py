"""Check a request before it is queued, with the messages of `animdiff generate`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from animdiff_cli.config.layers import Layer, resolve
from animdiff_cli.config.presets import load_preset
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.formats import BY_SUFFIX, Format, format_of
from animdiff_cli.core.naming import output_name
from animdiff_cli.core.prompt_travel import texts_of
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.compatibility import missing_companion_loras
from animdiff_cli.jobs.missing_weights import refuse_missing
from animdiff_cli.jobs.render_plan import plan_renders
from animdiff_cli.jobs.serve.local_files import check_named_files
from animdiff_cli.jobs.serve.wire import RenderRequest
from animdiff_cli.outputs import check_output, output_paths


@dataclass(frozen=True, slots=True)
class Limits:
    """What requests may do."""

    output: Path  # folder of the files that are kept
    allowed: tuple[Path, ...] = ()  # folders whose files requests may name
    fetch: bool = False  # download missing weights


@dataclass(frozen=True, slots=True)
class Planned:
    """A request that passed every check. It holds no open files: a queue may be long."""

    config: GenerateConfig  # resolved and complete
    formats: tuple[Format, ...]
    name: str  # path below the output folder, without suffix
    keep: bool
    notes: tuple[str, ...] = field(default=())


def plan_request(request: RenderRequest, limits: Limits, device: str) -> Planned:
    """Resolve the settings of a request and check them as `animdiff generate` does. Raises `AnimdiffError`."""
    preset = [load_preset(request.preset).layer()] if request.preset else []
    layers = [*preset, Layer("request", request.settings, request.origins)]
    trusted = resolve(GenerateConfig, preset).values
    check_named_files(resolve(GenerateConfig, layers).values, limits.allowed, trusted)
    template, formats = _named_output(request)
    plan = plan_renders(layers, device=device, on_missing=_left_for_later if limits.fetch else refuse_missing)
    (config,) = plan.configs
    name = output_name(
        texts_of(config.prompt)[0], config.seed, datetime.now(), model=Path(config.model).stem, template=template
    )
    if any(part.startswith("-") for part in name.split("/")):
        raise UsageError(f"`{name}` begins with `-`, as options of programs do", hint="choose another `output`")
    for format, path in paths_within(limits.output, name, formats).items():
        check_output(path, format, config.fps)
    seed = (f"seed {config.seed}, drawn at random",) if plan.seeds_drawn else ()
    notes = (*plan.notes, *missing_companion_loras(plan.resolved.values), *seed)
    return Planned(config, formats, name, request.keep, notes)


def paths_within(folder: Path, name: str, formats: Sequence[Format]) -> dict[Format, Path]:
    """Return free paths below `folder`. Raises `UsageError` if a symlink in the name leads out of it."""
    paths = output_paths(folder / name, formats)
    for path in paths.values():
        if not path.parent.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"`{name}` leads out of the output folder", hint="choose another `output`")
    return paths


def _left_for_later(names: Sequence[str]) -> bool:
    """Leave missing weights to the render thread, so that the answer does not wait for a download."""
    return False


def _named_output(request: RenderRequest) -> tuple[str, tuple[Format, ...]]:
    """Return the template of a request without suffix, and its formats."""
    template = request.output
    suffix = Path(template).suffix
    formats: tuple[Format, ...] = tuple(dict.fromkeys(request.formats))
    if not suffix or "}" in suffix:
        return template, formats or ("gif",)
    named = BY_SUFFIX.get(suffix.lower()) or format_of(Path(template))
    if formats and named not in formats:
        raise UsageError(
            f"`output` asks for {named}, `formats` for {', '.join(formats)}",
            hint="leave the suffix out of `output`",
        )
    return template.removesuffix(suffix), formats or (named,)
