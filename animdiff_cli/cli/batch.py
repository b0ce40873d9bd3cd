"""`animdiff batch`: render many clips from one file."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from animdiff_cli.cli import batch_options as opt
from animdiff_cli.cli import batch_status
from animdiff_cli.cli.command import Command, Group
from animdiff_cli.cli.generate_options import OfflineOpt, OverwriteOpt
from animdiff_cli.cli.missing_weights import on_missing_weights
from animdiff_cli.cli.options import (
    ConfigOpt,
    DeviceOpt,
    EventsOpt,
    ModelOpt,
    PresetOpt,
    QuietOpt,
    SetOpt,
    ThreadsOpt,
)
from animdiff_cli.cli.out import print_out, print_paths
from animdiff_cli.cli.prompt_options import WildcardsOpt
from animdiff_cli.cli.stdin import read_stdin
from animdiff_cli.core.garbage import collection_paused, freeze_objects
from animdiff_cli.errors import UsageError
from animdiff_cli.weights.lean_imports import import_networks

if TYPE_CHECKING:
    from typer._click.core import Context


class BatchGroup(Group):
    """The commands of a batch. `batch FILE` is `batch run FILE`."""

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Put `run` before what is not a command."""
        return TyperGroup.parse_args(self, ctx, ["run", *args] if args and args[0] not in self.commands else args)


app = typer.Typer(cls=BatchGroup, no_args_is_help=True, help="Render many clips from one file: `animdiff batch FILE`.")
EPILOG = (
    "`animdiff batch FILE` is short for `animdiff batch run FILE`. `animdiff batch init` writes an example. "
    "Settings given here are defaults: what a job of the file sets itself wins."
)


@app.command(cls=Command, epilog=EPILOG)
def run(
    file: opt.FileArg,
    model: ModelOpt = None,
    only: opt.OnlyOpt = None,
    limit: opt.LimitOpt = None,
    retry: opt.RetryOpt = 0,
    keep_going: opt.KeepGoingOpt = True,
    shard: opt.ShardOpt = None,
    wildcards: WildcardsOpt = None,
    output: opt.OutputOpt = None,
    format: opt.FormatOpt = None,
    allow_date: opt.AllowDateOpt = False,
    overwrite: OverwriteOpt = False,
    device: DeviceOpt = "auto",
    devices: opt.DevicesOpt = None,
    workers: opt.WorkersOpt = None,
    ray: opt.RayOpt = None,
    threads: ThreadsOpt = None,
    preset: PresetOpt = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    offline: OfflineOpt = False,
    fetch: opt.FetchOpt = None,
    dry_run: opt.DryRunOpt = False,
    json_: EventsOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Render the clips of a file that are not there yet, and print the path of each file.

    The whole file is checked before weights load.
    """
    from animdiff_cli.jobs.batch.shards import parse_shard

    part = parse_shard(shard) if shard else None  # before torch is imported
    from animdiff_cli.config.yamlfile import read_text_file
    from animdiff_cli.jobs.batch.expand import DEFAULT_LIMIT
    from animdiff_cli.jobs.batch.resolve import BatchSettings, resolve_batch

    if offline and fetch:
        raise UsageError("--offline and --fetch cannot be combined", hint="use one of them")
    is_stdin = file == "-"
    text = read_stdin("animdiff batch - < prompts.txt") if is_stdin else read_text_file(Path(file))
    batch = resolve_batch(
        text,
        "stdin" if is_stdin else file,
        output=output,
        formats=format or [],
        settings=BatchSettings(preset, config, os.environ, set_ or [], {"model": model} if model else {}, wildcards),
        only=only or [],
        limit=limit or DEFAULT_LIMIT,
        allow_date=allow_date,
    )
    from animdiff_cli.cli.batch_progress import report_end, show_batch

    if not any((device not in ("auto", "cpu"), devices, workers, ray, part, overwrite, dry_run)):
        from animdiff_cli.jobs.batch.finished import finished_records

        if records := finished_records(batch):
            with show_batch(quiet=quiet, as_json=json_) as write:
                for record in records:
                    write(record)
            return
    with collection_paused():
        import_networks()
        from animdiff_cli.jobs.batch.crew import BatchOptions, worker_devices
        from animdiff_cli.jobs.batch.plan import plan_resolved_batch

        freeze_objects()
    options = BatchOptions(
        device=device,
        devices=tuple(name.strip() for name in (devices or "").split(",") if name.strip()),
        workers=workers,
        threads=threads,
        retry=retry,
        keep_going=keep_going,
        overwrite=overwrite,
        shard=part,
        ray=ray,
    )
    allowed = fetch is not False and not offline
    plan = plan_resolved_batch(
        batch,
        device=worker_devices(options)[0],
        on_missing=on_missing_weights(allowed=allowed, dry_run=dry_run, ask=False, quiet=quiet, as_json=json_),
    )
    if dry_run:
        from animdiff_cli.cli.batch_plan import print_batch
        from animdiff_cli.jobs.batch.resume import pending

        left, done = pending(plan, options.shard, overwrite=overwrite)
        print_batch(left, done, online=bool(fetch), as_json=json_, quiet=quiet)
        return
    from animdiff_cli.jobs.batch.run import run_batch

    with show_batch(quiet=quiet, as_json=json_) as write:
        result = run_batch(plan, options, write)
    report_end(result, plan.output, quiet=quiet)


app.command("status", cls=Command)(batch_status.status)


@app.command(cls=Command)
def init(
    file: Annotated[Path, typer.Argument(help="File to write; - prints it.", metavar="<file>")] = Path("batch.yaml"),
) -> None:
    """Write a commented example of a batch, which renders with the bundled model."""
    from animdiff_cli.jobs.batch.example import EXAMPLE, write_example

    if str(file) == "-":
        print_out(*EXAMPLE.read_text(encoding="utf-8").splitlines())
        return
    write_example(file)
    print_paths(file)
