"""`animdiff doctor`: findings, remedies and exit codes."""

import json

import pytest

from animdiff_cli import paths
from animdiff_cli.diffusion.device import DevicePlan
from animdiff_cli.diffusion.kernels import native, trial
from animdiff_cli.jobs.doctor import gpu_kernels, low_vram_findings
from animdiff_cli.registry.catalog_files import user_catalog_path


def report(result):
    return {record["what"]: record for record in map(json.loads, result.stdout.splitlines())}


@pytest.fixture
def no_tokens(monkeypatch):
    for name in ("HF_TOKEN", "CIVITAI_TOKEN", "CIVITAI_API_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


def test_a_working_installation_exits_with_0_and_creates_no_files(animdiff, no_tokens, files):
    result = animdiff("doctor", "--json")
    found = report(result)
    assert result.exit_code == 0
    assert {"python", "torch", "device", "ffmpeg", "pocket model", "models", "catalog", "offline"} <= found.keys()
    assert "libx264" in found["ffmpeg"]["found"]
    assert all(record["remedy"] for record in found.values() if record["status"] != "ok")
    assert not files() and not paths.models_dir().exists()


def test_tokens_are_detected_and_never_printed(animdiff, no_tokens, monkeypatch):
    assert report(animdiff("doctor", "--json"))["Civitai token"]["found"] == "none"
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    monkeypatch.setenv("CIVITAI_TOKEN", "very_secret")
    result = animdiff("doctor")
    assert "Hub token      present" in result.stdout and "Civitai token  present" in result.stdout
    assert "secret" not in result.output


@pytest.mark.parametrize(
    ("name", "value", "what", "code"),
    [
        ("HF_HUB_OFFLINE", "1", "offline", 0),
        ("ANIMDIFF_EXTRA_MODELS", "/nowhere/at/all", "other folder", 0),
        ("ANIMDIFF_STEPS", "30", "settings", 0),
        ("ANIMDIFF_STEPPS", "30", "settings", 2),
        ("ANIMDIFF_MODELS", "/proc/animdiff", "models", 2),
        ("ANIMDIFF_MODELS", "/" + "a" * 400, "models", 2),
    ],
)
def test_a_note_or_broken_check_has_a_remedy_and_an_exit_code(
    animdiff, no_tokens, monkeypatch, name, value, what, code
):
    monkeypatch.setenv(name, value)
    result = animdiff("doctor", "--json")
    finding = report(result)[what]
    assert (result.exit_code, finding["status"]) == (code, "broken" if code else "note")
    assert finding["remedy"]


@pytest.mark.parametrize(
    ("free", "sd15", "sdxl"),
    [
        (23.5, "`off`, which needs about 5.2 GB", "`off`, which needs about 20.5 GB"),
        (5.5, "`offload`, which needs about 4.8 GB; everything on the GPU would need 5.2 GB", "`sequential, 4 frame"),
        (
            3.5,
            "`sequential`, which needs about 2.6 GB; everything on the GPU would need 5.2 GB",
            "`sequential, 4 frame",
        ),
    ],
)
def test_the_choice_of_low_vram_is_shown_for_the_free_memory_of_a_gpu(free, sd15, sdxl):
    of_sd15, of_sdxl = low_vram_findings(round(free * 1e9))
    assert of_sd15.found.endswith(f" GB free: SD1.5, 16 frames of 512x512: {sd15}")
    assert f"SDXL, 8 frames of 1024x1024: {sdxl}" in of_sdxl.found
    assert of_sd15.status == "ok" and of_sdxl.status == ("note" if free < 4 else "ok")


def test_a_broken_user_catalog_does_not_stop_the_other_checks(animdiff, no_tokens):
    user_catalog_path().parent.mkdir(parents=True)
    user_catalog_path().write_text("- alias: mine\n")
    result = animdiff("doctor")
    assert result.exit_code == 2
    assert f"BROKEN  catalog        {user_catalog_path()}: `mine`" in result.stdout
    assert "offline" in result.stdout
    assert result.stderr == "1 broken: catalog\n"


def test_a_missing_file_of_a_user_entry_is_noted(animdiff, no_tokens):
    user_catalog_path().parent.mkdir(parents=True)
    user_catalog_path().write_text("- {alias: mine, kind: lora, base: sd15, description: x, path: /gone.ckpt}\n")
    finding = report(animdiff("doctor", "--json"))["catalog"]
    assert finding["status"] == "note"
    assert finding["remedy"] == "set its new path: `animdiff models add mine PATH --overwrite`"


def test_quiet_prints_only_notes_and_broken_checks(animdiff, no_tokens, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    lines = animdiff("doctor", "-q").stdout.splitlines()
    assert any("offline" in line for line in lines)
    assert not any(line.startswith("ok") for line in lines)


@pytest.mark.parametrize(
    ("why", "status", "found"),
    [
        (None, "ok", "in C++ with AVX2"),
        (native.NOT_SUPPORTED, "ok", "by torch: C++ needs Linux and AVX2"),
        ("g++ is not installed", "note", "by torch, which is slower: g++ is not installed"),
    ],
)
def test_how_layers_are_computed_on_a_cpu(animdiff, no_tokens, monkeypatch, why, status, found):
    monkeypatch.setattr(native, "obstacle", lambda: why)
    monkeypatch.setattr(native, "instruction_set", lambda: "AVX2")
    finding = report(animdiff("doctor", "--json"))["CPU layers"]
    assert (finding["status"], finding["found"], bool(finding["remedy"])) == (status, found, status == "note")


def test_triton_that_does_not_work_is_noted(monkeypatch):
    plan = DevicePlan("cuda", 0, "fp16")
    for why, status in ((None, "ok"), (trial.NOT_INSTALLED, "note"), ("Failed to find C compiler.", "note")):
        monkeypatch.setattr(trial, "obstacle", lambda device, dtype, why=why: why)
        finding = gpu_kernels(plan)
        assert (finding.what, finding.status, bool(finding.remedy)) == ("GPU kernels", status, bool(why))
        assert why is None or finding.found.endswith(why)
