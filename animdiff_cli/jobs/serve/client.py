"""Requests to a running server."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from requests.auth import AuthBase

from animdiff_cli.core.urls import is_unencrypted, is_valid_url
from animdiff_cli.errors import AnimdiffError, IntegrityError, NetworkError, UsageError
from animdiff_cli.files.untrusted import parse_json
from animdiff_cli.jobs.serve.registration import START_HINT, Address, find_running
from animdiff_cli.jobs.serve.wire import error_of

TIMEOUT = (5, 60)  # seconds to connect, and between two packets: a stream of events has one every 15 seconds
RECONNECTS = 5
MAX_ANSWER = 16 << 20  # bytes


class Busy(AnimdiffError):
    """The server takes no job now."""

    exit_code = 4

    def __init__(self, message: str, *, hint: str | None = None, seconds: float = 1.0) -> None:
        super().__init__(message, hint=hint)
        self.seconds = seconds  # after which to try again


class _Bearer(AuthBase):
    """Send the token. An explicit auth stops requests from reading `~/.netrc`."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def address_of(server: str, *, token: str | None, allow_http: bool) -> Address:
    """Return the address that `--via` names: `auto` is the running server of this user on this machine.

    Raises `NotFound` if none runs, `UsageError` for what is no URL, or one that would send the token unencrypted.
    """
    if server == "auto":
        return find_running()
    if not is_valid_url(server) or urlsplit(server).scheme not in ("http", "https"):
        raise UsageError(
            f"`--via {server}` is not a URL", hint="use `--via auto`, or the URL that the server has printed"
        )
    if is_unencrypted(server) and not allow_http:
        raise UsageError(
            f"`--via {server}` is not encrypted",
            hint="use `https:` or an ssh tunnel, or allow it: `export ANIMDIFF_ALLOW_HTTP=1`",
        )
    return Address(server.rstrip("/"), token)


class ServerClient:
    """A server. Its errors are raised as those of a render on this machine."""

    def __init__(self, address: Address) -> None:
        """Talk to the server at `address`. Nothing is sent yet."""
        self._address = address
        self._session = requests.Session()
        self._session.auth = _Bearer(address.token)
        # a proxy of the environment cannot reach this machine's own loopback interface
        self._session.trust_env = is_unencrypted(f"http://{urlsplit(address.url).netloc}")

    def submit(self, request: Mapping[str, Any]) -> str:
        """Queue a render and return the identity of its job. Raises `Busy` if the queue is full."""
        body = json.dumps(request).encode()
        answer = self._request("POST", "/render", data=body, headers={"Content-Type": "application/json"})
        return str(answer["job"])

    def job(self, job: str) -> Mapping[str, Any]:
        """Return a job."""
        found: Mapping[str, Any] = self._request("GET", f"/jobs/{job}")
        return found

    def cancel(self, job: str) -> None:
        """Cancel a job, or forget a finished one."""
        self._request("DELETE", f"/jobs/{job}")

    def events(self, job: str) -> Iterator[Mapping[str, Any]]:
        """Yield the event records of a job until it is finished. A lost connection is taken up again."""
        last = "0"
        for left in reversed(range(RECONNECTS)):
            try:
                with self._open("GET", f"/jobs/{job}/events", stream=True, headers={"Last-Event-ID": last}) as answer:
                    for number, record in _records(answer):
                        last = number
                        yield record
                        if record.get("event") in ("done", "failed", "interrupted"):
                            return
            except requests.RequestException as error:
                if not left:
                    raise self._lost(error) from error
            time.sleep(0.2)
        raise NetworkError(f"{self._address.url} has ended the job without a result", hint="see the log of the server")

    def download(self, job: str, file: Mapping[str, Any], to: Path) -> None:
        """Write one of the files of a job to `to`. Raises `IntegrityError` if it is not what the server has hashed."""
        digest = hashlib.sha256()
        try:
            with (
                self._open("GET", f"/jobs/{job}/files/{quote(file['path'])}", stream=True) as answer,
                to.open("wb") as out,
            ):
                for chunk in answer.iter_content(1 << 20):
                    digest.update(chunk)
                    out.write(chunk)
        except requests.RequestException as error:
            raise self._unreachable(error) from error
        if digest.hexdigest() != file["sha256"]:
            raise IntegrityError(f"`{file['path']}` was damaged on the way from the server", hint="render it again")

    def _request(self, method: str, path: str, **given: Any) -> Any:
        try:
            with self._open(method, path, **given) as answer:
                return parse_json(answer.content)
        except requests.RequestException as error:
            raise self._unreachable(error) from error
        except ValueError as error:
            raise self._stranger() from error

    def _open(self, method: str, path: str, **given: Any) -> requests.Response:
        """Send a request and return an answer that is not an error. Raises `AnimdiffError`, `RequestException`."""
        url = self._address.url + path
        answer = self._session.request(method, url, timeout=TIMEOUT, allow_redirects=False, **given)
        if answer.status_code < 300:
            return answer
        try:
            record = parse_json(answer.content)
        except ValueError:
            record = None
        if not isinstance(record, dict) or "error" not in record:
            raise self._stranger()
        if answer.status_code in (429, 503):
            raise Busy(str(record["error"]), hint=record.get("hint"))
        if answer.status_code in (401, 403, 421):
            hint = "set the token of the server: `export ANIMDIFF_TOKEN=…`" if answer.status_code == 401 else None
            raise NetworkError(f"{self._address.url}: {record['error']}", hint=hint or record.get("hint"))
        raise error_of(record)

    def _unreachable(self, error: requests.RequestException) -> NetworkError:
        if isinstance(error, requests.exceptions.SSLError):
            return NetworkError(f"{self._address.url}: its certificate is not trusted", hint="see `REQUESTS_CA_BUNDLE`")
        return NetworkError(f"no answer from {self._address.url}", hint=START_HINT)

    def _lost(self, error: requests.RequestException) -> NetworkError:
        if isinstance(error, requests.exceptions.SSLError):
            return self._unreachable(error)
        hint = "start the server again, then run the command again: finished clips are kept"
        return NetworkError(f"{self._address.url} has stopped answering while it rendered", hint=hint)

    def _stranger(self) -> NetworkError:
        return NetworkError(
            f"{self._address.url} does not answer as `animdiff serve`", hint="check the URL and the port"
        )


def _records(answer: requests.Response) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Read a stream of server-sent events: the number and the record of each."""
    number, data = "0", ""
    for line in answer.iter_lines():
        text = line.decode("utf-8", errors="replace")
        if text.startswith("data:"):
            data += text.removeprefix("data:")
        elif text.startswith("id:"):
            number = text.removeprefix("id:").strip()
        elif not text and data:
            record = parse_json(data)
            if isinstance(record, dict):
                yield number, record
            data = ""
