"""Connect to a Ray cluster."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from animdiff_cli.errors import NetworkError, UsageError

INSTALL = "pip install 'animdiff[cluster]'"
START = "start one with `ray start --head`, or check the address"
ANSWER_S = 5.0
#: what an HTTP/2 client sends first (RFC 9113, section 3.4), with empty settings. A Ray cluster speaks gRPC, which is
#: HTTP/2, and answers with its settings; `ray.init` waits without end for anything else that accepts the connection.
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
SETTINGS = 4
#: Ray's default, for an address without a port
PORT = 6379


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to a Ray cluster: `auto`, `HOST:PORT` or `ray://HOST:PORT`. None does nothing.

    Raises `NetworkError` if nobody answers, `UsageError` if Ray is not installed.
    """
    if address is None:
        yield
        return
    if find_spec("ray") is None:
        raise UsageError("`--ray` needs the package `ray`", hint=INSTALL)
    _require_answer(_found(address))
    ray = load_ray()
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise NetworkError(f"cannot join the Ray cluster `{address}`: {reason}", hint=START) from error
    try:
        yield
    finally:
        ray.shutdown()


def load_ray() -> Any:
    """Import Ray, which is optional and slow to import."""
    return import_module("ray")


def _found(address: str) -> str:
    """Return the address of the cluster. `auto` is that of `RAY_ADDRESS`, or of a cluster on this machine."""
    if address != "auto":
        return address
    services = import_module("ray._private.services")  # what `ray.init` asks too
    try:
        return str(services.canonicalize_bootstrap_address_or_die("auto"))
    except ConnectionError as error:
        raise NetworkError("no Ray cluster runs on this machine", hint=START) from error


def _require_answer(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:
        host, port = port, str(PORT)
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S) as connection:
            connection.sendall(HTTP2_PREFACE)
            answer = connection.recv(9)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NetworkError(f"no Ray cluster answers at `{address}`: {reason.lower()}", hint=START) from error
    if len(answer) < 4 or answer[3] != SETTINGS:
        raise NetworkError(f"what answers at `{address}` is not a Ray cluster", hint=START)
