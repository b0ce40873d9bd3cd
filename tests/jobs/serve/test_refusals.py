"""What a server refuses, each as JSON with the exit code of the command line, and without an effect."""

import json
import socket
from pathlib import Path

import pytest

from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.serve.server import check_access
from animdiff_cli.jobs.serve.wire import MAX_BODY
from tests.jobs.serve.conftest import SMALL

TOKEN = "0123456789abcdef"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def guarded(start_server):
    """A server with a token."""
    return start_server(token=TOKEN)


@pytest.fixture(scope="module")
def server(start_server, tmp_path_factory):
    """A server that may read one folder."""
    server = start_server(limits={"allowed": (tmp_path_factory.mktemp("allowed"),)})
    yield server
    assert server.get("/jobs").json() == []  # nothing that was refused became a job
    assert list(server.output.iterdir()) == [path for path in server.output.iterdir() if path.is_symlink()]


def refused(answer, status, code=2):
    record = answer.json()
    assert (answer.status_code, record["code"]) == (status, code), record
    assert set(record) == {"error", "hint", "code"} and record["error"] and record["hint"]
    assert "Traceback" not in answer.text
    return record


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[", "localhost@evil"]
)
def test_another_host_name(server, host):
    refused(server.get("/jobs", headers={"Host": host}), 421, 4)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8475"])
def test_names_of_this_machine_are_accepted(server, host):
    assert server.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_requests_that_a_browser_sends_for_another_site(server, headers):
    refused(server.post(SMALL, headers=headers), 403, 4)
    refused(server.get("/jobs", headers=headers), 403, 4)


def test_a_page_of_the_server_itself_is_accepted(server):
    assert server.get("/health", headers={"Origin": server.address.url, "Sec-Fetch-Site": "same-origin"}).ok


@pytest.mark.parametrize(
    "given", [None, "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é", f"Bearer {TOKEN.upper()}"]
)
@pytest.mark.parametrize("path", ["/jobs", "/render", "/openapi.json", "/jobs/x/files/y", "/health/", "//health"])
def test_a_missing_or_wrong_token(guarded, given, path):
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    answer = guarded.get(path, headers=headers)
    refused(answer, 401, 4)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_token_opens_everything_and_health_needs_none(guarded):
    assert guarded.get("/jobs", headers={"Authorization": f"Bearer {TOKEN}"}).json() == []
    assert set(guarded.get("/health").json()) == {"status", "version", "queued", "running", "models"}


def test_a_reachable_host_needs_a_token_that_cannot_be_guessed():
    check_access("127.0.0.1", None)
    check_access("0.0.0.0", TOKEN)
    for host, token in (
        ("0.0.0.0", None),
        ("::", None),
        ("192.0.2.1", None),
        ("127.0.0.1", "short"),
        ("::1", "é" * 20),
    ):
        with pytest.raises(UsageError) as error:
            check_access(host, token)
        assert "ANIMDIFF_TOKEN" in error.value.hint and (token or "token") not in error.value.hint


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nul",
        b"\xff\xfe{}",
        b"[" * 5000,
        b'{"a":' * 200 + b"1" + b"}" * 200,
        b'{"seed": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_not_json(server, body):
    refused(server.request("POST", "/render", data=body, headers=JSON), 422)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_other_kinds_of_content(server, kind):
    refused(server.request("POST", "/render", data=json.dumps(SMALL), headers={"Content-Type": kind}), 415)


def test_a_huge_body_with_and_without_its_length(server):
    huge = b'{"prompt": "' + b"x" * MAX_BODY + b'"}'
    refused(server.request("POST", "/render", data=huge, headers=JSON), 413)
    refused(server.request("POST", "/render", data=iter([huge[: MAX_BODY // 2]] * 4), headers=JSON), 413)
    with socket.create_connection(("127.0.0.1", int(server.address.url.rpartition(":")[2]))) as connection:
        head = (
            f"POST /render HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {1 << 40}"
        )
        connection.sendall(head.encode() + b"\r\n\r\n")
        connection.settimeout(10)
        assert b" 413 " in connection.recv(1000)


@pytest.mark.parametrize(
    "body",
    [
        [],
        "text",
        None,
        7,
        SMALL | {"steps": "many"},
        SMALL | {"steps": 1.5},
        SMALL | {"steps": True},
        SMALL | {"steps": None},
        SMALL | {"steps": [1]},
        SMALL | {"steps": {"0": 1}},
        SMALL | {"seed": -1},
        SMALL | {"seed": 2**64},
        SMALL | {"guidance_scale": float("inf")},
        SMALL | {"guidance_scale": float("nan")},
        SMALL | {"width": 63},
        SMALL | {"width": 1 << 40},
        SMALL | {"num_frames": 10**9},
        SMALL | {"width": 8192, "height": 8192, "num_frames": 4096},
        SMALL | {"prompt": "x" * 20_000},
        SMALL | {"prompt": {"0": "a", "900": "b"}},
        SMALL | {"prompt": {}},
        SMALL | {"prompt": "\ud800"},
        SMALL | {"loras": ["pocket-crayon"] * 101},
        SMALL | {"loras": [[]]},
        SMALL | {"loras": [{"ref": 1}]},
        SMALL | {"loras.0.scale": 1},
        SMALL | {"model": {"ref": "pocket"}},
        SMALL | {"stepz": 1},
        SMALL | {"settings": {}},
        SMALL | {"": 1},
        SMALL | {"formats": "gif"},
        SMALL | {"formats": ["exe"]},
        SMALL | {"formats": ["gif"] * 11},
        SMALL | {"formats": ["mp4"], "output": "a.gif"},
        SMALL | {"output": ""},
        SMALL | {"output": "{nix}"},
        SMALL | {"output": "{seed.__class__}"},
        SMALL | {"output": "{seed:>9999999999}"},
        SMALL | {"output": "x" * 1001},
        SMALL | {"output": "x" * 300},
        SMALL | {"output": 7},
        SMALL | {"keep": "perhaps"},
        SMALL | {"origins": {"steps": "x" * 300}},
        SMALL | {"origins": []},
        SMALL | {"fps": 120, "formats": ["gif"]},
    ],
    ids=lambda body: json.dumps(body)[-50:],
)
def test_wrong_values(server, body):
    answer = server.request("POST", "/render", data=json.dumps(body), headers=JSON)
    refused(answer, 422, 6 if "4096" in json.dumps(body) else 2)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "nix"},
        {"preset": "nix"},
        {"preset": "/etc/passwd"},
        {"model": "toonyou"},
        {"prompt": "a __colour__ ball"},
    ],
)
def test_what_is_not_there_and_may_not_be_fetched(server, settings):
    refused(server.post(SMALL | settings), 404, 3)


def test_no_model_and_no_prompt(server):
    refused(server.post({"prompt": "x"}), 404, 3)
    refused(server.post({"model": "pocket"}), 422)


NAMES = [
    "/etc/passwd",
    "../x",
    "a/../../x",
    "./../x",
    "/",
    ".",
    "..",
    "a\\..\\..\\x",
    "C:/x",
    "a//b",
    "a/./b",
    "a\0b",
    "nul",
    "a/",
    "-rf",
    "a/-rf.gif",
]


@pytest.mark.parametrize("name", [*NAMES, "{slug}/../../x", "~/../x", "a\nb", "a:b"])
def test_outputs_outside_of_the_folder(server, name):
    refused(server.post(SMALL | {"output": name}), 422)


def test_outputs_through_a_symlink(server, tmp_path):
    (server.output / "link").symlink_to(tmp_path, target_is_directory=True)
    record = refused(server.post(SMALL | {"output": "link/clip"}), 422)
    assert "leads out of the output folder" in record["error"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["/etc/passwd", "~/x.safetensors", "./x.ckpt", "../x.safetensors", "nix/"])
@pytest.mark.parametrize("key", ["model", "vae", "motion_module", "loras", "embeddings", "continue_from", "video"])
def test_files_of_the_machine_whether_they_exist_or_not(server, key, path):
    value = [path] if key in ("loras", "embeddings") else path
    record = refused(server.post(SMALL | {key: value}), 422)
    assert f"`{key}` names the path" in record["error"] and "--allow-path" in record["hint"]


@pytest.mark.parametrize(
    "settings",
    [
        {"continue_from": "file:/etc/passwd"},
        {"continue_from": "s3://bucket/clip.gif"},
        {"continue_from": "s3:/bucket/clip.png"},
        {"continue_from": "http://192.0.2.1/clip.png"},
        {"loras": [{"ref": "/etc/passwd", "scale": 1}]},
        {"loras": ["/etc/x.safetensors@0:0,50%:1"]},
        {"motion_modules": ["/etc/a.ckpt@1", "pocket-motion@1"]},
    ],
)
def test_other_ways_to_name_a_file(server, settings):
    assert "may not read" in (error := refused(server.post(SMALL | settings), 422)["error"]) or "does not read" in error


def test_links_out_of_an_allowed_folder(start_server, tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.safetensors").symlink_to("/etc/passwd")
    server = start_server(limits={"allowed": (inside,)})
    for name in ("link.safetensors", "../x.safetensors", "link.safetensors/../../x.ckpt"):
        record = refused(server.post(SMALL | {"motion_module": f"{inside}/{name}"}), 422)
        assert "may not read" in record["error"]
    refused(server.post(SMALL | {"motion_module": f"{inside}/missing.safetensors"}), 404, 3)


@pytest.mark.parametrize(
    "path", [*(f"/jobs/{name}" for name in ("x", "%2e%2e", "%00", "x" * 100)), "/nix", "/docs", "/%2e%2e/etc/passwd"]
)
def test_pages_that_do_not_exist(server, path):
    answer = server.get(path)
    assert answer.status_code in (404, 422) and set(answer.json()) == {"error", "hint", "code"}


def test_other_methods(server):
    refused(server.request("PUT", "/render"), 405)
    refused(server.request("DELETE", "/jobs"), 405)


def test_files_that_a_job_does_not_list(start_server):
    server = start_server()
    (server.output / "other.gif").write_bytes(b"secret")
    job, _ = server.render(output="night/clip")
    assert server.get(f"/jobs/{job['job']}/files/night/clip.png").ok
    tricks = [
        "other.gif",
        "../other.gif",
        "night/../other.gif",
        "night/clip.png/",
        "//etc/passwd",
        "%2fetc%2fpasswd",
        "..%2fother.gif",
        "night",
        "",
        ".",
    ]
    for trick in tricks:
        url = f"{server.address.url}/jobs/{job['job']}/files/{trick}"
        answer = server.get(url.removeprefix(server.address.url))
        assert answer.status_code == 404 and b"secret" not in answer.content, trick
    clip = server.output / "night" / "clip.png"
    clip.unlink()
    clip.symlink_to(server.output.parent / "outside")
    Path(server.output.parent / "outside").write_bytes(b"secret")
    assert server.get(f"/jobs/{job['job']}/files/night/clip.png").status_code == 404


def test_headers_keep_browsers_from_guessing_and_framing(server):
    headers = server.get("/health").headers
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers and "server" not in headers
