"""`animdiff serve` as a process: under load, and at signals."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.jobs.serve.conftest import ENDLESS, SMALL

pytestmark = pytest.mark.full

REQUESTS, AT_ONCE = 500, 8


class Process:
    """A server in a process of its own."""

    def __init__(self, folder):
        self.state = folder / "state"
        environ = os.environ | {"ANIMDIFF_STATE": str(self.state), "ANIMDIFF_CACHE": str(folder / "cache")}
        words = [sys.executable, "-m", "animdiff_cli", "serve", "--port", "0", "-o", str(folder / "served")]
        restored = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ, **restored
        )
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://"), self.process.communicate()

    @property
    def memory(self):
        """Resident memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1000

    def leave(self, *signals, timeout=60):
        """Send signals; returns the exit code and what was printed to stderr."""
        for number in signals:
            self.process.send_signal(number)
        _, stderr = self.process.communicate(timeout=timeout)
        return self.process.returncode, stderr


@pytest.fixture
def server(tmp_path):
    """A running server."""
    process = Process(tmp_path)
    yield process
    process.process.kill()
    process.process.communicate()


def render(server, session, seed):
    """Render a clip, download it, and return its hash."""
    while (
        answer := session.post(f"{server.url}/render", json=SMALL | {"seed": seed, "keep": False})
    ).status_code == 429:
        pass
    assert answer.status_code == 202, answer.text
    job = f"{server.url}/jobs/{answer.json()['job']}"
    stream = session.get(f"{job}/events", stream=True)
    records = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith(b"data: ")]
    assert records[-1]["event"] == "done", records[-1]
    assert records[-1]["config"]["seed"] == seed
    (file,) = session.get(job).json()["files"]
    content = session.get(f"{job}/files/{file['path']}").content
    assert hashlib.sha256(content).hexdigest() == file["sha256"]
    session.delete(job)
    return file["sha256"]


def test_500_requests_8_at_a_time_lose_nothing_and_memory_stays_flat(server):
    sessions = [requests.Session() for _ in range(AT_ONCE)]
    memory = {}

    def client(number):
        hashes = []
        for seed in range(number, REQUESTS, AT_ONCE):
            hashes.append(render(server, sessions[number], seed))
            if number == 0:
                memory[seed] = server.memory
        return hashes

    with ThreadPoolExecutor(AT_ONCE) as pool:
        hashes = [digest for found in pool.map(client, range(AT_ONCE)) for digest in found]
    assert len(hashes) == len(set(hashes)) == REQUESTS
    health = requests.get(f"{server.url}/health").json()
    assert (health["queued"], health["running"], health["models"]) == (0, 0, 1)
    assert requests.get(f"{server.url}/jobs").json() == []
    seeds = sorted(memory)
    start, middle, end = (memory[seeds[at]] for at in (len(seeds) // 10, len(seeds) // 2, -1))
    print(f"memory: {start:.0f} MB after {seeds[len(seeds) // 10]}, {middle:.0f} MB after 250, {end:.0f} MB after 500")
    assert end < 1.03 * start
    assert server.leave(signal.SIGTERM)[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_finishes_the_clip_and_two_do_not(server, number):
    job = requests.post(f"{server.url}/render", json=SMALL | {"steps": 40}).json()["job"]
    stream = requests.get(f"{server.url}/jobs/{job}/events", stream=True).iter_lines()
    next(line for line in stream if b'"event":"step"' in line.replace(b" ", b""))
    code, stderr = server.leave(number)
    assert code == 0 and f"{job} done in" in stderr and "Traceback" not in stderr
    assert [path for path in server.state.iterdir() if path.suffix == ".json"] == []


def test_two_signals_leave_at_once(server):
    job = requests.post(f"{server.url}/render", json=ENDLESS).json()["job"]
    stream = requests.get(f"{server.url}/jobs/{job}/events", stream=True).iter_lines()
    next(line for line in stream if b'"event":"step"' in line.replace(b" ", b""))
    server.process.send_signal(signal.SIGINT)
    while requests.get(f"{server.url}/health").json()["status"] != "stopping":
        pass
    code, stderr = server.leave(signal.SIGINT, timeout=20)
    assert code == 130 and "Traceback" not in stderr
