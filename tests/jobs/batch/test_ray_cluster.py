"""Addresses at which no Ray cluster answers. Clusters that run: `tests/full/test_batch_ray.py`."""

import importlib.util
import socket
import threading

import pytest

from animdiff_cli.errors import NetworkError, UsageError
from animdiff_cli.jobs.batch import ray_cluster
from animdiff_cli.jobs.batch.crew import BatchOptions, check_options
from animdiff_cli.jobs.batch.ray_cluster import connected

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra `cluster` is not installed")


@pytest.fixture
def listener():
    """A socket that accepts connections; yields it and its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server, f"127.0.0.1:{server.getsockname()[1]}"


@needs_ray
@pytest.mark.parametrize("form", ["{}", "ray://{}"])
def test_an_address_at_which_nobody_listens_is_reported_at_once(listener, form):
    server, address = listener
    server.close()
    with pytest.raises(NetworkError, match=r"no Ray cluster answers at `.*`: connection refused") as failure:
        connected(form.format(address)).__enter__()
    assert failure.value.exit_code == 4 and "ray start --head" in failure.value.hint


@needs_ray
def test_another_server_is_not_taken_for_a_cluster(listener):
    server, address = listener

    def answer():
        connection, _ = server.accept()
        with connection:
            connection.recv(100)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    with pytest.raises(NetworkError, match=r"what answers at .* is not a Ray cluster"):
        connected(address).__enter__()
    thread.join()


@needs_ray
def test_a_server_that_never_answers_is_given_up(listener, monkeypatch):
    monkeypatch.setattr(ray_cluster, "ANSWER_S", 0.1)
    with pytest.raises(NetworkError, match="timed out"):
        connected(listener[1]).__enter__()


@needs_ray
@pytest.mark.parametrize("address", ["nonsense", "host:port", "ray://"])
def test_what_is_no_address_is_reported(address):
    with pytest.raises(NetworkError, match="no Ray cluster answers at"):
        connected(address).__enter__()


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package `ray`") as failure:
        connected("auto").__enter__()
    assert failure.value.hint == "pip install 'animdiff[cluster]'"


def test_a_device_has_no_effect_on_a_cluster():
    with pytest.raises(UsageError, match="`--devices` has no effect with `--ray`"):
        check_options(BatchOptions(ray="auto", devices=("cuda:0",)))
