"""Run the server: bind, register, serve, and stop without losing the clip that is rendered."""

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import FrameType

import uvicorn

from animdiff_cli import paths
from animdiff_cli.core.event_records import Record
from animdiff_cli.diffusion.device import plan_device, probe_machine
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.serve.access import LOOPBACK_NAMES, AccessGuard
from animdiff_cli.jobs.serve.app import create_app
from animdiff_cli.jobs.serve.planning import Limits, plan_request
from animdiff_cli.jobs.serve.queue import RenderQueue
from animdiff_cli.jobs.serve.registration import Address, registered
from animdiff_cli.jobs.serve.render import render_job
from animdiff_cli.jobs.serve.warm import WarmModels
from animdiff_cli.jobs.serve.wire import RenderRequest

#: seconds that clients have to get the files of finished jobs before a stopping server removes them
COLLECT_SECONDS = 10
FAREWELL_SECONDS = 0.2
MAX_CONNECTIONS = 256
MIN_TOKEN = 16


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What `animdiff serve` was started with."""

    limits: Limits
    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    token: str | None = None
    devices: tuple[str, ...] = ("auto",)
    keep: int = 2  # sets of weights per device
    max_queued: int = 100


@dataclass(frozen=True, slots=True)
class Running:
    """A server that accepts requests."""

    address: Address
    is_registered: bool  # so that `--via auto` finds it
    stop: Callable[[], None]  # finish the running clip, then leave; from any thread


def serve(settings: ServerSettings, *, ready: Callable[[Running], None], watch: Callable[[Record], None]) -> bool:
    """Serve until a signal or `Running.stop`. Returns False if a second signal has cut a clip short.

    `watch` gets every event record. Raises `UsageError` for a host without token or a port that is taken, `DeviceError`
    for a missing device.
    """
    check_access(settings.host, settings.token)
    for device in settings.devices:
        plan_device(probe_machine(), device)
    with _listening(settings.host, settings.port) as listener, _temporary() as temporary:
        _import_libraries(settings)
        return asyncio.run(_serve(settings, listener, temporary, ready, watch))


def _import_libraries(settings: ServerSettings) -> None:
    """Plan a clip of the bundled model, which imports what a render imports. The first request would wait for it."""
    plan_request(RenderRequest.of({"model": "pocket", "prompt": "any"}), settings.limits, settings.devices[0])


def check_access(host: str, token: str | None) -> None:
    """Raise `UsageError` for a server that others can reach without a token, or with one that can be guessed."""
    if token is not None and (len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
        raise UsageError(
            f"the token must have {MIN_TOKEN} characters or more, letters and digits",
            hint="export ANIMDIFF_TOKEN=$(openssl rand -hex 16)",
        )
    if token is None and host not in LOOPBACK_NAMES:
        raise UsageError(
            f"`--host {host}` can be reached by others, and there is no token",
            hint="export ANIMDIFF_TOKEN=$(openssl rand -hex 16)",
        )


async def _serve(
    settings: ServerSettings,
    listener: socket.socket,
    temporary: Path,
    ready: Callable[[Running], None],
    watch: Callable[[Record], None],
) -> bool:
    limits = settings.limits
    models = [WarmModels(device, settings.keep, fetch=limits.fetch) for device in settings.devices]
    renders = [partial(render_job, models=held, output=limits.output, temporary=temporary) for held in models]
    queue = RenderQueue(renders, limit=settings.max_queued, watch=watch)
    app = create_app(
        queue,
        lambda request: plan_request(request, limits, settings.devices[0]),
        version=version("animdiff"),
        num_models=lambda: sum(map(len, models)),
    )
    hosts = LOOPBACK_NAMES if settings.host in LOOPBACK_NAMES else None
    guarded = AccessGuard(app, token=settings.token, hosts=hosts)
    address = Address(_url(settings.host, listener), settings.token)
    server = _Server(
        uvicorn.Config(
            guarded,
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=COLLECT_SECONDS,
        ),
        queue,
        asyncio.get_running_loop(),
    )
    with registered(address) as is_registered:
        async with _working(queue):
            ready(Running(address, is_registered, lambda: server.handle_exit(0, None)))
            await server.serve(sockets=[listener])
    queue.forget_all()
    return server.signals < 2


class _Server(uvicorn.Server):
    """A server that finishes the running clip at the first signal, and stops at the second."""

    def __init__(self, config: uvicorn.Config, queue: RenderQueue, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(config)
        self.signals = 0
        self._queue, self._loop = queue, loop
        self._stopping: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.signals += 1
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self.stop if self.signals == 1 else self.stop_now)

    def stop(self) -> None:
        """Take no more jobs, and leave when the running clip is finished and its client has it."""
        self._queue.stop()
        self._stopping = self._loop.create_task(self._leave_when_idle())

    def stop_now(self) -> None:
        """End the running clip and leave as soon as its client knows."""
        self._queue.abandon_running()
        self._loop.call_later(FAREWELL_SECONDS, self._leave_now)

    def _leave_now(self) -> None:
        self.should_exit = self.force_exit = True

    async def _leave_when_idle(self) -> None:
        await self._queue.idle()
        for _ in range(10 * COLLECT_SECONDS):
            if not self._queue.is_awaited:
                break
            await asyncio.sleep(0.1)
        self.should_exit = True


@asynccontextmanager
async def _working(queue: RenderQueue) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.work())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"cannot listen on {host}, port {port}: {reason.lower()}", hint="use `--port 0` for any free port"
        ) from error
    with listener:
        yield listener


@contextmanager
def _temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=paths.TEMPORARY, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _url(host: str, listener: socket.socket) -> str:
    """Return the URL at which this machine reaches the server."""
    port = listener.getsockname()[1]
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"
