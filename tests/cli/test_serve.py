import socket
import sys

import pytest


@pytest.mark.parametrize(
    "words, message, hint",
    [
        (["--host", "0.0.0.0"], "`--host 0.0.0.0` can be reached by others, and there is no token", "ANIMDIFF_TOKEN"),
        (["--token", "short"], "the token must have 16 characters or more", "openssl rand -hex 16"),
        (["--allow-path", "nix"], "`--allow-path nix` is not a folder", "name the folder"),
        (["--device", "nix"], "unknown device `nix`", "--device auto"),
        (["--host", "192.0.2.1", "--token", "0123456789abcdef"], "cannot listen on 192.0.2.1, port", "--port 0"),
        (["-o", "memory://x/"], "is not a folder of this machine", "local folder"),
        (["--port", "70000"], "--port", "--help"),
        (["--keep", "0"], "--keep", "--help"),
    ],
)
def test_mistakes_are_found_before_anything_is_served(animdiff, files, words, message, hint):
    result = animdiff("serve", *words)
    assert result.exit_code == 2 and result.stdout == ""
    error, advice = result.stderr.strip().split("\n")
    assert message in error and hint in advice
    assert files() == []


def test_a_port_that_is_taken(animdiff):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = animdiff("serve", "--port", port)
    assert result.exit_code == 2
    assert f"cannot listen on 127.0.0.1, port {port}: address already in use" in result.stderr


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
def test_a_missing_package_is_one_sentence_with_the_line_to_type(animdiff, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    result = animdiff("serve")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: FastAPI and uvicorn are not installed, which `animdiff serve` needs\n"
        "hint: pip install 'animdiff[serve]'\n"
    )


def test_an_output_folder_that_cannot_be_written(animdiff, here):
    (here / "file").write_text("")
    result = animdiff("serve", "--port", "0", "-o", "file/clips")
    assert result.exit_code == 2 and "is a file, not a folder" in result.stderr
