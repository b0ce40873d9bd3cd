"""The scripts and manifests for clusters: they are what the guide shows, parse, and run against stub commands."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from animdiff_cli.registry.catalog import load_catalog

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
GUIDE = (ROOT / "docs" / "guides" / "cluster.md").read_text(encoding="utf-8")
SCRIPTS = ("slurm.sh", "ssh.sh")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*SCRIPTS, "kuberay.yaml"])
def test_the_guide_shows_the_whole_file(name):
    assert f'title="{name}"\n{(EXAMPLES / name).read_text(encoding="utf-8")}```' in GUIDE


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_valid_and_say_how_they_are_used(name):
    assert subprocess.run(["bash", "-n", EXAMPLES / name], check=False).returncode == 0
    refused = subprocess.run(["bash", EXAMPLES / name], capture_output=True, text=True, check=False)
    assert refused.returncode != 0 and "usage: " in refused.stderr


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """Put a command on the PATH that runs a line of shell."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)

    def add(name, line):
        (tmp_path / "bin" / name).write_text(f"#!/usr/bin/env bash\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)

    return add


def test_ssh_renders_one_shard_for_each_line(stub, tmp_path):
    # what ssh does: the rest of its arguments is one text for the shell of the other machine
    stub("ssh", 'test "$1 $2" = "-o BatchMode=yes" || exit 9; shift 2; host=$1; shift; HOST=$host bash -c "$*"')
    stub("animdiff", 'echo "on $HOST: $*: $(cat)"; [ "$HOST" != broken ] || exit 7')
    (tmp_path / "hosts.txt").write_text("# mine\n\nme@a cuda:0\nme@a cuda:1\nb")  # no line end
    (tmp_path / "night.yaml").write_text("the batch")
    run = ["bash", EXAMPLES / "ssh.sh", "hosts.txt", "night.yaml", "s3://bucket/a night/"]
    result = subprocess.run(run, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    arguments = "batch - --output s3://bucket/a night/ --shard {} --device {} --retry 1: the batch"
    assert sorted(result.stdout.splitlines()) == [
        f"1/3 me@a: on me@a: {arguments.format('1/3', 'cuda:0')}",
        f"2/3 me@a: on me@a: {arguments.format('2/3', 'cuda:1')}",
        f"3/3 b: on b: {arguments.format('3/3', 'auto')}",
    ]
    (tmp_path / "hosts.txt").write_text("broken\nb\n")
    assert subprocess.run(run, capture_output=True, check=False).returncode == 7


SLURM = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_JOB_ID": "77"}


def test_slurm_renders_the_shard_of_its_task(stub, tmp_path):
    stub("animdiff", 'echo "$*"; exit ${CODE:-0}')
    stub("scontrol", "echo scontrol $*")
    run = ["bash", EXAMPLES / "slurm.sh", "night.yaml", "/shared/night/"]
    for code in (0, 7):
        env = {**os.environ, **SLURM, "CODE": str(code)}
        result = subprocess.run(run, capture_output=True, text=True, check=False, env=env)
        assert result.returncode == code
        assert result.stdout == "batch night.yaml --output /shared/night/ --shard 2/3 --retry 1\n"


def test_slurm_puts_a_task_back_that_was_stopped_after_its_clip(stub, tmp_path):
    clip = "trap 'sleep 0.1; echo finished; exit 130' TERM; touch started; while :; do sleep 0.02; done"
    stub("animdiff", clip)
    stub("scontrol", "echo scontrol $*")
    run = ["bash", EXAMPLES / "slurm.sh", "night.yaml", "/shared/night/"]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True, env={**os.environ, **SLURM}) as script:
        deadline = time.monotonic() + 30
        while not (tmp_path / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        script.send_signal(signal.SIGTERM)
        output, _ = script.communicate(timeout=30)
    assert (script.returncode, output) == (130, "finished\nscontrol requeue 77_2\n")


def items(refs):
    """Return what `animdiff fetch` would fetch: aliases that the catalog has."""
    return [load_catalog().find(ref) for ref in refs]


def test_the_ray_job_has_what_kuberay_needs():
    job = yaml.safe_load((EXAMPLES / "kuberay.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,46}", job["metadata"]["name"])  # KubeRay appends to it
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    assert spec["entrypoint"].startswith("animdiff batch s3://") and "--ray auto" in spec["entrypoint"]
    assert spec["shutdownAfterJobFinishes"] is True
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert len(groups) == 2
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        (container,) = group["template"]["spec"]["containers"]
        (weights,) = group["template"]["spec"]["initContainers"]
        assert weights["command"][:2] == ["animdiff", "fetch"] and len(items(weights["command"][2:])) == 2
        assert {key: weights[key] for key in ("image", "volumeMounts")} == {
            key: container[key] for key in ("image", "volumeMounts")
        }
        assert {"name", "image", "resources"} <= container.keys()
        assert container["image"] == "registry.example.com/animdiff:cu128"
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in group["template"]["spec"]["volumes"]} == {"cache"}
    head, worker = groups
    ports = {port["name"] for port in head["template"]["spec"]["containers"][0]["ports"]}
    assert ports == {"gcs", "dashboard", "client"}
    assert worker["minReplicas"] <= worker["replicas"] <= worker["maxReplicas"] and worker["groupName"]
    assert worker["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    pinned = re.search(r"^ray(?:\[\w+\])?==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is None or cluster["rayVersion"] == pinned[1]


def instructions(stage=None):
    """Return the instructions of the Dockerfile as pairs, continued lines joined; those of one stage, if given."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    pairs = [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]
    starts = [number for number, (word, _) in enumerate(pairs) if word == "FROM"]
    bounds = [*starts, len(pairs)]
    return pairs if stage is None else pairs[bounds[stage] : bounds[stage + 1]]


def steps():
    """Return the shell commands that build the image, in order. `tests/full` runs them."""
    return [command for word, command in instructions() if word == "RUN"]


def test_the_steps_of_the_image_are_valid_shell():
    assert len(steps()) == 5
    for command in steps():
        assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0


def test_the_image_runs_as_a_user_with_a_volume_for_weights():
    final = dict(instructions(stage=1))
    assert (final["USER"], final["VOLUME"], final["ENTRYPOINT"]) == ("animdiff", "/cache", '["animdiff"]')
    for variable in ("ANIMDIFF_MODELS", "ANIMDIFF_CACHE", "HF_HOME"):
        assert f"{variable}=/cache/" in final["ENV"]
    words = [word for word, _ in instructions(stage=1)]
    assert words.index("USER") > max(number for number, word in enumerate(words) if word == "RUN")


def test_everything_that_is_copied_exists_and_is_sent_to_the_build():
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [words.split()[:-1] for word, words in instructions(stage=0) if word == "COPY"]
    names = [name for each in copied for name in each]
    assert set(names) == sent and all((ROOT / name).exists() for name in names)


def test_one_argument_chooses_cpu_or_cuda():
    arguments = dict(words.split("=", 1) for word, words in instructions(stage=0) if word == "ARG")
    assert arguments["VARIANT"] == "cpu" and arguments["TORCH_INDEX"].endswith("/whl/${VARIANT}")
    assert '--index-url "$TORCH_INDEX" torch' in " ".join(steps())
    extras = re.search(r"\[project\.optional-dependencies\](.*?)\n\[", (ROOT / "pyproject.toml").read_text(), re.DOTALL)
    assert all(re.search(rf"^{name} = ", extras[1], re.MULTILINE) for name in arguments["EXTRAS"].split(","))
