"""Text of strangers: YAML, JSON, metadata files, catalogs, recipes, references and prompts.

Random changes of good files and of files built to break readers, from recorded seeds. Each input is read, or refused
with an `AnimdiffError` that has a message.
"""

import json
import random
from datetime import datetime
from pathlib import Path

import pytest

from animdiff_cli.config.layers import Layer, resolve, set_layer
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.train_layers import file_layer, resolve_training
from animdiff_cli.config.yamlfile import parse_yaml, read_mapping
from animdiff_cli.core.naming import output_name, slug
from animdiff_cli.core.refs import parse_ref
from animdiff_cli.core.text import json_line, printable
from animdiff_cli.errors import AnimdiffError
from animdiff_cli.fetch.local import read_download_record
from animdiff_cli.jobs.recipe import check_recipe
from animdiff_cli.outputs.provenance import read_recipe
from animdiff_cli.registry.catalog import CATALOG, check_catalog, web_address
from animdiff_cli.registry.metadata import read_metadata
from animdiff_cli.registry.model_dirs import ref_download_path

SETTINGS = """\
prompt: a fox, running
negative_prompt: ""
seed: 7
steps: 25
guidance_scale: 7.5
width: 512
model: pocket
loras: [style@0.5, ./other.safetensors]
"""
TRAINING = """\
stage: motion-lora
model: pocket
motion_module: pocket-motion
steps: 100
lr: 1.0e-4
data:
  videos: clips
  num_frames: 16
  size: 128
"""
RECIPE = json.dumps({"animdiff": 1, "config": {"prompt": "a fox", "model": "pocket", "seed": 1}, "weights": {}})
METADATA = json.dumps(
    {"base": "sd15", "description": "ink", "trigger_words": ["ink"], "recommended": {"steps": 8}, "sha256": "ab" * 32}
)
REFERENCES = (
    "zoom-in@0.8 hf:org/repo/a/b.ckpt@main civitai:30240@78775 https://host/x.safetensors?a=b ~/x.pt C:\\m.ckpt"
)
#: two entries of the shipped catalog
SHIPPED = "\n- alias:".join(CATALOG.read_text(encoding="utf-8").split("\n- alias:")[1:3]).join(("- alias:", "\n"))
#: pieces that break readers: nesting, aliases, tags, numbers, control and bidi characters, surrogates
PIECES = (
    *("[" * 90, "[" * 5000, "{" * 300, "]", "}", "- " * 50, "&a [*a, *a]", "*a", "!!int", "!!bool x", "!!map [x]"),
    *("!!python/name:os.system", "!!binary x", "<<: *a", "9" * 5000, "1e999", "-0", ".nan", "0x", "NaN", "Infinity"),
    *("null", "true", '"', "'", "\\", "\\ud800", "\x00", "\x1b[2J", "\x9b", "\u202e", "\ufeff", "\u2028", "\u3000"),
    *("😀", "\udce9", "a" * 300, "../" * 9, "~nosuchuser/", "%s%n", "{seed", "{0}", "{slug!r:>9999}", "@1", "hf:"),
    *("//", "\t", "\n", ": ", ", ", "#", "2026-01-01", "1_000", "<lora:x:1>", "(a:1.3)", "BREAK", "__x__", "{a|b}"),
)


def mutated(random_: random.Random, text: str) -> str:
    """Return `text` with a few pieces inserted, cut, repeated or replaced."""
    for _ in range(random_.randint(1, 4)):
        start = random_.randint(0, len(text))
        end = min(len(text), start + random_.choice((0, 1, 3, 20)))
        middle = random_.choice((random_.choice(PIECES), "", text[start:end] * random_.choice((2, 40))))
        text = text[:start] + middle + text[end:]
    return text


def read_all(random_: random.Random, folder: Path) -> None:
    """Pass one mutated input to each reader."""

    def written(name: str, text: str) -> Path:
        raw = text.encode(errors="surrogateescape" if random_.random() < 0.5 else "replace")
        path = folder / name
        path.write_bytes(raw)
        return path

    def accepts(read, *arguments) -> None:
        try:
            read(*arguments)
        except AnimdiffError as refusal:
            assert str(refusal), arguments
            assert "\n" not in printable(f"{refusal} {refusal.hint}")

    settings, reference = mutated(random_, SETTINGS), mutated(random_, random_.choice(REFERENCES.split()))
    accepts(lambda: resolve(GenerateConfig, [Layer("file", read_mapping(written("c.yaml", settings)))]))
    accepts(lambda: resolve(GenerateConfig, [set_layer(GenerateConfig, settings.split("\n"))]))
    accepts(
        lambda: resolve_training("motion-lora", [file_layer(written("t.yaml", mutated(random_, TRAINING)))]),
    )
    accepts(lambda: check_catalog(parse_yaml(mutated(random_, SHIPPED), "catalog"), Path("catalog")))
    accepts(lambda: check_recipe(read_recipe(written("r.json", mutated(random_, RECIPE))), "r.json"))
    weights = written("x.safetensors.json", mutated(random_, METADATA)).with_suffix("")
    accepts(read_metadata, weights)
    accepts(read_download_record, weights)
    for scaled in (False, True):
        accepts(lambda scaled=scaled: web_address(parse_ref(reference, scaled=scaled)))
    accepts(lambda: parse_ref(reference).source in ("alias", "path") or ref_download_path(parse_ref(reference)))
    prompt = mutated(random_, "a red fox, running")
    assert 1 <= len(slug(prompt)) <= 45
    accepts(lambda: output_name(prompt, 1, datetime(2026, 1, 1), template=mutated(random_, "{date}/{slug}_{seed:03}")))
    assert printable(printable(prompt)) == printable(prompt)
    assert json.loads(json_line({"prompt": prompt})) == {"prompt": prompt}


def test_the_inputs_are_good_before_they_are_changed(tmp_path):
    assert resolve(GenerateConfig, [Layer("file", parse_yaml(SETTINGS, "s"))]).config.seed == 7
    (tmp_path / "t.yaml").write_text(TRAINING)
    assert resolve_training("motion-lora", [file_layer(tmp_path / "t.yaml")]).config.steps == 100
    assert len(check_catalog(parse_yaml(SHIPPED, "c"), Path("c")).entries) == 2
    (tmp_path / "x.json").write_text(METADATA)
    assert read_metadata(tmp_path / "x").recommended == {"steps": 8}
    (tmp_path / "r.json").write_text(RECIPE)
    check_recipe(read_recipe(tmp_path / "r.json"), "r.json")


@pytest.mark.parametrize("seed", range(4))
def test_text_is_read_or_refused(seed, tmp_path):
    random_ = random.Random(seed)
    for _ in range(10):
        read_all(random_, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(100, 110))
def test_much_text_is_read_or_refused(seed, tmp_path):
    random_ = random.Random(seed)
    for _ in range(400):
        read_all(random_, tmp_path)
