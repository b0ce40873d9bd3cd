"""`generate --via` writes what `generate` writes, prints what it prints, and fails as it fails."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from typer.testing import CliRunner

from animdiff_cli.cli import app
from animdiff_cli.config.layers import Layer
from animdiff_cli.core.event_records import RESULTS
from animdiff_cli.core.events import FramesDecoded, StepDone
from animdiff_cli.errors import AnimdiffError, IntegrityError, NetworkError, NotFound, UsageError
from animdiff_cli.files.atomic import remove
from animdiff_cli.jobs.output_paths import choose_output_paths
from animdiff_cli.jobs.prompts import PromptOptions
from animdiff_cli.jobs.serve.client import ServerClient, address_of
from animdiff_cli.jobs.serve.registration import Address
from animdiff_cli.jobs.serve.via import _Relay, plan_via, render_via
from tests.jobs.serve.conftest import ENDLESS, SMALL

FLAGS = ["--model", "pocket", "--steps", "1", "-L", "2", "-W", "64", "-H", "64"]
ONE = ["--prompt", "a red ball", "--seed", "1"]


@pytest.fixture(scope="module")
def server(start_server):
    """A server that `--via auto` finds."""
    return start_server()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return CliRunner().invoke(app, ["generate", *FLAGS, *map(str, words)], prog_name="animdiff")


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def both(server, here, *words):
    """Run a command here and with the server; returns both results, and the files of each."""
    found = []
    for via in ([], ["--via", "auto"]):
        result = run(*words, *via)
        found.append((result, files(here)))
        for path in here.iterdir():
            remove(path)
    return found


def test_files_and_output_are_those_of_a_render_here(server, here):
    words = ["-p", "a red ball", "-p", "a {blue|pink} fish", "-s", "1", "-o", "night/{slug}_{seed}.png", "-f", "apng"]
    words += ["-f", "frames"]
    (local, expected), (result, written) = both(server, here, *words)
    assert (result.exit_code, result.stdout) == (0, local.stdout), result.output
    assert written == expected and len(written) == 2 * 4
    assert "writing night/a-red-ball_1.png" in result.stderr


def test_steps_of_the_server_are_steps_of_the_clip_here():
    events = []
    relay = _Relay(2, 3, events.append, None)
    relay({"event": "step", "version": 1, "job": "abc", "step": 1, "steps": 4})
    relay({"event": "decoding", "version": 1, "job": "abc", "frame": 2, "frames": 16})
    assert events == [StepDone(1, 4, 2, 3), FramesDecoded(2, 16)]


def test_settings_of_every_source_reach_the_server(server, here, monkeypatch):
    (here.parent / "look.yaml").write_text("prompt: {0: a red ball, 1: a blue ball}\nloras: [pocket-crayon@0.5]")
    monkeypatch.setenv("ANIMDIFF_GUIDANCE_SCALE", "3")
    words = [
        "--config",
        "../look.yaml",
        "--set",
        "loras.0.scale=0.7",
        "--seed",
        "5",
        "--negative",
        "green",
        "--prompt-hold",
        "1",
    ]
    (_, expected), (result, written) = both(server, here, *words, "--motion-scale", "0:0,100%:1", "-o", "a.png")
    assert result.exit_code == 0, result.output
    assert written == expected


def test_names_are_numbered_and_overwritten_as_always(server, here):
    for _ in range(2):
        assert run(*ONE, "-o", "a.png", "--via", "auto", "-q").stdout in ("a.png\n", "a-2.png\n")
    (here / "a.png").write_text("old")
    assert run(*ONE, "-o", "a.png", "--overwrite", "--via", "auto", "-q").stdout == "a.png\n"
    assert files(here)["a.png"] == files(here)["a-2.png"]
    assert server.get("/jobs").json() == []  # nothing is left on the server
    assert list(server.output.iterdir()) == []


def test_json_is_the_same_stream_of_events(server, here):
    (local, _), (result, _) = both(server, here, *ONE, "-o", "a.png", "--json")
    streams = [[json.loads(line) for line in output.stdout.splitlines()] for output in (local, result)]
    kinds = [[record["event"] for record in stream if record["event"] != "loading"] for stream in streams]
    assert kinds[0] == kinds[1] == ["queued", "started", "step", "decoding", "written", "done"]
    done = [stream[-1] | {"seconds": 0} for stream in streams]
    assert done[0] == done[1] and streams[1][-1]["outputs"] == {"apng": "a.png"}
    assert {record["job"] for record in streams[1]} == {"1"}
    quiet = run(*ONE, "-o", "b.png", "--json", "-q", "--via", "auto")
    assert [json.loads(line)["event"] for line in quiet.stdout.splitlines()] == ["done"] and quiet.stderr == ""
    assert "done" in RESULTS


def test_a_drawn_seed_is_told_and_used(server, here):
    result = run("--prompt", "a red ball", "-o", "{seed}.png", "--via", "auto")
    seed = result.stdout.removesuffix(".png\n")
    assert f"note: seed {seed}, drawn at random" in result.stderr
    assert run("--prompt", "a red ball", "--seed", seed, "-o", "again.png").exit_code == 0
    assert files(here)[f"{seed}.png"] == files(here)["again.png"]


@pytest.mark.parametrize(
    "words",
    [
        ["--steps", "0"],
        ["--set", "stepz=1"],
        ["--model", "nix"],
        ["--lora", "nix"],
        ["--negative", "green", "--guidance-scale", "1"],
        ["--context-overlap", "2", "--no-motion"],
        ["-o", "a.xyz"],
        ["-o", "a.gif", "--fps", "60"],
        ["--scheduler", "nix"],
        ["--prompt", "a (ball:900)"],
        ["--prompt", "a __colour__ ball"],
        ["--frames", "4096", "--width", "8192", "--height", "8192"],
        ["--seed", "2", "-o", "same.png"],
    ],
    ids=" ".join,
)
def test_errors_are_the_same(server, here, words):
    (local, _), (result, written) = both(server, here, *ONE, *words)
    assert (result.exit_code, result.stdout, result.stderr) == (local.exit_code, "", local.stderr)
    assert result.exit_code in (2, 3, 6) and written == {}


def test_paths_are_sent_whole_and_refused_by_a_server_that_may_not_read_them(server, here):
    (here / "mine.safetensors").write_bytes(b"")
    result = run(*ONE, "--lora", "mine.safetensors@0.5", "--via", "auto")
    assert result.exit_code == 2 and f"names the path `{here}/mine.safetensors`" in result.stderr
    assert f"--allow-path {here}" in result.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ["--from", "a.png"],
        ["--dry-run"],
        ["--probe"],
        ["--context-show"],
        ["--skip-existing"],
        ["--device", "cpu"],
        ["--threads", "1"],
        ["--offline"],
        ["--fetch"],
        ["--no-fetch"],
    ],
    ids=" ".join,
)
def test_flags_that_concern_this_machine_are_refused(server, flags):
    result = run(*ONE, *flags, "--via", "auto")
    assert result.exit_code == 2 and "--via and --" in result.stderr and "cannot be combined" in result.stderr


@pytest.mark.parametrize("url", ["", "nix", "ftp://127.0.0.1", "127.0.0.1:8475", "http://"])
def test_what_is_no_address(url):
    result = run(*ONE, "--via", url)
    assert result.exit_code == 2 and "is not a URL" in result.stderr


def test_a_token_is_not_sent_unencrypted():
    with pytest.raises(UsageError, match="is not encrypted"):
        address_of("http://example.com", token="t", allow_http=False)
    assert address_of("http://example.com/", token="t", allow_http=True) == Address("http://example.com", "t")
    assert address_of("https://example.com", token="t", allow_http=False).token == "t"


def test_no_server(monkeypatch, tmp_path):
    monkeypatch.setenv("ANIMDIFF_STATE", str(tmp_path / "other"))
    result = run(*ONE, "--via", "auto")
    assert result.exit_code == 3 and "no `animdiff serve` is running" in result.stderr
    result = run(*ONE, "--via", "http://127.0.0.1:1", "--json")
    assert result.exit_code == 4 and json.loads(result.stderr.splitlines()[-1])["code"] == 4


def test_ctrl_c_cancels_the_clips_on_the_server(server, here):
    layer = Layer("test", {key: value for key, value in ENDLESS.items() if key not in ("seed", "formats")})
    before = server.get("/jobs").json()
    plan = plan_via([layer], seeds=[1, 2, 3], options=PromptOptions())

    def choose_outputs():
        return choose_output_paths(plan.configs, "{seed}.png", [])

    def interrupt(event):
        if isinstance(event, StepDone):
            raise KeyboardInterrupt

    records = []
    with pytest.raises(KeyboardInterrupt):
        next(render_via(ServerClient(server.address), plan, ["apng"], choose_outputs, interrupt, records.append))
    assert records[-1]["event"] == "interrupted" and records[-1]["job"] == "1"
    jobs = server.get("/jobs").json()[len(before) :]
    for job in jobs:
        assert server.events(job["job"])[-1]["event"] == "interrupted"
    assert len(jobs) == 2 and files(here) == {}  # the third was not sent yet


def test_a_full_queue_is_waited_for(start_server, here):
    server = start_server(max_queued=1)
    blocking = server.queue(ENDLESS)
    server.wait_until_started(blocking)
    waiting = server.queue(SMALL)
    threading.Timer(0.3, lambda: server.delete(blocking)).start()
    result = run(*ONE, "--seed", "2", "-o", "{seed}.png", "--via", server.address.url)
    assert result.exit_code == 0, result.output
    assert result.stdout == "1.png\n2.png\n" and server.job(waiting)["state"] == "done"


def test_a_token_is_needed_and_read_from_the_environment(start_server, monkeypatch):
    server = start_server(token="0123456789abcdef")
    refused = run(*ONE, "--via", server.address.url)
    assert refused.exit_code == 4 and "export ANIMDIFF_TOKEN" in refused.stderr
    monkeypatch.setenv("ANIMDIFF_TOKEN", "0123456789abcdef")
    answered = run(*ONE, "--model", "nix", "--via", server.address.url)
    assert answered.exit_code == 3 and "unknown model alias `nix`" in answered.stderr


def test_torch_is_never_imported(server, here):
    code = (
        "import sys; from animdiff_cli.cli import main\n"
        f"sys.argv = ['animdiff', 'generate', *{[*FLAGS, *ONE, '-o', 'a.png', '--via', 'auto']!r}]\n"
        "try: main()\n"
        "except SystemExit as leaving: print(leaving.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["a.png", "0 False"], done.stderr


class Stranger(BaseHTTPRequestHandler):
    """Answers every request with `reply`: status, content type and body."""

    reply = (200, "text/html", b"<html>")

    def do_GET(self):
        status, kind, body = self.reply
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815  the name that the library calls

    def log_message(self, *given):
        pass


@pytest.fixture
def stranger():
    """A server that is not ours; returns a client of it."""
    web = HTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    yield ServerClient(Address(f"http://127.0.0.1:{web.server_port}"))
    web.shutdown()
    thread.join()
    web.server_close()


@pytest.mark.parametrize(
    "reply",
    [
        (200, "text/html", b"<html>"),
        (404, "text/html", b"no"),
        (500, "application/json", b"[]"),
        (302, "text/html", b""),
    ],
)
def test_a_server_that_is_not_ours(stranger, monkeypatch, reply):
    monkeypatch.setattr(Stranger, "reply", reply)
    with pytest.raises(NetworkError, match="does not answer as `animdiff serve`"):
        stranger.submit({})


@pytest.mark.parametrize("code, kind", [(2, UsageError), (3, NotFound), (5, IntegrityError), (1, AnimdiffError)])
def test_errors_of_the_server_keep_their_exit_code(stranger, monkeypatch, code, kind):
    body = json.dumps({"error": "no", "hint": "do", "code": code}).encode()
    monkeypatch.setattr(Stranger, "reply", (422, "application/json", body))
    with pytest.raises(kind, match="no") as error:
        stranger.submit({})
    assert (error.value.exit_code, error.value.hint) == (code, "do")


def test_a_file_that_was_damaged_on_the_way(stranger, tmp_path):
    with pytest.raises(IntegrityError, match="damaged"):
        stranger.download("x", {"path": "a.png", "sha256": "0" * 64}, tmp_path / "a.png")
