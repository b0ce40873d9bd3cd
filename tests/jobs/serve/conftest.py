"""A real server on the loopback interface, in a thread of this process, and requests to it."""

import json
import threading
import time
from dataclasses import replace
from queue import SimpleQueue

import pytest
import requests

from animdiff_cli.jobs.serve.planning import Limits
from animdiff_cli.jobs.serve.server import ServerSettings, serve

CLIP = {"model": "pocket", "prompt": "a red ball", "steps": 1, "num_frames": 2, "width": 64, "height": 64, "seed": 1}
SMALL = CLIP | {"formats": ["apng"]}
#: renders for minutes unless it is cancelled
ENDLESS = SMALL | {"steps": 999}


class Server:
    """A running server: `get`, `post` and `delete` send requests to it."""

    def __init__(self, running, thread, output):
        self.address, self.is_registered, self.stop = running.address, running.is_registered, running.stop
        self.thread, self.output = thread, output
        self._session = requests.Session()

    def request(self, method, path, **given):
        return self._session.request(method, self.address.url + path, timeout=60, **given)

    def get(self, path, **given):
        return self.request("GET", path, **given)

    def post(self, body, **given):
        return self.request("POST", "/render", json=body, **given)

    def delete(self, job):
        return self.request("DELETE", f"/jobs/{job}")

    def queue(self, body):
        """Queue a render; returns the identity of its job."""
        answer = self.post(body)
        assert answer.status_code == 202, answer.text
        return answer.json()["job"]

    def job(self, job):
        return self.get(f"/jobs/{job}").json()

    def events(self, job, **headers):
        """Read the records of a job until it is finished."""
        answer = self.get(f"/jobs/{job}/events", stream=True, headers=headers)
        assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
        lines = answer.iter_lines(decode_unicode=True)
        return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]

    def render(self, **settings):
        """Render a clip to its end; returns the job and its records."""
        job = self.queue(SMALL | settings)
        records = self.events(job)
        return self.job(job), records

    def wait_until_started(self, job):
        while self.job(job)["state"] == "queued":
            time.sleep(0.01)


@pytest.fixture(scope="module")
def start_server(tmp_path_factory):
    """Start servers that are stopped after the module; pass what differs from the default settings."""
    started = []

    def start(**settings):
        output = tmp_path_factory.mktemp("served")
        limits = replace(Limits(output), **settings.pop("limits", {}))
        given = ServerSettings(limits, devices=("cpu",), **settings)
        ready = SimpleQueue()
        thread = threading.Thread(target=lambda: serve(given, ready=ready.put, watch=lambda record: None), daemon=True)
        thread.start()
        server = Server(ready.get(timeout=60), thread, output)
        started.append(server)
        return server

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANIMDIFF_STATE", str(tmp_path_factory.mktemp("state")))
        yield start
        for server in started:
            server.stop()
            server.stop()
            server.thread.join(30)
            assert not server.thread.is_alive()


@pytest.fixture(scope="module")
def server(start_server):
    """A server with default settings, but a queue of one."""
    return start_server(max_queued=1)
