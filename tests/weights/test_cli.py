"""`animdiff inspect` and `animdiff convert` on the command line."""

import hashlib
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from animdiff_cli.cli import app


def animdiff(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_inspect_prints_the_facts_of_a_file(motion_file):
    path = motion_file("v2")
    result = animdiff("inspect", path)
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert (lines["kind"], lines["version"], lines["base"]) == ("motion-module", "v2", "sd15")
    assert lines["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_inspect_json_has_every_fact(motion_lora):
    path = motion_lora("v2")
    record = json.loads(animdiff("inspect", path, "--json").stdout)
    assert (record["kind"], record["rank"]) == ("motion-lora", 4)
    assert record["goes_with"] == "`--motion-lora`, on a v2 motion module of sd15"
    assert record["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads(animdiff("inspect", path, "--json", "--no-hash").stdout)["sha256"] is None


def test_inspect_does_not_import_torch_for_safetensors(motion_file):
    code = "import sys; from animdiff_cli.cli import app; app(standalone_mode=False); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code, "inspect", motion_file("v2")], capture_output=True, text=True)
    assert "motion-module" in run.stdout and run.stdout.endswith("False\n")


def test_inspect_of_an_unknown_file_exits_with_5_and_a_guess(tmp_path):
    save_file({"double_blocks.0.x": torch.ones(1)}, tmp_path / "flux.safetensors")
    result = animdiff("inspect", tmp_path / "flux.safetensors")
    assert result.exit_code == 5 and result.stdout == ""
    assert "looks like Flux" in result.stderr


def test_convert_prints_the_path_and_a_summary_of_the_keys(motion_file, tmp_path):
    result = animdiff("convert", motion_file("v3", "mm.ckpt"), "--to", "original", "--dtype", "fp16")
    path = tmp_path / "mm-original.safetensors"
    assert result.stdout == f"{path}\n"
    assert all(tensor.dtype == torch.float16 for tensor in load_file(path).values())
    assert "motion-module, original to original" in result.stderr
    assert "dropped: positional encoding" in result.stderr and "added: positional encoding" in result.stderr


def test_a_dry_run_reports_the_same_and_writes_nothing(motion_file, tmp_path):
    source = motion_file("v3")
    dry = json.loads(animdiff("convert", source, "--to", "diffusers", "--dry-run", "--json", "-q").stdout)
    assert [path.name for path in tmp_path.iterdir()] == ["v3.safetensors"]
    wet = json.loads(animdiff("convert", source, "--to", "diffusers", "--json", "-q").stdout)
    assert (dry["dry_run"], wet["dry_run"], wet.pop("not_finite")) == (True, False, [])
    assert dry | {"dry_run": False} == wet
    assert sum(wet["dropped"].values()) + wet["renamed"] == wet["tensors"]


def test_quiet_prints_only_the_path(motion_file):
    assert animdiff("convert", motion_file("v3"), "--to", "diffusers", "-q").stderr == ""


def test_nan_in_the_weights_is_a_warning(motion_file, tmp_path):
    weights = load_file(motion_file("v3"))
    key = next(key for key in weights if key.endswith("proj_in.bias"))
    weights[key][0] = float("nan")
    save_file(weights, tmp_path / "nan.safetensors")
    result = animdiff("convert", tmp_path / "nan.safetensors", "--to", "comfy")
    assert result.exit_code == 0
    assert f"warning: NaN or infinity in 1 tensor, first `{key}`" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--to", "kohya"), 2, "has no kohya layout"),
        (("--to", "original", "-o", "mm.ckpt"), 2, "must end in .safetensors"),
        (("--to", "original", "-o", "no/such/x.safetensors"), 2, "there is no folder"),
        (("--to", "original", "--merge-lora", "nothing.safetensors"), 3, "nothing.safetensors"),
    ],
)
def test_mistakes_exit_with_their_code(motion_file, tmp_path, monkeypatch, words, code, message):
    monkeypatch.chdir(tmp_path)
    result = animdiff("convert", motion_file("v3"), *words)
    assert result.exit_code == code and message in result.stderr
    assert result.stdout == ""
