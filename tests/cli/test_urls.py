"""Outputs and inputs on a storage system: a real S3 server on the loopback interface."""

import json
import subprocess

import pytest

from animdiff_cli.outputs import read_recipe
from animdiff_cli.outputs.read import read_clip
from animdiff_cli.storage.inputs import local_input
from animdiff_cli.storage.location import location
from animdiff_cli.storage.objects import list_files, upload


@pytest.fixture
def fox(animdiff, toy, bucket):
    """Render a fox with some words after the command."""
    return lambda *words: animdiff(*toy, "--prompt", "a fox", "--seed", 1, *words)


def names(url):
    return sorted(list_files(location(url)))


def put(path, url):
    upload(path, location(url), replace=True)


def test_every_clip_and_format_has_its_name(fox, bucket):
    result = fox("-o", f"{bucket}/{{slug}}/{{seed}}", "--seed", 2, "-f", "webp", "-f", "frames", "--dry-run", "--json")
    assert [json.loads(line)["outputs"] for line in result.stdout.splitlines()] == [
        {"webp": f"{bucket}/a-fox/{seed}.webp", "frames": f"{bucket}/a-fox/{seed}"} for seed in (1, 2)
    ]


def test_a_clip_is_uploaded_printed_and_found_by_skip_existing(fox, bucket, files):
    result = fox("-o", f"{bucket}/{{seed}}.gif")
    assert (result.exit_code, result.stdout) == (0, f"{bucket}/1.gif\n")
    assert names(bucket) == ["1.gif"] and files() == []
    again = fox("--seed", 2, "-o", f"{bucket}/{{seed}}.gif", "--skip-existing", "--dry-run")
    assert again.stdout == f"{bucket}/1.gif\n{bucket}/2.gif\n"
    assert "exist already: 1 of 2 clips" in again.stderr
    other = fox("--steps", 1, "-o", f"{bucket}/{{seed}}.gif", "--skip-existing", "--dry-run")
    assert other.stdout == f"{bucket}/1-2.gif\n"


@pytest.mark.parametrize(
    ("output", "code", "message"),
    [
        ("s3://no-such-bucket/fox.gif", 3, "no bucket `s3://no-such-bucket`"),
        ("s3://no-such-bucket/", 3, "no bucket `s3://no-such-bucket`"),
        ("gs://bucket/fox.gif", 2, "`gs:` URLs need the package `gcsfs`"),
        ("https://host/fox.gif", 2, "cannot be written to a web server"),
        ("htps://host/fox.gif", 2, "`htps:` is not a known kind of URL"),
        ("s3://KEY:SECRET@bucket/fox.gif", 2, "contains credentials"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_weights_load(fox, output, code, message, monkeypatch):
    if output.startswith("gs:"):
        monkeypatch.setattr("fsspec.core.url_to_fs", missing_package)
    result = fox("-o", output)
    assert result.exit_code == code and message in result.stderr and "hint: " in result.stderr
    assert "loading" not in result.stderr and "SECRET" not in result.stderr


def missing_package(*given, **more):
    raise ImportError("Install it")


def test_a_config_file_is_read_from_a_url_and_named_by_it(animdiff, toy, bucket, here):
    (here / "look.yaml").write_text("prompt: a hen\nseed: 4\n")
    put(here / "look.yaml", f"{bucket}/look.yaml")
    result = animdiff(*toy, "--config", f"{bucket}/look.yaml", "-o", "{slug}-{seed}.gif", "--dry-run")
    assert (result.exit_code, result.stdout) == (0, "a-hen-4.gif\n")
    shown = animdiff("config", "show", "--config", f"{bucket}/look.yaml")
    assert f"{bucket}/look.yaml" in shown.stdout
    (here / "look.yaml").write_text("stepps: 3\n")
    put(here / "look.yaml", f"{bucket}/look.yaml")
    refused = animdiff(*toy, "--config", f"{bucket}/look.yaml")
    assert refused.exit_code == 2 and f"error: {bucket}/look.yaml: unknown key `stepps`" in refused.stderr
    missing = animdiff(*toy, "--config", f"{bucket}/none.yaml")
    assert missing.exit_code == 3 and f"`{bucket}/none.yaml`" in missing.stderr


def test_a_clip_on_a_url_is_rendered_again_and_continued(animdiff, fox, toy, bucket, here):
    fox("-o", f"{bucket}/fox.webp")
    longer = fox("--continue-from", f"{bucket}/fox.webp", "-o", f"{bucket}/longer.webp")
    assert longer.exit_code == 0, longer.stderr
    clip = local_input(f"{bucket}/longer.webp")
    assert len(read_clip(clip).frames) == 4
    assert read_recipe(clip)["config"]["continue_from"] == "fox.webp"
    both = animdiff("generate", "--from", f"{bucket}/longer.webp", "-o", "both.webp")  # finds `fox.webp` beside it
    assert both.exit_code == 0 and "note:" not in both.stderr, both.stderr
    assert (here / "both.webp").read_bytes() == clip.read_bytes()
    refused = fox("--continue-from", f"{bucket}/fox.webp", "-o", f"{bucket}/fox.webp", "--overwrite")
    assert refused.exit_code == 2 and "is read for this clip, and would be replaced" in refused.stderr


def test_local_files_need_no_fsspec(script, here):
    code = (
        "import sys; from pathlib import Path\n"
        "from animdiff_cli.config.load import gather; from animdiff_cli.storage.outputs import output_location\n"
        "Path('a.yaml').write_text('steps: 3'); gather(config_file=Path('a.yaml')); output_location('night/')\n"
        "print('fsspec' in sys.modules)"
    )
    python = script.removesuffix("animdiff") + "python"
    result = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout == "False\n", result.stderr


NOBODY = "http://127.0.0.1:9/fox.png"  # a port at which no server is


@pytest.mark.parametrize(
    "words",
    [
        ["--image", NOBODY],
        ["--control", f"pocket-outline={NOBODY}"],
        ["--image-prompt", f"pocket-image={NOBODY}"],
        ["--video", NOBODY],
        ["--video", "{picture}", "--mask", NOBODY],
        ["--region", f"{NOBODY}=a fox"],
        ["--continue-from", NOBODY],
        ["--from", NOBODY],
    ],
    ids=lambda words: words[-2],
)
def test_an_input_whose_server_does_not_answer_is_a_network_error(animdiff, picture, words):
    words = [word.format(picture=picture) for word in words]
    result = animdiff("generate", "--model", "pocket", "--prompt", "a fox", "--dry-run", *words)
    assert (result.exit_code, result.stdout) == (4, "")
    assert f"`{NOBODY}`: Cannot connect" in result.stderr and "hint: check the network and the URL" in result.stderr
