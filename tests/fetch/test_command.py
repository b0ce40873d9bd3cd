"""`animdiff fetch` as it is typed: what it prints where, and the code it ends with."""

import hashlib
import json
import os
import subprocess
import sys

import pytest

from animdiff_cli.jobs.fetch import fetch
from tests.fetch.server import Fault

ANIMDIFF = [sys.executable, "-c", "from animdiff_cli.cli import main; main()"]


@pytest.fixture
def animdiff(site):
    """Run the program in a process of its own, with the site for Hub and Civitai."""

    def run(*words, **environment):
        sites = {"HF_ENDPOINT": site.url, "ANIMDIFF_CIVITAI_ENDPOINT": site.url}
        return subprocess.run(
            [*ANIMDIFF, *words],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "COLUMNS": "200", **sites, **environment},
        )

    return run


def test_paths_go_to_stdout_and_talk_to_stderr(site, storage, animdiff, make_bytes, models):
    data = make_bytes(400_000)
    site.put_repository("org/repo", {"lora.safetensors": data}, storage)
    ended = animdiff("fetch", "hf:org/repo/lora.safetensors")
    path = models / "other" / "org--repo--lora.safetensors"
    assert (ended.returncode, ended.stdout) == (0, f"{path}\n")
    assert "whole and verified" in ended.stderr
    assert path.read_bytes() == data


def test_quiet_leaves_the_path_alone_and_json_says_all(site, storage, animdiff, make_bytes):
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


def test_a_private_file_of_civitai_comes_with_the_token_and_never_shows_it(site, animdiff, make_bytes):
    site.put_version(78775, "toonyou.safetensors", make_bytes(1000), needs="civitai-secret")
    refused = animdiff("fetch", "civitai:30240@78775")
    assert refused.returncode == 4
    assert "CIVITAI_TOKEN" in refused.stderr
    wrong = animdiff("fetch", "civitai:30240@78775", CIVITAI_TOKEN="wrong-secret")
    assert wrong.returncode == 4
    assert "does not accept your token" in wrong.stderr
    fetched = animdiff("fetch", "civitai:30240@78775", CIVITAI_API_TOKEN="civitai-secret")
    assert fetched.returncode == 0
    assert "secret" not in wrong.stderr + wrong.stdout + fetched.stderr + fetched.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nobody-knows-this"], 3, "unknown model alias"),
        (["hf:org/repo/missing.ckpt"], 3, "no file `missing.ckpt`"),
        (["--all-for", "no-such-preset"], 3, "unknown preset"),
        (["mm-v3"], 5, "expected sha256|another"),
        (["--offline", "mm-v2"], 4, "offline"),
        ([], 2, "nothing to fetch was named"),
        (["civitai:30240"], 2, "civitai:30240@78775"),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(site, storage, animdiff, words, code, said):
    commit = "fdfe36afa161e51b3e9c24022b0e368d59e7345e"
    site.put_repository("guoyww/animatediff", {"v3_sd15_mm.ckpt": b"not it"}, storage, commit=commit)
    site.put_repository("org/repo", {"a.ckpt": b"x"}, storage)
    ended = animdiff("fetch", "--json", *words)
    record = json.loads(ended.stderr.splitlines()[-1])
    assert (ended.returncode, record["code"], ended.stdout) == (code, code, "")
    assert record["hint"]
    assert any(part in record["error"] + record["hint"] for part in said.split("|"))


def test_what_arrived_before_a_failure_is_told(site, storage, animdiff):
    site.put_repository("org/repo", {"a.ckpt": b"a" * 100, "b.ckpt": b"b" * 100}, storage)
    storage.faults.extend([Fault(), Fault(status=451)])
    ended = animdiff("fetch", "hf:org/repo/a.ckpt", "hf:org/repo/b.ckpt")
    assert ended.returncode == 4
    assert ended.stdout.endswith("org--repo--a.ckpt\n")


def test_a_dry_run_says_sizes_and_what_is_free_and_fetches_nothing(site, animdiff, models):
    ended = animdiff("fetch", "--dry-run", "mm-v1", "mm-v3")
    assert "mm-v3  " in ended.stdout
    assert "1.67 GB" in ended.stdout
    assert "2 to fetch: 3.35 GB" in ended.stderr
    assert "free on the disk" in ended.stderr
    assert not models.exists()
    assert not site.seen


def test_a_dry_run_without_a_network_still_lists_the_group(animdiff):
    ended = animdiff("fetch", "--dry-run", "--json", "motion", "modules", HF_ENDPOINT="http://127.0.0.1:9")
    plan = json.loads(ended.stdout)
    assert ended.returncode == 0
    assert len(plan["items"]) > 20
    assert plan["unknown"] > 0
    assert plan["free"] > 0


def test_more_than_the_disk_holds_is_refused_before_the_first_byte(site, storage, animdiff):
    site.put_repository("org/repo", {"a.ckpt": b"x"}, storage)
    site.files["/org/repo/resolve/main/a.ckpt"].headers["X-Linked-Size"] = str(10**18)
    ended = animdiff("fetch", "hf:org/repo/a.ckpt")
    assert ended.returncode == 2
    assert "free on the disk" in ended.stderr
    assert storage.sent == 0


def test_the_token_of_the_hub_is_read_from_the_environment(site, storage, animdiff):
    site.put_repository("org/repo", {"a.ckpt": b"x" * 100}, storage)
    assert animdiff("fetch", "-q", "hf:org/repo/a.ckpt", HF_TOKEN="hf_mine").returncode == 0
    assert {seen.authorization for seen in site.seen if "/org/repo/" in seen.path} == {"Bearer hf_mine"}
    assert {seen.authorization for seen in storage.seen} == {None}


def test_python_brings_the_same(site, storage, monkeypatch, make_bytes):
    monkeypatch.setenv("HF_ENDPOINT", site.url)
    data = make_bytes(5000)
    site.put_repository("org/repo", {"a.ckpt": data}, storage)
    (fetched,) = fetch(["hf:org/repo/a.ckpt"])
    assert fetched.path.read_bytes() == data
    assert not fetched.cached
