"""`animdiff doctor`: each thing with its remedy, and a code that says what is broken."""

import json

import pytest

from animdiff_cli import paths
from animdiff_cli.registry.catalog import user_catalog_path


def report(result):
    return {record["what"]: record for record in map(json.loads, result.stdout.splitlines())}


@pytest.fixture
def no_tokens(monkeypatch):
    for name in ("HF_TOKEN", "CIVITAI_TOKEN", "CIVITAI_API_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


def test_a_sound_installation_ends_in_0_and_leaves_nothing_behind(animdiff, no_tokens, files):
    result = animdiff("doctor", "--json")
    found = report(result)
    assert result.exit_code == 0
    assert {"python", "torch", "device", "ffmpeg", "miniature", "models", "catalog", "offline"} <= found.keys()
    assert "libx264" in found["ffmpeg"]["found"]
    assert all(record["remedy"] for record in found.values() if record["status"] != "ok")
    assert not files() and not paths.models_dir().exists()


def test_tokens_are_told_and_never_shown(animdiff, no_tokens, monkeypatch):
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
def test_what_is_out_of_order_has_a_remedy_and_a_broken_thing_its_code(
    animdiff, no_tokens, monkeypatch, name, value, what, code
):
    monkeypatch.setenv(name, value)
    result = animdiff("doctor", "--json")
    finding = report(result)[what]
    assert (result.exit_code, finding["status"]) == (code, "broken" if code else "note")
    assert finding["remedy"]


def test_a_broken_catalog_of_ones_own_is_told_and_the_rest_still_looked_at(animdiff, no_tokens):
    user_catalog_path().parent.mkdir(parents=True)
    user_catalog_path().write_text("- alias: mine\n")
    result = animdiff("doctor")
    assert result.exit_code == 2
    assert f"BROKEN  catalog        {user_catalog_path()}: `mine`" in result.stdout
    assert "offline" in result.stdout
    assert result.stderr == "1 broken: catalog\n"


def test_a_file_of_ones_own_that_is_gone_is_noted(animdiff, no_tokens):
    user_catalog_path().parent.mkdir(parents=True)
    user_catalog_path().write_text("- {alias: mine, kind: lora, base: sd15, description: x, path: /gone.ckpt}\n")
    finding = report(animdiff("doctor", "--json"))["catalog"]
    assert finding["status"] == "note"
    assert finding["remedy"] == "say where it is now: `animdiff models add mine PATH --overwrite`"


def test_quiet_prints_only_what_is_not_in_order(animdiff, no_tokens, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    lines = animdiff("doctor", "-q").stdout.splitlines()
    assert any("offline" in line for line in lines)
    assert not any(line.startswith("ok") for line in lines)
