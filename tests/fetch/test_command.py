"""`animdiff fetch`: its output on stdout and stderr, and its exit codes."""

import hashlib
import json

import pytest
from typer.testing import CliRunner

from animdiff_cli.cli import app
from animdiff_cli.jobs.fetch import fetch
from tests.fetch.server import Fault


@pytest.fixture
def animdiff(site):
    """Run `animdiff`, with `site` as Hub and Civitai."""

    def run(*arguments, **environment):
        sites = {"HF_ENDPOINT": site.url, "ANIMDIFF_CIVITAI_ENDPOINT": site.url, "COLUMNS": "200"}
        return CliRunner().invoke(app, arguments, env=sites | environment, prog_name="animdiff")

    return run


def test_prints_paths_on_stdout_and_progress_on_stderr(site, storage, animdiff, make_bytes, models):
    data = make_bytes(400_000)
    site.put_repository("org/repo", {"lora.safetensors": data}, storage)
    result = animdiff("fetch", "hf:org/repo/lora.safetensors")
    path = models / "other" / "org--repo--lora.safetensors"
    assert (result.exit_code, result.stdout) == (0, f"{path}\n")
    assert "downloaded and verified" in result.stderr
    assert path.read_bytes() == data


def test_quiet_prints_only_the_path_and_json_a_full_record(site, storage, animdiff, make_bytes):
    data = make_bytes(1000)
    site.put_repository("org/repo", {"lora.safetensors": data}, storage)
    quiet = animdiff("fetch", "-q", "hf:org/repo/lora.safetensors")
    assert quiet.stderr == ""
    record = json.loads(animdiff("fetch", "--json", "hf:org/repo/lora.safetensors").stdout)
    assert record == {
        "ref": "hf:org/repo/lora.safetensors",
        "path": quiet.stdout.strip(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": 1000,
        "cached": True,
    }


def test_civitai_token_is_sent_for_private_files_and_never_printed(site, animdiff, make_bytes):
    site.put_version(78775, "toonyou.safetensors", make_bytes(1000), token="civitai-secret")
    refused = animdiff("fetch", "civitai:30240@78775")
    assert refused.exit_code == 4
    assert "CIVITAI_TOKEN" in refused.stderr
    wrong = animdiff("fetch", "civitai:30240@78775", CIVITAI_TOKEN="wrong-secret")
    assert wrong.exit_code == 4
    assert "rejected your token" in wrong.stderr
    fetched = animdiff("fetch", "civitai:30240@78775", CIVITAI_API_TOKEN="civitai-secret")
    assert fetched.exit_code == 0
    assert "secret" not in wrong.stderr + wrong.stdout + fetched.stderr + fetched.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["no-such-alias"], 3, "unknown model alias"),
        (["hf:org/repo/missing.ckpt"], 3, "no file `missing.ckpt`"),
        (["--all-for", "no-such-preset"], 3, "unknown preset"),
        (["--all-for", "fast"], 2, "names no weights"),
        (["mm-v3"], 5, "expected sha256"),
        (["--offline", "mm-v2"], 4, "offline"),
        ([], 2, "nothing to fetch"),
        (["civitai:30240"], 2, "civitai:30240@78775"),
    ],
)
def test_failures_have_distinct_exit_codes(site, storage, animdiff, arguments, code, message):
    commit = "fdfe36afa161e51b3e9c24022b0e368d59e7345e"
    site.put_repository("guoyww/animatediff", {"v3_sd15_mm.ckpt": b"not it"}, storage, commit=commit)
    site.put_repository("org/repo", {"a.ckpt": b"x"}, storage)
    result = animdiff("fetch", "--json", *arguments)
    record = json.loads(result.stderr.splitlines()[-1])
    assert (result.exit_code, record["code"], result.stdout) == (code, code, "")
    assert record["hint"]
    assert message in record["error"] + record["hint"]


def test_prints_paths_completed_before_a_failure(site, storage, animdiff):
    site.put_repository("org/repo", {"a.ckpt": b"a" * 100, "b.ckpt": b"b" * 100}, storage)
    storage.faults.extend([Fault(), Fault(status=451)])
    result = animdiff("fetch", "hf:org/repo/a.ckpt", "hf:org/repo/b.ckpt")
    assert result.exit_code == 4
    assert result.stdout.endswith("org--repo--a.ckpt\n")


def test_dry_run_prints_sizes_and_free_space_and_downloads_nothing(site, animdiff, models):
    result = animdiff("fetch", "--dry-run", "mm-v1", "mm-v3")
    assert "mm-v3  " in result.stdout
    assert "1.67 GB" in result.stdout
    assert "2 to fetch: 3.35 GB" in result.stderr
    assert "free on the disk" in result.stderr
    assert not models.exists()
    assert not site.requests


def test_dry_run_lists_a_group_without_a_network(animdiff):
    result = animdiff("fetch", "--dry-run", "--json", "motion", "modules", HF_ENDPOINT="http://127.0.0.1:9")
    plan = json.loads(result.stdout)
    assert result.exit_code == 0
    assert len(plan["items"]) > 20
    assert plan["unknown"] > 0
    assert plan["free"] > 0


def test_refuses_a_download_larger_than_the_disk_before_it_starts(site, storage, animdiff):
    site.put_repository("org/repo", {"a.ckpt": b"x"}, storage)
    site.files["/org/repo/resolve/main/a.ckpt"].headers["X-Linked-Size"] = str(10**18)
    result = animdiff("fetch", "hf:org/repo/a.ckpt")
    assert result.exit_code == 2
    assert "free on the disk" in result.stderr
    assert storage.sent == 0


def test_reads_the_hub_token_from_the_environment(site, storage, animdiff):
    site.put_repository("org/repo", {"a.ckpt": b"x" * 100}, storage)
    assert animdiff("fetch", "-q", "hf:org/repo/a.ckpt", HF_TOKEN="hf_mine").exit_code == 0
    assert {request.authorization for request in site.requests if "/org/repo/" in request.path} == {"Bearer hf_mine"}
    assert {request.authorization for request in storage.requests} == {None}


def test_python_api_fetches_the_same_file(site, storage, monkeypatch, make_bytes):
    monkeypatch.setenv("HF_ENDPOINT", site.url)
    data = make_bytes(5000)
    site.put_repository("org/repo", {"a.ckpt": data}, storage)
    (fetched,) = fetch(["hf:org/repo/a.ckpt"])
    assert fetched.path.read_bytes() == data
    assert not fetched.cached
