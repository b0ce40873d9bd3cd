"""Every shipped look becomes a whole plan of a render, without the network."""

import json

import pytest

from animdiff_cli import paths
from animdiff_cli.config.presets import load_preset

SHIPPED = sorted(path.stem for path in paths.presets_dir().glob("*.yaml"))


@pytest.fixture
def nowhere(monkeypatch):
    """No site answers."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    for site in ("HF_ENDPOINT", "ANIMDIFF_CIVITAI_ENDPOINT"):
        monkeypatch.setenv(site, "http://127.0.0.1:9")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_dry_run_of_every_look_names_all_it_needs(animdiff, nowhere, name):
    model = () if "model" in load_preset(name).values else ("--model", "pocket")
    planned = animdiff("generate", "--preset", name, *model, "--prompt", "a fox", "--dry-run", "--json")
    assert planned.exit_code == 0, planned.stderr
    record = json.loads(planned.stdout)
    config = record["config"]
    named = [config["model"], config["motion_module"], *config["loras"], *config["motion_loras"]]
    absent = [item["ref"] for item in record["fetch"]]
    assert absent == ([] if config["model"] == "pocket" else [ref.partition("@")[0] for ref in named])


def test_the_bundled_look_renders(animdiff, here):
    rendered = animdiff(
        "generate", "--preset", "pocket", "--prompt", "a red rocket", "--steps", 1, "-L", 2, "-o", "a.gif"
    )
    assert (rendered.exit_code, rendered.stdout) == (0, "a.gif\n")
