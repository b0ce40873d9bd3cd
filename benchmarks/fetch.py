"""Compare the downloader with `curl`: the same file from the same local server.

    python -m benchmarks.fetch --gib 2 --rounds 3

Prints seconds, CPU seconds, the ratio (1 is as fast as curl, more is faster) and peak memory, and appends them to
`benchmarks/results/fetch.jsonl`. curl only writes the bytes. The downloader also hashes them and keeps a journal for
resuming, which costs time if all cores are busy. `curl + sha256sum` is the equivalent in a shell script.
"""

import argparse
import json
import os
import platform
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import Process, Queue
from pathlib import Path
from typing import Any

from animdiff_cli.core.events import ignore
from animdiff_cli.fetch.network import Network
from animdiff_cli.fetch.remote import RemoteFile
from animdiff_cli.fetch.transfer import download_file

RESULTS = Path(__file__).with_name("results") / "fetch.jsonl"
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class _Run:
    """Measurements of one download."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int  # 0 if not measured


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, file: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.file = file

    def handle_error(self, *_: object) -> None:
        """Ignore clients that close the connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Do not log."""

    def do_GET(self) -> None:
        """Send the file or the requested range with sendfile, without copies in user space."""
        size = self.server.file.stat().st_size
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        start, stop = (int(match[1]), min(int(match[2]) + 1, size)) if match else (0, size)
        self.send_response(206 if match else 200)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", '"one"')
        if match:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        self.wfile.flush()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.server.file.open("rb") as file:
            while start < stop:
                start += os.sendfile(self.connection.fileno(), file.fileno(), start, min(stop - start, 8 * MIB))


def main() -> None:
    """Run the benchmark, print the medians and append them to the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2.0, help="size of the file")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each program")
    parser.add_argument("--folder", type=Path, default=None, help="where to write (default: the temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        result = _measure(Path(folder), round(args.gib * 1024), args.rounds)
    print(json.dumps(result, indent=2))
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(f"{json.dumps(result)}\n")


def _measure(folder: Path, mib: int, rounds: int) -> dict[str, Any]:
    source, target = folder / "source", folder / "target"
    sha256 = _make_source(source, mib)
    address: Queue[str] = Queue()
    server = Process(target=_serve, args=(source, address), daemon=True)
    server.start()
    url = address.get()
    programs: dict[str, Callable[[], _Run]] = {
        "curl": lambda: _run(["curl", "-s", "-o", str(target), url]),
        "curl + sha256sum": lambda: _run(["sh", "-c", f"curl -s -o {target} {url} && sha256sum {target}"]),
        "animdiff": lambda: _in_process(url, target, sha256),
    }
    runs: dict[str, list[_Run]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, run in programs.items():
            target.unlink(missing_ok=True)
            os.sync()  # the pages of the previous run must not be written during this one
            runs[name].append(run())
    server.terminate()
    return _summary(mib, runs)


def _summary(mib: int, runs: dict[str, list[_Run]]) -> dict[str, Any]:
    seconds = {name: statistics.median(run.seconds for run in each) for name, each in runs.items()}
    cpu_seconds = {name: statistics.median(run.cpu_seconds for run in each) for name, each in runs.items()}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}",
        "mib": mib,
        "rounds": len(runs["curl"]),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "cpu_seconds": {name: round(value, 2) for name, value in cpu_seconds.items()},
        "mib_per_s": {name: round(mib / value) for name, value in seconds.items()},
        "ratio_to_curl": round(seconds["curl"] / seconds["animdiff"], 2),
        "ratio_to_curl_and_sha256sum": round(seconds["curl + sha256sum"] / seconds["animdiff"], 2),
        "peak_mib": round(max(run.peak_bytes for run in runs["animdiff"]) / MIB),
    }


def _make_source(path: Path, mib: int) -> str:
    import hashlib

    digest, block = hashlib.sha256(), os.urandom(MIB)
    with path.open("wb") as file:
        for index in range(mib):
            chunk = index.to_bytes(8, "big") + block[8:]
            file.write(chunk)
            digest.update(chunk)
    return digest.hexdigest()


def _serve(source: Path, address: "Queue[str]") -> None:
    server = _Server(source)
    address.put(f"http://127.0.0.1:{server.server_port}/model.safetensors")
    server.serve_forever()


def _run(command: list[str]) -> _Run:
    """Run a program. Includes its start, a few milliseconds."""
    start_s = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed")
    return _Run(time.monotonic() - start_s, usage.ru_utime + usage.ru_stime, 0)


def _in_process(url: str, target: Path, sha256: str) -> _Run:
    """Run the downloader in a new process. Excludes the start of the interpreter."""
    output = subprocess.run(
        [sys.executable, "-c", "from benchmarks.fetch import child; child()", url, str(target), sha256],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    seconds, cpu_seconds, peak_bytes = output.split()
    return _Run(float(seconds), float(cpu_seconds), int(peak_bytes))


def child() -> None:
    """Download once and print seconds, CPU seconds and peak bytes. Called by `_in_process`."""
    url, target, sha256 = sys.argv[1:]
    start_s, start_cpu_s = time.monotonic(), time.process_time()
    download_file(RemoteFile(url, "model.safetensors", sha256=sha256), Path(target), Network(), ignore)
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(time.monotonic() - start_s, time.process_time() - start_cpu_s, peak_bytes)


if __name__ == "__main__":
    main()
