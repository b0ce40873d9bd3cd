"""`generate` fetches missing weights on demand: once, verified, here from a local server that acts as the Hub."""

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
    """A Hub with the toy model as a repository and its motion module as a file. Nothing is downloaded yet."""
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
    """Clear the cached catalog."""
    for reader in vars(catalog).values():
        if hasattr(reader, "cache_clear"):
            reader.cache_clear()


@pytest.fixture
def run(hub):
    """Run `generate` with the tiny model and further arguments."""

    def call(*arguments):
        arguments = ["generate", "--model", "tiny", "--prompt", "a fox", "--seed", "1", *arguments]
        return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="animdiff")

    return call


def test_fetches_a_model_and_its_motion_module_once_and_renders(run, hub, files):
    first = run("-o", "fox.gif")
    assert (first.exit_code, first.stdout) == (0, "fox.gif\n")
    assert "tiny: downloaded and verified" in first.stderr and "mm.safetensors: downloaded and verified" in first.stderr
    sent = hub.sent
    again = run("-o", "again.gif", "-q")
    assert (again.exit_code, again.stderr, hub.sent) == (0, "", sent)
    assert files() == ["again.gif", "fox.gif"]


@pytest.mark.parametrize("how", ["--offline", "--no-fetch", "HF_HUB_OFFLINE"])
def test_offline_and_no_fetch_download_nothing(run, hub, how, monkeypatch, tmp_path):
    if how == "HF_HUB_OFFLINE":
        monkeypatch.setenv(how, "1")
    result = run("--json", *([how] if how.startswith("--") else []))
    assert result.exit_code == 3
    record = json.loads(result.stderr)
    assert record["error"] == "`tiny` and `tiny-mm` are not on this machine"
    assert record["hint"] == "run `animdiff fetch tiny tiny-mm`"
    assert hub.sent == 0 and not (tmp_path / "models").exists()


def test_dry_run_lists_missing_weights_and_downloads_nothing(run, hub, tmp_path):
    result = run("--dry-run", "-o", "fox.gif")
    assert (result.exit_code, result.stdout) == (0, "fox.gif\n")
    assert "would fetch tiny-mm, " in result.stderr and "would fetch tiny, " in result.stderr
    for flags, known in (([], [False, True]), (["--fetch"], [True, True])):  # a size from the Hub only with --fetch
        record = json.loads(run("--dry-run", "--json", *flags).stdout)
        assert [item["ref"] for item in record["fetch"]] == ["tiny", "tiny-mm"]
        assert [item["bytes"] is not None for item in record["fetch"]] == known
    assert hub.sent == 0 and not (tmp_path / "models").exists()


def test_refuses_incompatible_weights_before_downloading(run, hub):
    result = run("--motion-lora", "pan")
    assert result.exit_code == 2
    assert "`pan` was made for a v2 motion module" in result.stderr
    assert hub.sent == 0


def test_an_unknown_alias_makes_no_request(run, hub):
    result = run("--lora", "no-such-alias@0.5")
    assert result.exit_code == 3
    assert "unknown model alias `no-such-alias`" in result.stderr
    assert hub.sent == 0


def test_python_api_fetches_and_emits_events(hub):
    events = []
    clip = generate("a fox", model="tiny", seed=1, emit=events.append)
    assert clip.frames.shape == (2, 64, 64, 3)
    assert {event.name for event in events if isinstance(event, Downloaded)} == {"tiny", "mm.safetensors"}


def test_fetches_an_embedding_named_in_the_prompt(run, hub, records):
    (plain,), (named,) = (records(run("--json", "-n", text), "done") for text in ("", "ugly, embedding:mood"))
    assert plain["config"]["embeddings"] == []
    assert named["config"]["embeddings"] == ["mood"]
    assert list(named["weights"]["embeddings"]) == ["mood.safetensors"]


@pytest.fixture
def recipe(here):
    """A stranger's recipe that names weights on the Hub."""
    config = {"prompt": "a fox", "model": "tiny", "motion_module": "tiny-mm", "seed": 1, "steps": 1}
    (here / "clip.json").write_text(json.dumps({"animdiff": 1, "config": config | SMALL}))
    return ["generate", "--from", "clip.json"]


SMALL = {"num_frames": 2, "width": 64, "height": 64}


@pytest.mark.parametrize("flags", [[], ["--dry-run"], ["--json"], ["--dry-run", "--json"]], ids=" ".join)
def test_a_recipe_makes_no_request_unless_told(recipe, hub, animdiff, flags, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # a request would fail
    result = animdiff(*recipe, *flags)
    if "--dry-run" in flags:
        assert result.exit_code == 0
        assert "tiny-mm" in (result.stdout if "--json" in flags else result.stderr)
    else:
        assert result.exit_code == 3
        assert "`tiny`, `tiny-mm`" in result.stderr and "--fetch" in result.stderr


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 3)])
def test_a_recipe_on_a_terminal_asks_before_it_downloads(recipe, hub, animdiff, typed, code, monkeypatch):
    asked = []
    monkeypatch.setattr("typer.confirm", lambda text, err: asked.append(text) or typed == "y\n")
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda self: True, raising=False)
    result = animdiff(*recipe, "-o", "fox.gif", "-q")
    assert (result.exit_code, asked) == (code, ["download them?"]), result.stderr
    assert "tiny, " in result.stderr and (hub.sent > 0) == (code == 0)


def test_fetch_downloads_what_a_recipe_names(recipe, hub, animdiff):
    assert animdiff(*recipe, "--fetch", "-o", "fox.gif").stdout == "fox.gif\n"


@pytest.mark.parametrize(("length", "code"), [(33, 2), (32, 0)])
def test_too_long_a_window_is_refused_before_downloading(run, hub, length, code):
    result = run("--frames", 64, "--context-length", length, "--dry-run")
    assert result.exit_code == code
    assert hub.sent == 0
    if code:
        assert "a window of 33 frames is longer than the 32 positions of `tiny-mm`" in result.stderr
        assert "`--context-length 32`" in result.stderr


@pytest.mark.parametrize(("module", "most"), [("mm-v1", 24), ("mm-v2", 32), ("animatelcm", 32), ("long-64", 64)])
def test_the_catalog_knows_how_many_frames_a_module_supports(animdiff, module, most):
    words = ["generate", "--model", "sd15", "--motion-module", module, "--prompt", "a fox", "--dry-run"]
    assert animdiff(*words, "--context-length", most).exit_code == 0
    result = animdiff(*words, "--context-length", most + 1)
    assert result.exit_code == 2 and f"the {most} positions of `{module}`" in result.stderr
