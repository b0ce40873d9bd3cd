"""A local HTTP server that imitates the Hub, Civitai and storage hosts, with optional faults."""

import hashlib
import json
import re
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BLOCK = 16 << 10


@dataclass(frozen=True)
class Fault:
    """A fault in one response."""

    cut_after: int | None = None  # bytes of the body, then the connection is closed
    stall_after: int | None = None  # bytes of the body, then nothing more is sent
    status: int | None = None
    headers: dict = field(default_factory=dict)
    swap: bytes | None = None  # replaces the file from this response on
    shift: int = 0  # offset in bytes between the requested range and the one sent


@dataclass(frozen=True)
class File:
    """A file on the server, and how the server serves it."""

    data: bytes
    ranges: bool = True
    etag: bool = True
    length: bool = True  # send Content-Length; otherwise the body is chunked, or ends with the connection
    chunked: bool = False
    claimed: int | None = None  # a wrong length to report
    headers: dict = field(default_factory=dict)
    token: str | None = None  # required to download the file
    redirect: str | None = None
    seconds_per_block: float = 0.0


@dataclass(frozen=True)
class Request:
    """A received request."""

    method: str
    path: str
    range: str | None
    authorization: str | None


class Site(ThreadingHTTPServer):
    """Serve `files` by path until closed. Each GET of a file uses up one fault; `requests` records all requests."""

    daemon_threads = True
    request_queue_size = 64
    host = "127.0.0.1"

    def __init__(self):
        super().__init__((self.host, 0), _Handler)
        self.files: dict[str, File] = {}
        self.faults: deque[Fault] = deque()
        self.errors: dict[str, tuple[int, str]] = {}  # path → status and the Hub's X-Error-Code
        self.requests: list[Request] = []
        self.sent = 0  # bytes of all response bodies
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.server_port}"

    def put(self, path: str, data: bytes = b"", **options) -> str:
        """Add a file and return its URL."""
        self.files[path] = File(data, **options)
        return self.url + path

    def put_json(self, path: str, content: object) -> str:
        return self.put(path, json.dumps(content).encode(), headers={"Content-Type": "application/json"})

    def put_repository(self, repo: str, files: dict[str, bytes], storage: "Site", *, commit="c0ffee" * 6 + "beef"):
        """Add a Hub repository, with large files on a storage host. Returns the commit."""
        siblings = []
        for name, data in files.items():
            large = name.endswith((".safetensors", ".ckpt", ".bin"))
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            sha256 = hashlib.sha256(data).hexdigest()
            lfs = {"lfs": {"sha256": sha256, "size": len(data), "pointerSize": 130}} if large else {}
            siblings.append({"rfilename": name, "size": len(data), "blobId": blob, **lfs})
            headers = {"X-Repo-Commit": commit}
            for revision in ("main", commit):
                path = f"/{repo}/resolve/{revision}/{name}"
                if large:
                    target = storage.put(f"/blobs/{sha256}", data)
                    linked = {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(data))}
                    self.put(path, redirect=target, headers=headers | linked)
                else:
                    self.put(path, data, headers=headers | {"ETag": f'"{blob}"'})
        info = {"id": repo, "modelId": repo, "sha": commit, "siblings": siblings, "tags": [], "private": False}
        for revision in ("", "/revision/main", f"/revision/{commit}"):
            self.put_json(f"/api/models/{repo}{revision}", info)
        return commit

    def put_version(self, number: int, name: str, data: bytes, *, sha256: str | None = None, **options):
        """Add a model version of Civitai."""
        address = self.put(f"/api/download/models/{number}", data, **options)
        file = {
            "name": name,
            "type": "Model",
            "primary": True,
            "sizeKB": len(data) / 1024,
            "hashes": {"SHA256": (sha256 or hashlib.sha256(data).hexdigest()).upper()},
            "downloadUrl": address,
        }
        self.put_json(f"/api/v1/model-versions/{number}", {"id": number, "files": [file], "downloadUrl": address})

    def get_requests(self, path: str) -> list[Request]:
        """List the GET requests for a path."""
        return [request for request in self.requests if request.path == path and request.method == "GET"]

    def handle_error(self, request, client_address):
        """Ignore clients that close the connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def log_message(self, *_):
        """Do not log."""

    def do_HEAD(self):
        self._respond(body=False)

    def do_GET(self):
        self._respond(body=True)

    def _respond(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        with self.server.lock:
            self.server.requests.append(
                Request(self.command, path, self.headers.get("Range"), self.headers.get("Authorization"))
            )
            file = self.server.files.get(path)
            can_fail = file is not None and not file.redirect and "/api/v1" not in path and body
            fault = self.server.faults.popleft() if self.server.faults and can_fail else Fault()
            if fault.swap is not None and file is not None:
                file = self.server.files[path] = replace(file, data=fault.swap)
        if path in self.server.errors:
            status, code = self.server.errors[path]
            self._head(status, {"Content-Length": "0", "X-Error-Code": code, "X-Error-Message": "no"})
        elif file is None:
            self._head(404, {"Content-Length": "0", "X-Error-Code": "EntryNotFound"})
        elif fault.status:
            self._head(fault.status, {"Content-Length": "0"} | fault.headers)
        elif file.token and self.headers.get("Authorization") != f"Bearer {file.token}":
            self._head(401, {"Content-Length": "0"})
        elif file.redirect:
            self._head(302, {"Location": file.redirect, "Content-Length": "0"} | file.headers)
        else:
            self._send(file, fault, body)

    def _send(self, file: File, fault: Fault, body: bool) -> None:
        size = len(file.data)
        start, stop, status, headers = 0, size, 200, {"Content-Type": "application/octet-stream"}
        if file.etag:
            headers["ETag"] = f'"{hashlib.md5(file.data).hexdigest()}"'
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if match and file.ranges:
            start = int(match[1])
            if start >= size:
                self._head(416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"})
                return
            stop = min(int(match[2]) + 1 if match[2] else size, size)
            start = min(start + fault.shift, stop)
            status, headers["Content-Range"] = 206, f"bytes {start}-{stop - 1}/{file.claimed or size}"
        if file.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif file.length:
            content_length = file.claimed if file.claimed is not None and status == 200 else stop - start
            headers["Content-Length"] = str(content_length)
        else:
            headers["Connection"] = "close"
        self._head(status, headers | file.headers | fault.headers)
        if body:
            self._body(file, fault, start, stop)

    def _body(self, file: File, fault: Fault, start: int, stop: int) -> None:
        limit = min((n for n in (fault.cut_after, fault.stall_after) if n is not None), default=stop - start)
        for at in range(start, min(start + limit, stop), BLOCK):
            block = file.data[at : min(at + BLOCK, start + limit, stop)]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block) if file.chunked else block)
            with self.server.lock:
                self.server.sent += len(block)
            if file.seconds_per_block:
                time.sleep(file.seconds_per_block)
        self.wfile.flush()
        if fault.stall_after is not None:
            time.sleep(1.5)
        if fault.cut_after is not None or fault.stall_after is not None or not (file.length or file.chunked):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif file.claimed is not None:
            self.close_connection = True
        elif file.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _head(self, status: int, headers: dict) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def files_of_download(folder: Path) -> list[str]:
    """List `model.bin` and the files of its partial download."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("model.bin"))
