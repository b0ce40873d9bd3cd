"""The worker process of a batch. This file imports nothing heavy: threads are chosen before torch is imported."""

import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing import connection as connections
from multiprocessing import parent_process
from multiprocessing.connection import Connection

from animdiff_cli.core.stand_ins import hide_torchvision
from animdiff_cli.files.threads import prepare_threads
from animdiff_cli.storage.location import Location
from animdiff_cli.weights.lean_imports import import_networks


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker process needs to know once."""

    name: str | None
    folder: Location  # of outputs
    manifest: str
    device: str
    threads: int | None


def serve(setup: Setup, connection: Connection) -> None:
    """Render the tasks that arrive until the connection is closed. Sends records and the outcome of each.

    The process ends with its parent. Ctrl-C is left to the parent, also where the terminal sends it to both.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare_threads(setup.threads)
    hide_torchvision()
    import_networks()
    from animdiff_cli.jobs.batch.attempt import attempt
    from animdiff_cli.jobs.batch.ledger import Ledger
    from animdiff_cli.jobs.batch.renderer import LocalRenderer

    ledger = Ledger.at(setup.folder, setup.manifest)
    renderer = LocalRenderer(setup.device)
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            outcome = attempt(task, ledger, renderer, lambda record: connection.send((True, record)), setup.name)
        except Exception as error:  # the manifest cannot be written: the parent stops the batch
            connection.send((False, error))
            return
        connection.send((False, outcome))
        if outcome.is_broken:
            return


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connections.wait([parent.sentinel])
        os._exit(1)  # at once: the lock is free from now on, and another process may render the clip
