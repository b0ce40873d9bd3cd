"""Weights that are not here are fetched when a render names them: once, verified, from a Hub on the loopback."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import save
from typer.testing import CliRunner

from animdiff_cli import generate
from animdiff_cli.cli import app
from animdiff_cli.core.events import Downloaded
from animdiff_cli.registry import catalog
from tests.fetch.server import Site

CATALOG = """
- {{alias: tiny, kind: base, base: sd15, description: A toy, sources: ["hf:org/tiny"],
   recommended: {{motion_module: tiny-mm, width: 64, height: 64, num_frames: 2, steps: 1}}}}
- {{alias: tiny-mm, kind: motion-module, base: sd15, version: v3, description: Its motion module,
   sources: ["hf:org/motion/mm.safetensors"], sha256: "{sha256}", bytes: {size}}}
- {{alias: tiny-mm-v2, kind: motion-module, base: sd15, version: v2, description: Another,
   sources: ["hf:org/motion/mm2.safetensors"], sha256: "{sha256}", bytes: {size}}}
- {{alias: pan, kind: motion-lora, base: sd15, version: v2, description: A movement,
   sources: ["hf:org/motion/pan.ckpt"], requires: [tiny-mm-v2]}}
- {{alias: mood, kind: embedding, base: sd15, description: A word, sources: ["hf:org/motion/mood.safetensors"]}}
"""


@pytest.fixture
def hub(toy_model, toy_motion_file, here, tmp_path, monkeypatch):
    """A Hub that has the toy model as a repository and its motion module as a file; nothing is fetched yet."""
    files = {p.relative_to(toy_model).as_posix(): p.read_bytes() for p in toy_model.rglob("*") if p.is_file()}
    motion = toy_motion_file.read_bytes()
    catalog_file = tmp_path / "catalog.yaml"
    catalog_file.write_text(CATALOG.format(sha256=hashlib.sha256(motion).hexdigest(), size=len(motion)))
    monkeypatch.setattr(catalog, "CATALOG", catalog_file)
    forget_catalog()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    for name in ("HF_TOKEN", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("ANIMDIFF_MODELS", str(tmp_path / "models"))
    with Site() as site, Site() as storage:
        monkeypatch.setenv("HF_ENDPOINT", site.url)
        site.put_repository("org/tiny", files | {"model_index.json": b"{}"}, storage)
        word = save({"emb_params": torch.ones(2, 32)})
        site.put_repository("org/motion", {"mm.safetensors": motion, "mood.safetensors": word}, storage)
        yield storage
        site.shutdown()
        storage.shutdown()
    forget_catalog()


def forget_catalog():
    """Let the catalog be read anew."""
    for reader in vars(catalog).values():
        if hasattr(reader, "cache_clear"):
            reader.cache_clear()


@pytest.fixture
def run(hub):
    """Render the tiny model with further words of a call."""

    def call(*words):
        words = ["generate", "--model", "tiny", "--prompt", "a fox", "--seed", "1", *words]
        return CliRunner().invoke(app, [str(word) for word in words], prog_name="animdiff")

    return call


def test_a_model_and_its_motion_module_are_fetched_once_and_rendered(run, hub, files):
    first = run("-o", "fox.gif")
    assert (first.exit_code, first.stdout) == (0, "fox.gif\n")
    assert "tiny: whole and verified" in first.stderr and "mm.safetensors: whole and verified" in first.stderr
    sent = hub.sent
    again = run("-o", "again.gif", "-q")
    assert (again.exit_code, again.stderr, hub.sent) == (0, "", sent)
    assert files() == ["again.gif", "fox.gif"]


@pytest.mark.parametrize("how", ["--offline", "--no-fetch", "HF_HUB_OFFLINE"])
def test_nothing_is_fetched_where_that_is_not_wanted(run, hub, how, monkeypatch, tmp_path):
    if how == "HF_HUB_OFFLINE":
        monkeypatch.setenv(how, "1")
    ended = run("--json", *([how] if how.startswith("--") else []))
    assert ended.exit_code == 3
    told = json.loads(ended.stderr)
    assert told["error"] == "`tiny` and `tiny-mm` are not on this machine"
    assert told["hint"] == "run `animdiff fetch tiny tiny-mm`"
    assert hub.sent == 0 and not (tmp_path / "models").exists()


def test_a_dry_run_says_what_it_would_fetch_and_fetches_nothing(run, hub, tmp_path):
    told = run("--dry-run", "-o", "fox.gif")
    assert (told.exit_code, told.stdout) == (0, "fox.gif\n")
    assert "would fetch tiny-mm, " in told.stderr and "would fetch tiny, " in told.stderr
    record = json.loads(run("--dry-run", "--json").stdout)
    assert [item["ref"] for item in record["fetch"]] == ["tiny", "tiny-mm"]
    assert all(item["bytes"] for item in record["fetch"])
    assert hub.sent == 0 and not (tmp_path / "models").exists()


def test_what_does_not_go_together_is_refused_before_the_first_byte(run, hub):
    ended = run("--motion-lora", "pan")
    assert ended.exit_code == 2
    assert "`pan` was made for a v2 motion module" in ended.stderr
    assert hub.sent == 0


def test_an_unknown_alias_is_not_looked_for_on_the_net(run, hub):
    ended = run("--lora", "nobody-has-this@0.5")
    assert ended.exit_code == 3
    assert "unknown model alias `nobody-has-this`" in ended.stderr
    assert hub.sent == 0


def test_python_fetches_the_same_and_tells_its_watcher(hub):
    events = []
    clip = generate("a fox", model="tiny", seed=1, emit=events.append)
    assert clip.frames.shape == (2, 64, 64, 3)
    assert {event.name for event in events if isinstance(event, Downloaded)} == {"tiny", "mm.safetensors"}


def test_a_prompt_may_name_an_embedding_itself(run, hub):
    plain, named = (json.loads(run("--json", "-n", text).stdout) for text in ("", "ugly, embedding:mood"))
    assert plain["config"]["embeddings"] == []
    assert named["config"]["embeddings"] == ["mood"]
    assert list(named["weights"]["embeddings"]) == ["mood.safetensors"]
