"""Choose the workers of a batch: how many, on which devices, with how many threads."""

from collections.abc import Sequence
from dataclasses import dataclass

from animdiff_cli.diffusion.device import plan_device, probe_machine
from animdiff_cli.errors import UsageError
from animdiff_cli.files.cpu_cores import usable_cores
from animdiff_cli.jobs.batch.ledger import Ledger
from animdiff_cli.jobs.batch.ray_workers import RayWorker, room
from animdiff_cli.jobs.batch.renderer import LocalRenderer
from animdiff_cli.jobs.batch.shards import Shard
from animdiff_cli.jobs.batch.worker_main import Setup
from animdiff_cli.jobs.batch.workers import HereWorker, ProcessWorker, Worker


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How a batch is run. None of it changes which frames come out, except `threads` on a CPU."""

    device: str = "auto"
    devices: tuple[str, ...] = ()  # one for each worker, in turn; in place of `device`
    workers: int | None = None  # processes; None: one for each of `devices`, or this process
    threads: int | None = None  # CPU threads of each worker; None: the cores are divided
    retry: int = 0  # further attempts of a job that fails
    keep_going: bool = True  # render the other jobs if one fails
    overwrite: bool = False  # replace files that this batch did not render
    shard: Shard | None = None
    ray: str | None = None  # `auto` or the address of a Ray cluster


def hire(options: BatchOptions, ledger: Ledger, count: int) -> list[Worker]:
    """Return the workers for `count` jobs: one in this process, or several processes.

    Raises `DeviceError` for a device that is missing.
    """
    if options.ray:
        taken = room(options.threads)
        names = map(str, range(1, min(options.workers or taken.workers, count) + 1))
        return [RayWorker(name, ledger, taken) for name in names]
    devices = worker_devices(options)[: max(count, 1)]
    threads = options.threads or (max(1, usable_cores().number // len(devices)) if len(devices) > 1 else None)
    if len(devices) == 1:
        return [HereWorker(None, ledger, LocalRenderer(devices[0], threads))]
    return [_process(str(number), device, threads, ledger) for number, device in enumerate(devices, start=1)]


def check_options(options: BatchOptions) -> None:
    """Raise `UsageError` for options that have no effect together."""
    if options.ray and (options.devices or options.device != "auto"):
        flag = "--devices" if options.devices else "--device"
        raise UsageError(
            f"`{flag}` has no effect with `--ray`: each worker gets a GPU of the cluster, or cores if it has none",
            hint=f"leave `{flag}` out",
        )


def replacement(worker: HereWorker) -> ProcessWorker:
    """Return a process for the tasks that this process can no longer render, because its GPU context is lost."""
    return _process(worker.name, worker.renderer.device, worker.renderer.threads, worker.ledger)


def _process(name: str | None, device: str, threads: int | None, ledger: Ledger) -> ProcessWorker:
    return ProcessWorker(Setup(name, ledger.folder, ledger.manifests.path.name, device, threads))


def worker_devices(options: BatchOptions) -> Sequence[str]:
    """Return the device of each worker. Without `devices`, the workers share out the GPUs of this machine.

    Raises `UsageError` for an unknown name, `DeviceError` for a device that is missing.
    """
    machine = probe_machine()
    devices = options.devices or (options.device,)
    planned = [plan_device(machine, device) for device in devices]
    count = options.workers or len(devices)
    gpus = len(machine.cuda_names)
    if not options.devices and options.device in ("auto", "cuda") and planned[0].kind == "cuda" and gpus > 1:
        devices = tuple(f"cuda:{index}" for index in range(gpus)) if count > 1 else devices
    return [devices[index % len(devices)] for index in range(count)]
